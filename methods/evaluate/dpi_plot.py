"""Sweeps of DPI's settings as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..drawing import new_figure
from ..imaging.replacing import replacing
from .dpi_ablation import Sweep

NAMES = {
    "diversity": "std over seeds, of 255",
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "identity": "distance to the person",
}


def sweep_plot(sweeps: Sequence[Sweep], out: Path) -> None:
    """Diversity and quality (rows) against each setting (columns), as PNG; the band holds the middle 80 % of
    the faces.
    """
    names = [name for name in NAMES if name in sweeps[0].rows[0]]
    figure = new_figure(figsize=(3.6 * len(sweeps), 2.2 * len(names)), dpi=100, layout="constrained")
    grid = figure.subplots(len(names), len(sweeps), squeeze=False, sharex="col", sharey="row")
    for column, one in enumerate(sweeps):
        values = [row[one.setting] for row in one.rows]
        for axes, name in zip(grid[:, column], names, strict=True):
            axes.plot(values, [row[name] for row in one.rows], ".-", color="black")
            axes.grid(alpha=0.3)
            if column == 0:
                axes.set_ylabel(NAMES[name])
        low, high = np.quantile([row["diversity_of_faces"] for row in one.rows], (0.1, 0.9), axis=1)
        grid[0, column].fill_between(values, low, high, color="tab:blue", alpha=0.2)
        grid[-1, column].set_xlabel(one.setting)
    with replacing(out) as partial:
        figure.savefig(partial, format="png")
