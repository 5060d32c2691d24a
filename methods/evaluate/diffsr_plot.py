"""What was measured of the recoverable field, as a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..drawing import new_figure, pixels_of
from .diffsr_study import Sweep


def sweep_plot(sweeps: Sequence[Sweep]) -> Tensor:
    """Each figure (rows) against the fixed noise level at each scale (columns), with the levels chosen by the
    field: 1 3 H W.
    """
    names = [
        n for n in ("psnr", "ssim", "identity", "sharpness") if n in next(iter(sweeps[0].figures.values()))
    ]
    figure = new_figure(figsize=(3.2 * len(sweeps), 2.4 * len(names)), dpi=100, layout="constrained")
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
    return pixels_of(figure)
