"""`priorsr evaluate methods`: any methods on benchmark folders."""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch
from torch import Tensor

from ..metrics.benchmark import benchmark
from ..registry import method_named, methods
from ..train.datasets import read_pictures


def methods_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sets", nargs="+", metavar="FOLDER", help="folders of high-resolution pictures")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["bicubic", "srcnn"],
        choices=list(methods()),
        help="each as it is without any option (default bicubic srcnn)",
    )
    parser.add_argument("--scale", type=int, default=4, help="reduction that is undone (default 4)")


@torch.no_grad()
def compare_methods(options: argparse.Namespace, device: torch.device) -> list[dict]:
    """A row for every folder and method. Raises ValueError for methods that need a file."""
    rows = []
    upscalers = {name: method_named(name).prepare().to(device) for name in options.methods}
    for folder in options.sets:
        images = read_pictures([folder])
        for name, upscaler in upscalers.items():

            def upscale(low: Tensor, size: tuple[int, int], chosen=upscaler) -> Tensor:
                return chosen(low.clamp(0, 1), options.scale).cpu()

            scores = benchmark(upscale, images, options.scale)
            means = {
                key: round(statistics.fmean(getattr(score, key) for score in scores), 4)
                for key in ("psnr", "ssim", "seconds")
            }
            rows.append({"set": Path(folder).name, "scale": options.scale, "method": name, **means})
    return rows
