"""What pages say of their figures is what the figures say."""

from __future__ import annotations

import json
import re

import pytest
import report
from report import PLAIN, Task, claims, compact, expanded, page
from report_cases import cases

from priorsr.methods.evaluate.study import Runs, Study
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import resize
from priorsr.methods.judge.record import Record
from priorsr.methods.metrics.bootstrap import Summary


def rows_of(text: str, key: str) -> list[dict[str, str]]:
    """The rows of the tables of a page whose first column is called `key`."""
    found, names = [], []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            names = []
        elif not names:
            names = cells
        elif names[0] == key and not set(cells[0]) <= {"-"}:
            found.append(dict(zip(names, cells, strict=True)))
    return found


def best(rows: list[dict[str, str]], figure: str, high: bool) -> str:
    return (max if high else min)(rows, key=lambda row: float(row[figure]))["method"]


@pytest.fixture
def dpi(root):
    text = (root / "docs" / "dpi.md").read_text(encoding="utf-8")
    tasks: dict[str, list[dict[str, str]]] = {}
    for row in rows_of(text, "task"):
        tasks.setdefault(row["task"], []).append(row)
    return re.sub(r"\s+", " ", text), tasks


def test_what_the_page_of_dpi_says_of_degraded_faces(dpi):
    text, tasks = dpi
    levels = {name: tasks[f"dpi-{name}"] for name in ("medium", "heavy", "severe")}
    assert (
        "DPI is the best of all by PSNR and SSIM (medium, heavy, severe: 0.3 to 0.6 dB and 0.08 to 0.09"
        in text
    )
    assert (
        "By Frechet distance it is best at heavy only; at medium and severe DPI without its corrector is"
        in text
    )
    gains = {"psnr": [], "ssim": []}
    for name, rows in levels.items():
        by = {row["method"]: row for row in rows}
        for figure, held in gains.items():
            assert best(rows, figure, high=True) == "dpi"
            held.append(float(by["dpi"][figure]) - float(by["bicubic"][figure]))
        assert best(rows, "frechet", high=False) == ("dpi" if name == "heavy" else "dpi, no CRT")
        assert float(by["dpi"]["frechet"]) - float(by["dpi, no CRT"]["frechet"]) < 0.005
    assert [round(f(gains["psnr"]), 1) for f in (min, max)] == [0.3, 0.6]
    assert [round(f(gains["ssim"]), 2) for f in (min, max)] == pytest.approx([0.08, 0.09], abs=0.011)


def test_what_the_page_of_dpi_says_of_reduced_faces(dpi):
    text, tasks = dpi
    gain = {
        scale: {row["method"]: float(row["psnr"]) for row in tasks[scale]} for scale in ("x4", "x8", "x16")
    }
    assert "about the same PSNR at x4 (0.15 dB less), more at x8 and x16 (0.3 and 0.9 dB)" in text
    apart = {scale: by["dpi"] - by["bicubic"] for scale, by in gain.items()}
    assert apart["x4"] == pytest.approx(-0.15, abs=0.01)
    assert apart["x8"] == pytest.approx(0.3, abs=0.05)
    assert apart["x16"] == pytest.approx(0.9, abs=0.05)
    assert "Diff-SR with null-space consistency and fresh noise is the better choice" in text
    assert all(by["diffsr"] > by["dpi"] for scale, by in gain.items() if scale != "x16")
    assert gain["x16"]["dpi"] > gain["x16"]["diffsr"]


def test_the_report_is_that_of_its_figures(root, tmp_path):
    held = json.loads((root / "docs" / "report.json").read_text(encoding="utf-8"))
    text = (root / "docs" / "report.md").read_text(encoding="utf-8")
    assert page(expanded(held["records"], tmp_path), held["count"], held["cases"]) == text
    for name in ("no-prior", "bicubic", "diffsr", "ddnm", "consistency", "identity"):
        assert name in text
    assert read(root / "docs" / "report_cases.jpg").pixels.shape[-1] > 800


