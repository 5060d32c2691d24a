"""Remake the pictures of the README, of the workflow templates and the icon: python docs/make_pictures.py."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from priorsr.methods import demo
from priorsr.methods.images import Picture, read, write
from priorsr.methods.resize import resize

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        demo.main(folder)
        write(read(Path(folder) / "comparison.png"), ROOT / "docs" / "comparison.png", overwrite=True)
        low, high = (read(Path(folder) / f"{name}.png").pixels for name in ("input", "srcnn"))
    before = resize(low, tuple(high.shape[-2:]), method="nearest")
    top = 20
    half = high.shape[-1] // 2
    split = torch.cat([before[..., top : top + half * 2, :half], high[..., top : top + half * 2, half : half * 2]], 3)
    split[..., half - 1 : half + 1] = 1
    write(Picture(resize(split, (400, 400)).clamp(0, 1)), ROOT / "example_workflows" / "srcnn_upscale.jpg", overwrite=True, quality=85)
    write(Picture(icon()), ROOT / "docs" / "icon.png", overwrite=True)


def icon(size: int = 256) -> torch.Tensor:
    """A disc that goes from coarse pixels on the left to a smooth edge on the right."""
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) / size - 0.5] * 2, indexing="ij")
    disc = ((0.36 - torch.hypot(x, y)) * size).clamp(0, 1)[None, None]
    coarse = resize(resize(disc, (8, 8), method="area"), (size, size), method="nearest")
    shape = torch.where(x < 0, coarse, disc)
    low, high = torch.tensor([0.08, 0.10, 0.16]), torch.tensor([0.98, 0.72, 0.22])
    return low[:, None, None] + shape * (high - low)[:, None, None]


if __name__ == "__main__":
    main()
