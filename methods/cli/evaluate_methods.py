"""`priorsr evaluate methods`: any methods on benchmark folders or faces, with a grid of settings."""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..evaluate.variants import Variant, combined, known, value_of
from ..imaging.datasets import read_pictures
from ..imaging.resize import size_of
from ..method import Upscaler, nearest
from ..metrics.benchmark import benchmark
from ..metrics.faces import FaceMetrics, exact_scale, reduced
from ..registry import methods

PRIOR = "prior"


def methods_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sets", nargs="+", metavar="FOLDER", help="folders or zip archives of true pictures")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["bicubic", "srcnn"],
        choices=list(methods()),
        help="which are compared (default bicubic srcnn)",
    )
    parser.add_argument(
        "--scale", nargs="+", type=float, default=[4.0], help="reductions that are undone (default 4)"
    )
    parser.add_argument("--prior", help="for every method that takes one (default: each method's own)")
    parser.add_argument(
        "--set",
        dest="grid",
        nargs="+",
        default=[],
        metavar="METHOD.NAME=VALUE,...",
        help="settings or weights that differ, of one method or of all that have them; of several values all "
        "are tried",
    )
    parser.add_argument(
        "--faces",
        action="store_true",
        help="the pictures are aligned faces of one size: 8-bit inputs, RGB, identity where it is installed; "
        "else the benchmark's luma and border",
    )
    parser.add_argument("--count", type=int, default=0, help="only the first so many of each; 0: all")


@torch.no_grad()
def compare_methods(options: argparse.Namespace, device: torch.device) -> list[dict]:
    """A row for every folder, scale, method and setting of the grid.

    Raises ValueError for methods that need a file and settings that there are not.
    """
    variants = read_grid(options.methods, options.grid, options.prior)
    if not options.faces and any(scale != round(scale) for scale in options.scale):
        raise ValueError("the benchmark is of whole scales: give --faces for others")
    rows = []
    for folder in options.sets:
        pictures = read_pictures([folder])
        pictures = pictures[: options.count] if options.count else pictures
        judge = FaceMetrics(_stacked(folder, pictures)) if options.faces else None
        for scale, variant in itertools.product(options.scale, variants):
            upscaler = variant.prepare().to(device)
            figures = (
                _faces(upscaler, judge, scale) if judge else _benchmark(upscaler, pictures, round(scale))
            )
            told = {"set": Path(folder).name, "scale": scale, "method": variant.method.name}
            rows.append({**told, "settings": variant.described(), **figures})
    return rows


def _benchmark(upscaler: Upscaler, pictures: Sequence[Tensor], scale: int) -> dict[str, float]:
    def upscale(low: Tensor, size: tuple[int, int]) -> Tensor:
        return upscaler(low.clamp(0, 1), scale).cpu()

    scores = benchmark(upscale, pictures, scale)
    return {
        key: round(statistics.fmean(getattr(score, key) for score in scores), 4)
        for key in ("psnr", "ssim", "seconds")
    }


def _faces(upscaler: Upscaler, judge: FaceMetrics, scale: float) -> dict[str, float]:
    exact = exact_scale(judge.truth.shape[-1], scale)
    low = reduced(judge.truth, exact)
    figures = judge.run(lambda x, seeds: upscaler(x, exact, list(seeds)).cpu(), low)[1]
    return {name: round(value, 4) for name, value in figures.items()}


def _stacked(folder: str, pictures: Sequence[Tensor]) -> Tensor:
    """Raises ValueError for faces of several sizes."""
    other = next((p for p in pictures if size_of(p) != size_of(pictures[0])), None)
    if other is not None:
        raise ValueError(
            f"{folder} holds pictures of {_size(pictures[0])} and {_size(other)}: faces must be of one size"
        )
    if any(len(p) > 1 for p in pictures):
        return torch.stack([p[:3].expand(3, -1, -1) for p in pictures])
    return torch.stack(list(pictures))


def read_grid(names: Sequence[str], grid: Sequence[str], prior: str | None = None) -> list[Variant]:
    """Every combination of the values that `METHOD.NAME=VALUE,...` or `NAME=VALUE,...` name.

    Raises ValueError for what no method has.
    """
    chosen = {name: methods()[name] for name in names}
    values: dict[str, dict[str, list[Any]]] = {name: {} for name in names}
    if prior:
        for name, method in chosen.items():
            if PRIOR in known(method):
                values[name][PRIOR] = [prior]
    for text in grid:
        where, _, held = text.partition("=")
        of, _, key = where.rpartition(".")
        having = [n for n in ([of] if of else names) if n in chosen and key in known(chosen[n])]
        if not held or not having:
            names_of = sorted({f"{n}.{k}" for n, m in chosen.items() for k in known(m)})
            raise ValueError(f"--set {text}: no chosen method has {where!r}{nearest(where, names_of)}")
        for name in having:
            try:
                values[name][key] = [value_of(chosen[name], key, part) for part in held.split(",")]
            except ValueError as error:
                raise ValueError(f"--set {text}: {error}") from None
    return [v for name in names for v in combined(chosen[name], values[name])]


def _size(x: Tensor) -> str:
    return f"{x.shape[-1]}x{x.shape[-2]}"
