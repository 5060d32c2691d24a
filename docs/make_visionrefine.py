"""Remake the picture of visionrefine.md, by its commands: python docs/make_visionrefine.py."""

from __future__ import annotations

import re
import shlex
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import resize, size_of
from priorsr.methods.samples import FOLDER as SAMPLES

DOCS = Path(__file__).resolve().parent
DOGS = (slice(27, 171), slice(12, 204))  # rows and columns of the photograph: the upper head
BLOCK = re.compile(r"### What these make without a download\n\n```\n(.*?)```", re.S)  # of the page


def commands() -> list[list[str]]:
    """The arguments of the page's command lines, in the order of the rows."""
    (block,) = BLOCK.findall((DOCS / "visionrefine.md").read_text(encoding="utf-8"))
    return [shlex.split(line)[1:] for line in block.splitlines()]


def truths() -> list[Tensor]:
    """What is reduced for each row, 1 3 H W in 0..1: a part of a photograph, and a face."""
    dogs, face = (read(SAMPLES / f"{name}.png").pixels[:, :3] for name in ("dogs", "face"))
    return [dogs[..., DOGS[0], DOGS[1]], face]


def row(truth: Tensor, arguments: list[str]) -> Tensor:
    """The small picture, bicubic, what the command makes of it, and the truth, side by side."""
    scale = float(arguments[arguments.index("--scale") + 1])
    size = size_of(truth)
    with tempfile.TemporaryDirectory() as folder:
        places = {name: f"{folder}/{name}.png" for name in ("IN", "OUT")}
        write(Picture(resize(truth, scale=1 / scale).clamp(0, 1)), Path(places["IN"]))
        if code := cli.main([places.get(word, word) for word in arguments]):
            raise SystemExit(code)
        low, made = (read(places[name]).pixels for name in ("IN", "OUT"))
    enlarged = [resize(low, size, method=method).clamp(0, 1) for method in ("nearest", "bicubic")]
    return torch.cat([*enlarged, made, truth], 3)


def main(path: Path) -> None:
    rows = [row(*given) for given in zip(truths(), commands(), strict=True)]
    width = max(x.shape[-1] for x in rows)
    shown = [resize(x, scale=width / x.shape[-1]).clamp(0, 1) for x in rows]
    write(Picture(torch.cat(shown, 2)), path, overwrite=True)


if __name__ == "__main__":
    main(DOCS / "visionrefine.png")