def test_what_the_readme_says_of_the_report_is_that_of_its_figures(root, tmp_path):
    held = json.loads((root / "docs" / "report.json").read_text(encoding="utf-8"))
    by = {}
    for one in expanded(held["records"], tmp_path):
        place = f"{one.method['study']} x{one.protocol['scale']:g}"
        by.setdefault(place, {})[one.label] = {n: f.value for n, f in one.figures.items()}
    text = " ".join((root / "README.md").read_text(encoding="utf-8").split())
    ((low, high),) = re.findall(r"Diff-SR gains ([\d.]+) to ([\d.]+) dB of PSNR over bicubic", text)
    faces = [by[f"faces of {size} pixels x{scale}"] for size in (64, 128) for scale in (4, 8)]
    gains = [one["diffsr"]["psnr"] - one["bicubic"]["psnr"] for one in faces]
    assert (low, high) == (f"{min(gains):.1f}", f"{max(gains):.1f}")
    assert "a third of which needs no network" in text
    assert sum(share(one, "diffsr") for one in faces) / 4 == pytest.approx(0.33, abs=0.05)


def test_the_readme_is_a_screen_and_a_half(root):
    """75 lines of a terminal of 110 columns, links shown as their words; a picture is its words."""
    shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", (root / "README.md").read_text(encoding="utf-8"))
    lines = [line for line in shown.splitlines() if not line.startswith("```")]
    assert sum(max(1, -(-len(line) // 110)) for line in lines) <= 75


def share(figures, label):
    """What of a method's gain on bicubic projection has."""
    gain = {name: figures[name]["psnr"] - figures["bicubic"]["psnr"] for name in (label, "no-prior")}
    return gain["no-prior"] / gain[label]


def test_the_report_runs_resumes_and_says_what_it_found(tmp_path, photo, monkeypatch):
    for i in range(2):
        write(Picture(resize(photo, (40, 40)).clamp(0, 1) * (1 - 0.2 * i)), tmp_path / "set" / f"{i}.png")
    task = Task(Study("pictures", "", PLAIN, ("sr-luma",), (2.0,)), "set")
    found = report.run(tmp_path, tmp_path / "work", 2, [task])
    assert [r.label for r in found] == ["bicubic", "no-prior", "srcnn"]
    assert all(r.figures["psnr"].n == 2 for r in found)
    psnr = {r.label: r.figures["psnr"].value for r in found}
    text = page(expanded(compact(found), tmp_path), 2)
    assert f"gains {psnr['no-prior'] - psnr['bicubic']:+.2f} dB on bicubic" in text
    assert text.count("| no-prior |") == 1
    monkeypatch.setattr("priorsr.methods.evaluate.study_run._restore", lambda *_: pytest.fail("done again"))
    assert report.run(tmp_path, tmp_path / "work", 2, [task]) == found


def test_a_claim_shows_by_the_differences_of_the_same_pictures():
    def record(label, values):
        figures = {"psnr": Summary(sum(values) / len(values), 0.0, 99.0, len(values))}
        rows = [{"psnr": value} for value in values]
        what = {"truth": "a"}
        return Record(
            label, {"scale": 2.0, "name": "x"}, what, figures, pictures=rows, method={"study": "photographs"}
        )

    better = [20.0, 25.0, 30.0, 35.0]
    for apart, words in (
        ([0.1, 0.2, 0.1, 0.2], "yes (+0.150"),
        ([-0.1, -0.2, -0.1, -0.2], "no (-0.150"),
        ([1.0, -1.0, 0.9, -0.9], "not decided (+0.000"),
    ):
        worse = [a - b for a, b in zip(better, apart, strict=True)]
        lines = claims([record("srcnn", better), record("bicubic", worse)])
        assert words in lines[-1]
        assert len(lines) == 3


def test_cases_are_chosen_by_the_metric(tmp_path):
    """The strongest and the weakest by PSNR over bicubic, and no picture but the samples'."""
    text = cases(
        tmp_path / "work", tmp_path / "cases.png", (Runs("bicubic"), Runs("no-prior"), Runs("srcnn"))
    )
    rows = rows_of(text, "method")
    assert [row["method"] for row in rows] == ["no-prior", "srcnn"]
    records = {}
    for path in (tmp_path / "work" / "x4").glob("*.json"):
        held = json.loads(path.read_text(encoding="utf-8"))
        records[held["label"]] = {row["file"]: row["psnr"] for row in held["pictures"]}
    for row in rows:
        gain = {name: value - records["bicubic"][name] for name, value in records[row["method"]].items()}
        assert row["most, dB on bicubic"] == f"{max(gain, key=gain.get)} ({max(gain.values()):+.2f})"
        assert row["least"] == f"{min(gain, key=gain.get)} ({min(gain.values()):+.2f})"
    assert tuple(read(tmp_path / "cases.png").pixels.shape[-2:]) == (2 * 128 + 4, 8 * 128 + 7 * 4)
