"""The recoverable field, and what was measured of it, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from .prf import RecoverableField

if TYPE_CHECKING:
    from ..evaluate.diffsr_study import Sweep


def field_plot(field: RecoverableField, title: str = "", used: int | None = None) -> Tensor:
    """Both losses against the noise level, their limits, the field and the level: 1 3 480 640 in 0..1. used:
    the step taken instead.
    """
    percent = 100 * (np.arange(len(field.signature)) + 1) / len(field.signature)
    figure = Figure(figsize=(6.4, 4.8), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    curves = [("signature loss", field.signature, "tab:blue", field.measured.max_signature)]
    curves += [("fidelity loss", field.fidelity, "tab:orange", field.measured.max_fidelity)]
    for name, values, colour, limit in curves:
        axes.plot(percent, values, color=colour, label=name)
        if np.isfinite(limit):
            axes.axhline(limit, color=colour, ls=":", label=f"limit of the {name}")
    axes.fill_between(
        percent,
        0,
        1,
        where=field.inside,
        transform=axes.get_xaxis_transform(),
        color="tab:green",
        alpha=0.15,
        label="recoverable field",
    )
    axes.axvline(100 * field.share, color="black", ls="--", label=f"chosen: {100 * field.share:.0f} %")
    if used not in (None, field.chosen):
        axes.axvline(percent[used], color="tab:red", label=f"used: {percent[used]:.0f} %")
    peak = max(2 * field.signature[field.chosen] + 2 * field.fidelity[field.chosen], 1e-3)
    axes.set(
        xlabel="noise level t / T (%)", ylabel="nats a pixel", xlim=(0, 100), ylim=(0, peak), title=title
    )
    axes.legend(loc="upper right", fontsize="small")
    return _pixels(canvas)


def sweep_plot(sweeps: Sequence[Sweep]) -> Tensor:
    """Each figure (rows) against the fixed noise level at each scale (columns), with the levels chosen by the
    field: 1 3 H W.
    """
    names = [
        n for n in ("psnr", "ssim", "identity", "sharpness") if n in next(iter(sweeps[0].figures.values()))
    ]
    figure = Figure(figsize=(3.2 * len(sweeps), 2.4 * len(names)), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    grid = figure.subplots(len(names), len(sweeps), squeeze=False, sharex=True)
    for column, one in enumerate(sweeps):
        for row, name in enumerate(names):
            axes = grid[row][column]
            axes.plot(list(one.figures), [f[name] for f in one.figures.values()], ".-", color="black")
            for aim, colour in zip(one.chosen, ("tab:blue", "tab:green"), strict=True):
                low, middle, high = np.quantile(one.chosen[aim], (0.1, 0.5, 0.9))
                axes.axvspan(low, high, color=colour, alpha=0.15)
                axes.axvline(middle, color=colour, ls="--", label=f"chosen for {aim}")
            axes.grid(alpha=0.3)
            if column == 0:
                axes.set_ylabel(name)
        grid[0][column].set_title(f"x{one.scale:g}")
        grid[-1][column].set_xlabel("noise level (%)")
    grid[0][0].legend(fontsize="x-small")
    return _pixels(canvas)


def _pixels(canvas: FigureCanvasAgg) -> Tensor:
    canvas.draw()
    return (
        torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy()).permute(2, 0, 1)[None].float()
        / 255
    )
