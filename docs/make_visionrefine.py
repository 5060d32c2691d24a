"""Remake the picture of visionrefine.md, by its own command line: python docs/make_visionrefine.py."""

from __future__ import annotations

import re
import shlex
import tempfile
from pathlib import Path

import torch

from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import resize, size_of
from priorsr.methods.samples import FOLDER as SAMPLES

DOCS = Path(__file__).resolve().parent
LINE = re.compile(r"^priorsr (upscale dps .*--prior face128.*)$", re.M)  # of the page


def main(path: Path) -> None:
    """The small face, bicubic, what the page's line makes of it, and the original, side by side."""
    (line,) = LINE.findall((DOCS / "visionrefine.md").read_text(encoding="utf-8"))
    arguments = shlex.split(line)
    scale = float(arguments[arguments.index("--scale") + 1])
    truth = read(SAMPLES / "face.png").pixels[:, :3]
    with tempfile.TemporaryDirectory() as folder:
        places = {name: f"{folder}/{name}.png" for name in ("IN", "OUT")}
        write(Picture(resize(truth, scale=1 / scale).clamp(0, 1)), Path(places["IN"]))
        if code := cli.main([places.get(word, word) for word in arguments]):
            raise SystemExit(code)
        low, made = (read(places[name]).pixels for name in ("IN", "OUT"))
    enlarged = [resize(low, size_of(truth), method=method).clamp(0, 1) for method in ("nearest", "bicubic")]
    write(Picture(torch.cat([*enlarged, made, truth], 3)), path, overwrite=True)


if __name__ == "__main__":
    main(DOCS / "visionrefine.png")
