"""Diff-SR measured: noise-level sweeps, the field's prediction beside them, and other methods on the same
faces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..diffsr.method import PUBLISHED, DiffSRSettings, Prior, choose_level, diffsr_upscale
from ..imaging.resize import enlarged_size, resize, size_of
from ..metrics.compare import side_by_side
from ..metrics.faces import FaceMetrics, Restore, exact_scale, reduced
from ..priors.calibration import AIMS
from ..visionrefine.srcnn import load_srcnn, srcnn_upscale

LEVELS = tuple(range(5, 75, 5))
BETTER = {"psnr": max, "ssim": max, "identity": min}  # what the best fixed level is judged by


@dataclass(frozen=True)
class Sweep:
    """One scale: figures by fixed noise level in percent, and for each aim the level that was chosen for each
    face.
    """

    scale: float
    figures: dict[int, dict[str, float]]
    chosen: dict[str, list[float]]

    def best(self, metric: str) -> int:
        return BETTER[metric](self.figures, key=lambda level: self.figures[level][metric])


def sweep(
    prior: Prior,
    truth: Tensor,
    scale: float,
    levels: Sequence[int] = LEVELS,
    settings: DiffSRSettings = DiffSRSettings(),
    on_level: Callable[[], object] = lambda: None,
) -> tuple[Sweep, Tensor]:
    """Every fixed level on faces B C H W in 0..1, and the restorations of the first face by level (L C H
    W).
    """
    judge, exact = FaceMetrics(truth), exact_scale(truth.shape[-1], scale)
    low = reduced(truth, exact)
    figures, shown = {}, []
    for level in levels:
        fixed = replace(settings, level=level)
        restored, figures[level] = judge.run(
            lambda x, seeds, fixed=fixed: diffsr_upscale(prior, x, exact, fixed, seeds=seeds), low
        )
        shown.append(restored[0])
        on_level()
    chosen = {aim: [100 * choose_level(prior, x[None], exact, aim=aim).share for x in low] for aim in AIMS}
    return Sweep(scale, figures, chosen), torch.stack(shown)


def methods(prior: Prior, scale: float, settings: DiffSRSettings) -> dict[str, Restore]:
    """What is compared at one scale: names to upscalers."""
    network, native = load_srcnn(scale)
    published = vars(replace(PUBLISHED, steps=settings.steps))

    def diff(**changes) -> Restore:
        changed = replace(settings, **changes)
        return lambda x, seeds: diffsr_upscale(prior, x, scale, changed, seeds=seeds)

    return {
        "bicubic": lambda x, seeds: resize(x, enlarged_size(size_of(x), scale)).clamp(0, 1),
        "srcnn": lambda x, seeds: srcnn_upscale(network, x, scale, native),
        "sdedit 40 %": diff(**{**published, "level": 40}),
        "diffsr as published": diff(**published),
        "diffsr, ddim": diff(sampler="ddim", eta=0.0),
        "diffsr, detail": diff(aim="detail"),
        "diffsr": diff(),
    }


def compare_methods(
    prior: Prior, truth: Tensor, scales: Sequence[float], settings: DiffSRSettings = DiffSRSettings()
) -> tuple[list[dict], Tensor]:
    """A row for each scale and method, and a sheet of the first faces (rows) by method (columns), the truth
    last, at the last scale.
    """
    judge, rows, columns = FaceMetrics(truth), [], []
    for scale in scales:
        exact = exact_scale(truth.shape[-1], scale)
        low = reduced(truth, exact)
        columns = [resize(low[:6], size_of(truth), method="nearest")]
        for name, restore in methods(prior, exact, settings).items():
            restored, figures = judge.run(restore, low)
            rows.append({"scale": scale, "method": name, **figures})
            columns.append(restored[:6])
    columns.append(truth[:6])
    return rows, torch.cat(
        [side_by_side(list(row), height=2 * truth.shape[-1]) for row in torch.stack(columns, 1)], 1
    )[None]
