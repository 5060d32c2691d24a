"""The picture on which each method gains most over bicubic, and that on which it gains least, of the samples
that come along.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from priorsr.methods.evaluate.study import Runs, Study
from priorsr.methods.evaluate.study_run import Given, run_study
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import resize
from priorsr.methods.judge.record import Record
from priorsr.methods.metrics.compare import side_by_side

SAMPLES = Path(__file__).resolve().parents[1] / "docs" / "sample"
SIDE, SCALE, HEIGHT = 128, 4.0, 128
RUNS = (
    Runs("bicubic"),
    Runs("no-prior"),
    Runs("srcnn"),
    Runs("diffsr", "diffsr, face128", {"prior": "face128"}),
    Runs("dpi", "dpi, face128", {"prior": "face128"}),
    Runs("diffsr", "diffsr, photo64", {"prior": "photo64"}),
    Runs("ddnm", "ddnm, photo64", {"prior": "photo64"}),
)


def cases(work: Path, out: Path, runs: Sequence[Runs] = RUNS) -> str:
    """Draw them into a file, which is replaced; what is said of it."""
    names = windows(work / "windows")
    study = Study("cases", "", tuple(runs), ("plain",), (SCALE,), ("psnr", "sharpness"))
    done = run_study(study, Given(work / "windows"), work, report=lambda text: print(text, flush=True))
    for label, why in done.left_out.items():
        raise ValueError(f"cases: {label}: {why}")
    rows, lines = [], []
    plain = _psnr(done.records[0])
    for record in done.records[1:]:
        gain = {name: value - plain[name] for name, value in _psnr(record).items()}
        most, least = max(gain, key=gain.__getitem__), min(gain, key=gain.__getitem__)
        folders = [work / f"x{SCALE:g}" / one.what["results"] for one in (done.records[0], record)]
        rows.append(side_by_side([x for name in (most, least) for x in _shown(folders, name)], HEIGHT))
        lines.append(f"| {record.label} | {most} ({gain[most]:+.2f}) | {least} ({gain[least]:+.2f}) |")
    rim = torch.ones(3, 4, rows[0].shape[-1])
    sheet = torch.cat([x for row in rows for x in (row, rim)][:-1], 1)
    write(Picture(sheet[None]), out, overwrite=True, quality=88)
    text = [
        "## The strongest and the weakest case of each method",
        "",
        f"![each method's strongest and weakest case]({out.name})",
        "",
        f"*Of {len(names)} windows of {SIDE} pixels of the [samples](sample/README.md), x{SCALE:g}: those",
        "on which a method gains most (left) and least (right) on bicubic by PSNR. Each time: the small",
        "picture, bicubic, the method, the truth; a row a method.*",
        "",
        "| method | most, dB on bicubic | least |",
        "|---|---|---|",
        *lines,
    ]
    return "\n".join(text)


def windows(folder: Path) -> list[str]:
    """Windows of the samples side by side, those with next to no detail left out; names of the files."""
    found = []
    for path in sorted(SAMPLES.glob("*.png")):
        x = read(path).pixels
        x = x.expand(-1, 3, -1, -1)
        for top in range(0, x.shape[-2] - SIDE + 1, SIDE):
            for left in range(0, x.shape[-1] - SIDE + 1, SIDE):
                window = x[..., top : top + SIDE, left : left + SIDE]
                name = f"{path.stem}-{left}-{top}"
                if float(window.std()) < 0.05:
                    continue
                if not (folder / f"{name}.png").is_file():
                    write(Picture(window), folder / f"{name}.png")
                found.append(name)
    return found


def _psnr(record: Record) -> dict[str, float]:
    return {row["file"]: row["psnr"] for row in record.pictures}


def _shown(folders: Sequence[Path], name: str) -> list[Tensor]:
    place = folders[0].parent
    pictures = [read(where / f"{name}.png").pixels[0] for where in (*folders, place / "truth")]
    small = read(place / "inputs" / f"{name}.png").pixels
    return [resize(small, (SIDE, SIDE), method="nearest")[0], *pictures]
