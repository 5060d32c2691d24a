"""Every method that the shipped weights allow on faces and photographs, judged: docs/report.md and its
figures, docs/report.json.

python tools/report.py DATA WORK [--count N]: DATA holds faces/test_64.zip, faces_rgb/test_128.zip and
sr/BSD20; WORK keeps pictures and records, so that a run that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from priorsr.methods import weights
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import modcrop
from priorsr.methods.judge.protocol import read_protocol
from priorsr.methods.judge.record import KIND, Record, read_record
from priorsr.methods.judge.report import grouped, tables
from priorsr.methods.judge.run import Asked, judge
from priorsr.methods.metrics.bootstrap import Summary
from priorsr.methods.metrics.faces import reduced
from priorsr.methods.registry import method_named
from priorsr.methods.train.datasets import read_named

DOCS = Path(__file__).resolve().parents[1] / "docs"
BATCH = 8


@dataclass(frozen=True)
class Run:
    """A method as it is shown, with what differs from its own settings."""

    label: str
    method: str
    given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """Pictures of a folder or archive of DATA, reduced by each scale and restored by runs; share: of
    --count.
    """

    name: str
    data: str
    scales: tuple[int, ...]
    runs: tuple[Run, ...]
    protocol: str
    faces: str = ""
    share: float = 1.0


PLAIN = (Run("bicubic", "bicubic"), Run("no-prior", "no-prior"), Run("srcnn", "srcnn"))


def with_prior(prior: str) -> tuple[Run, ...]:
    """What runs on any prior, each with its own steps."""
    return tuple(
        Run(name, name, {"prior": prior, **given})
        for name, given in (("ddrm", {}), ("ddnm", {}), ("ilvr", {}), ("diffsr", {}))
    )


TASKS = (
    Task(
        "faces of 64 pixels",
        "faces/test_64.zip",
        (4, 8),
        (
            *PLAIN,
            *with_prior("face64"),
            Run("dpi", "dpi", {"prior": "face64"}),
        ),
        "dpi-faces",
        "tight",
    ),
    Task(
        "faces of 128 pixels",
        "faces_rgb/test_128.zip",
        (4, 8),
        (
            *PLAIN,
            Run("ddrm", "ddrm", {"prior": "face128"}),
            Run("diffsr", "diffsr", {"prior": "face128"}),
        ),
        "dpi-faces",
        "ffhq",
        0.5,
    ),
    Task("photographs", "sr/BSD20", (2, 4), PLAIN, "sr-luma"),
)


def run(data: Path, work: Path, count: int, tasks: Sequence[Task] = TASKS) -> list[Record]:
    """Records of everything; what WORK holds already is not made again."""
    found = []
    for task in tasks:
        named = read_named([data / task.data])[: max(2, round(count * task.share))]
        for scale in task.scales:
            place = work / task.name.replace(" ", "_") / f"x{scale}"
            truth = [modcrop(x[None], scale) for _, x in named]
            small = [reduced(x, scale) for x in truth]
            stems = [Path(name).stem for name, _ in named]
            for kind, pictures in (("truth", truth), ("inputs", small)):
                _keep(place / kind, stems, pictures)
            for one in task.runs:
                record = place / f"{one.label}.json"
                if not record.is_file():
                    print(f"{task.name}, x{scale}: {one.label}", flush=True)
                    _restore(one, small, stems, scale, place / one.label)
                    _judge(task, one, scale, place).save(record)
                found.append(read_record(record))
    return found


def _keep(folder: Path, stems: Sequence[str], pictures: Sequence[Tensor]) -> None:
    for stem, x in zip(stems, pictures, strict=True):
        if not (folder / f"{stem}.png").is_file():
            write(Picture(x), folder / f"{stem}.png")


@torch.no_grad()
def _restore(one: Run, small: Sequence[Tensor], stems: Sequence[str], scale: int, folder: Path) -> None:
    """Picture i with seed i; those that are there stay. Pictures of one size are worked on together."""
    method = method_named(one.method)
    files = {w.name for w in method.weights}
    upscaler = None
    waiting = [i for i, stem in enumerate(stems) if not (folder / f"{stem}.png").is_file()]
    alike: dict[tuple[int, ...], list[int]] = {}
    for i in waiting:
        alike.setdefault(tuple(small[i].shape), []).append(i)
    for places in alike.values():
        for start in range(0, len(places), BATCH):
            some = places[start : start + BATCH]
            upscaler = upscaler or method.prepare(
                {k: v for k, v in one.given.items() if k in files},
                values={k: v for k, v in one.given.items() if k not in files},
            )
            done = upscaler(torch.cat([small[i] for i in some]), float(scale), some)
            for i, x in zip(some, done, strict=True):
                write(Picture(x[None].cpu()), folder / f"{stems[i]}.png")


def _judge(task: Task, one: Run, scale: int, place: Path) -> Record:
    faces = task.faces if task.faces and min(_size(place)) >= 64 else None
    asked = Asked(
        place / one.label,
        place / "truth",
        place / "inputs",
        protocol=read_protocol(task.protocol, scale=float(scale), faces=faces),
        label=one.label,
    )
    record = judge(asked)
    method = method_named(one.method)
    files = {w.name: one.given.get(w.name) or w.default for w in method.weights}
    told = {
        "task": task.name,
        "name": one.method,
        "settings": dict(one.given),
        "seeds": "picture i has seed i",
    }
    hashes = {
        name: hashlib.sha256(weights.locate(file).read_bytes()).hexdigest()
        for name, file in files.items()
        if isinstance(file, str) and file in weights.shipped("prior")
    }
    what = {name: f"{task.data} x{scale}" if name == "truth" else name for name in record.what}
    return replace(record, method={**told, "weights": hashes}, what=what)


def _size(place: Path) -> tuple[int, int]:
    first = next(iter(sorted((place / "truth").iterdir())))
    height, width = read(first).pixels.shape[-2:]
    return height, width


def compact(records: Sequence[Record]) -> list[dict]:
    """Records without their single pictures, which docs/report.json keeps."""
    return [replace(r, pictures=[]).described() for r in records]


def expanded(held: Sequence[dict], folder: Path) -> list[Record]:
    """The records of docs/report.json."""
    found = []
    for i, one in enumerate(held):
        path = folder / f"{i}.json"
        path.write_text(json.dumps({**one, "kind": KIND}), encoding="utf-8")
        found.append(read_record(path))
    return found


def page(records: Sequence[Record]) -> str:
    """The text of docs/report.md, of the records alone."""
    count = max(one.n for record in records for one in record.figures.values())
    lines = [
        "# What the shipped weights do",
        "",
        f"Made by `make report DATA=FOLDER COUNT={count}` (tools/report.py) of the figures in",
        "[report.json](report.json);",
        "protocols are those of [judge.md](judge.md). Inputs are 8-bit bicubic reductions, picture i has",
        "seed i, and every method has its own settings. In parentheses 95 % intervals over the pictures:",
        "differences within them say nothing, and distances of sets as small as these little.",
        "",
        "## In short",
        "",
        *statements(records),
        "",
    ]
    for group in grouped(records):
        told = group[0]
        head = f"## {told.method['task']}, x{told.protocol['scale']:g}"
        body = tables(group).split("\n", 1)[1].strip("\n")
        lines += [head, "", body, ""]
    return "\n".join(lines).rstrip() + "\n"


def statements(records: Sequence[Record]) -> list[str]:
    """What the figures say, computed from them."""
    lines = []
    for group in grouped(records):
        by = {r.label: r.figures for r in group}
        name = f"{group[0].method['task']}, x{group[0].protocol['scale']:g}"
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--count", type=int, default=32, help="pictures of a task (default 32)")
    options = parser.parse_args()
    records = run(options.data, options.work, options.count)
    (DOCS / "report.json").write_text(json.dumps(compact(records), indent=1) + "\n", encoding="utf-8")
    (DOCS / "report.md").write_text(page(records), encoding="utf-8")
    print(f"wrote {DOCS / 'report.md'}")


if __name__ == "__main__":
    main()
