"""Every method that the shipped weights allow on faces and photographs, judged: docs/report.md and its
figures, docs/report.json, and the strongest and weakest case of each on pictures that may be shown,
docs/report_cases.jpg.

python tools/report.py DATA WORK [--count N]: DATA holds faces/test_64.zip, faces_rgb/test_128.zip and
sr/BSD20; WORK keeps pictures and records, so that a run that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from report_cases import cases

from priorsr.methods.evaluate.study import Runs, Study
from priorsr.methods.evaluate.study_run import Given, run_study
from priorsr.methods.judge.record import KIND, Record, read_record
from priorsr.methods.judge.report import grouped, tables
from priorsr.methods.metrics.bootstrap import Summary, summary

DOCS = Path(__file__).resolve().parents[1] / "docs"


@dataclass(frozen=True)
class Task:
    """A study on pictures of a folder or archive of DATA; share: of --count."""

    study: Study
    data: str
    faces: str = "off"
    share: float = 1.0


PLAIN = (Runs("bicubic"), Runs("no-prior"), Runs("srcnn"))


def with_prior(prior: str, *names: str, **given: Mapping[str, Any]) -> tuple[Runs, ...]:
    """Methods on a prior, each with its own steps; given: what differs."""
    return tuple(Runs(name, name, {"prior": prior, **given.get(name, {})}) for name in names)


TASKS = (
    Task(
        Study(
            "faces of 64 pixels",
            "",
            (
                *PLAIN,
                *with_prior("face64", "ddrm", "ddnm", "ilvr", "diffsr", "dpi"),
                *with_prior("face64", "dps", dps={"respacing": "50", "guidance": 6.0}),
                Runs("srdg", "srdg, no attribute", {"prior": "srdg_face64", "h": 0.0}),
            ),
            ("dpi-faces",),
            (4.0, 8.0),
        ),
        "faces/test_64.zip",
        "tight",
    ),
    Task(
        Study(
            "faces of 128 pixels",
            "",
            (
                *PLAIN,
                *with_prior("face128", "ddrm", "ddnm", "ilvr", "diffsr", "dpi", ilvr={"respacing": "50"}),
                *with_prior("face128", "dps", dps={"respacing": "50", "guidance": 6.0}),
                Runs("srdg", "srdg, no attribute", {"prior": "srdg128", "h": 0.0}),
            ),
            ("dpi-faces",),
            (4.0, 8.0),
        ),
        "faces_rgb/test_128.zip",
        "ffhq",
    ),
    Task(Study("photographs", "", PLAIN, ("sr-luma",), (2.0, 4.0)), "sr/BSD20", share=2.0),
    Task(
        Study(
            "middles of photographs, 192 pixels",
            "",
            (*PLAIN, *with_prior("photo64", "ddrm", "ddnm", "diffsr")),
            ("sr-luma",),
            (4.0,),
            centre=192,
        ),
        "sr/BSD20",
    ),
)


def run(data: Path, work: Path, count: int, tasks: Sequence[Task] = TASKS) -> list[Record]:
    """Records of everything; what WORK holds already is not made again. Raises ValueError where a run cannot
    be made.
    """
    found: list[Record] = []
    for task in tasks:
        given = Given(data / task.data, count=max(2, round(count * task.share)), faces=task.faces)
        out = work / task.study.name.replace(" ", "_")
        done = run_study(task.study, given, out, report=lambda text: print(text, flush=True))
        for label, why in done.left_out.items():
            raise ValueError(f"{task.study.name}: {label}: {why}")
        found += done.records
    return found


def compact(records: Sequence[Record]) -> list[dict]:
    """Records as docs/report.json keeps them: of single pictures what claims are told by, and no names."""
    kept = {one.figure for one in CLAIMS}
    return [
        replace(r, pictures=[{k: v for k, v in row.items() if k in kept} for row in r.pictures]).described()
        for r in records
    ]


def expanded(held: Sequence[dict], folder: Path) -> list[Record]:
    """The records of docs/report.json."""
    found = []
    for i, one in enumerate(held):
        path = folder / f"{i}.json"
        path.write_text(json.dumps({**one, "kind": KIND}), encoding="utf-8")
        found.append(read_record(path))
    return found


def page(records: Sequence[Record], count: int, shown: str = "") -> str:
    """The text of docs/report.md, of the records alone; shown: what is said of the cases."""
    lines = [
        "# What the shipped weights do",
        "",
        f"Made by `make report DATA=FOLDER COUNT={count}` (tools/report.py) of the figures in",
        "[report.json](report.json);",
        "protocols are those of [judge.md](judge.md). Inputs are 8-bit bicubic reductions, picture i has",
        "seed i, and every method has its own settings, but DPS on faces (50 steps of guidance 6) and ILVR",
        "at 128 pixels (50 steps). In parentheses 95 % intervals over the pictures: differences within them",
        "say nothing, and distances of sets as small as these little.",
        "",
        "## In short",
        "",
        *statements(records),
        "",
        "## What reproduces",
        "",
        *claims(records),
        "",
        *([shown, ""] if shown else []),
    ]
    for group in grouped(records):
        told = group[0]
        head = f"## {told.method['study']}, x{told.protocol['scale']:g}"
        body = tables(group).split("\n", 1)[1].strip("\n")
        lines += [head, "", body, ""]
    return "\n".join(lines).rstrip() + "\n"


def statements(records: Sequence[Record]) -> list[str]:
    """What the figures say, computed from them."""
    lines = []
    for group in grouped(records):
        by = {r.label: r.figures for r in group}
        name = f"{group[0].method['study']}, x{group[0].protocol['scale']:g}"
        psnr = {label: f["psnr"].value for label, f in by.items()}
        best = max(psnr, key=lambda label: psnr[label])
        gain = psnr["no-prior"] - psnr["bicubic"]
        text = (
            f"- {name}: projection without a network gains {gain:+.2f} dB on bicubic; best by PSNR is {best} "
        )
        text += f"({psnr[best]:.2f} dB, {psnr[best] - psnr['bicubic']:+.2f})"
        if best not in ("bicubic", "no-prior") and psnr[best] > psnr["bicubic"]:
            text += f", of whose gain projection has {100 * gain / (psnr[best] - psnr['bicubic']):.0f} %"
        for figure, words in (("identity", "likeness"), ("frechet", "Frechet distance")):
            if all(figure in f for f in by.values()):
                near = min(by, key=lambda label: by[label][figure].value)
                text += f"; by {words} {_told(near, by[near][figure], by['bicubic'][figure])}"
        lines.append(f"{text}.")
    return lines


def _told(label: str, best: Summary, plain: Summary) -> str:
    """The best by a figure of which less is better, where its interval lies apart from that of bicubic."""
    if None in (best.high, plain.low) or best.high >= plain.low:
        return "no method differs from bicubic by more than its interval"
    return f"the best is {label} ({best.value:.3f}, bicubic {plain.value:.3f})"


@dataclass(frozen=True)
class Claim:
    """An order of two methods that a paper has, by a figure of its tables."""

    text: str
    study: str
    figure: str
    better: str
    worse: str


CLAIMS = (
    Claim("DPI (Tables 1, 3): DPI before bicubic", "faces of 64 pixels", "psnr", "dpi", "bicubic"),
    Claim("DPI (Table 1): DPI before DDRM", "faces of 64 pixels", "psnr", "dpi", "ddrm"),
    Claim("DPI (Table 1): DPI before ILVR", "faces of 64 pixels", "ssim", "dpi", "ilvr"),
    Claim("DPI (Table 3): DPI before DPS", "faces of 64 pixels", "recognised", "dpi", "dps"),
    Claim("DPI (Table 3): DPI before bicubic", "faces of 64 pixels", "identity", "dpi", "bicubic"),
    Claim("DDNM (Table 1): DDNM before DDRM", "faces of 64 pixels", "psnr", "ddnm", "ddrm"),
    Claim("Diff-SR (Table 1): before interpolation", "faces of 128 pixels", "psnr", "diffsr", "bicubic"),
    Claim(
        "SDE-SR (SRDG, Table 1): before bicubic",
        "faces of 64 pixels",
        "psnr",
        "srdg, no attribute",
        "bicubic",
    ),
    Claim(
        "SDE-SR (SRDG, Table 1): before bicubic",
        "faces of 128 pixels",
        "psnr",
        "srdg, no attribute",
        "bicubic",
    ),
    Claim("VisionRefine (Table 1): SRCNN before bicubic", "photographs", "psnr", "srcnn", "bicubic"),
)
LOW = ("identity", "frechet", "niqe")


def claims(records: Sequence[Record]) -> list[str]:
    """A row for each order of two methods that the papers have: whether it shows here, and by how much."""
    lines = [
        "| claim | figure | scale | better | worse | here (mean gain, 95 % over the same pictures) |",
        "|---|---|---|---|---|---|",
    ]
    for one in CLAIMS:
        for group in grouped(records):
            by = {r.label: r.figures for r in group}
            there = all(one.figure in by.get(label, {}) for label in (one.better, one.worse))
            if group[0].method["study"] != one.study or not there:
                continue
            a, b = (by[label][one.figure] for label in (one.better, one.worse))
            rows = {r.label: r.pictures for r in group}
            pairs = zip(rows[one.better], rows[one.worse], strict=True)
            sign = -1 if one.figure in LOW else 1
            gain = summary([sign * (x[one.figure] - y[one.figure]) for x, y in pairs])
            cells = [one.text, one.figure, f"x{group[0].protocol['scale']:g}"]
            cells += [f"{one.better} {a.value:.3f}", f"{one.worse} {b.value:.3f}", _shows(gain)]
            lines.append(f"| {' | '.join(cells)} |")
    return lines if len(lines) > 2 else ["None of the papers' claims is tested by these records."]


def _shows(gain: Summary) -> str:
    """Whether an order shows, by the interval of the mean difference of the same pictures."""
    low, high = (gain.value if end is None else end for end in (gain.low, gain.high))
    certain = "yes" if low > 0 else "no" if high < 0 else "not decided"
    return f"{certain} ({gain.value:+.3f}, {low:+.3f} .. {high:+.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--count", type=int, default=8, help="pictures of a task (default 8: about an hour)")
    options = parser.parse_args()
    records = run(options.data, options.work, options.count)
    shown = cases(options.work / "cases", DOCS / "report_cases.jpg")
    (DOCS / "report.json").write_text(
        json.dumps({"count": options.count, "cases": shown, "records": compact(records)}, indent=1) + "\n",
        encoding="utf-8",
    )
    (DOCS / "report.md").write_text(page(records, options.count, shown), encoding="utf-8")
    print(f"wrote {DOCS / 'report.md'}")


if __name__ == "__main__":
    main()
