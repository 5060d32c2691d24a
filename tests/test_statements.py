"""What pages say of their figures is what the figures say."""

from __future__ import annotations

import json
import re

import pytest
import report
from report import PLAIN, Task, compact, expanded, page

from priorsr.methods.imaging.images import Picture, write
from priorsr.methods.imaging.resize import resize


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
    assert page(expanded(held, tmp_path)) == text
    for name in ("no-prior", "bicubic", "diffsr", "ddnm", "consistency", "identity"):
        assert name in text


def test_the_report_runs_resumes_and_says_what_it_found(tmp_path, photo, monkeypatch):
    for i in range(2):
        write(Picture(resize(photo, (40, 40)).clamp(0, 1) * (1 - 0.2 * i)), tmp_path / "set" / f"{i}.png")
    task = Task("pictures", "set", (2,), PLAIN, "sr-luma")
    found = report.run(tmp_path, tmp_path / "work", 2, [task])
    assert [r.label for r in found] == ["bicubic", "no-prior", "srcnn"]
    assert all(r.figures["psnr"].n == 2 for r in found)
    psnr = {r.label: r.figures["psnr"].value for r in found}
    text = page(expanded(compact(found), tmp_path))
    assert f"gains {psnr['no-prior'] - psnr['bicubic']:+.2f} dB on bicubic" in text
    assert text.count("| no-prior |") == 1
    monkeypatch.setattr(report, "_restore", lambda *_: pytest.fail("work was done again"))
    assert report.run(tmp_path, tmp_path / "work", 2, [task]) == found
