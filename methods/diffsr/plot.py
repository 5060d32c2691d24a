"""The recoverable field as a picture."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ..drawing import new_figure, pixels_of
from .prf import RecoverableField


def field_plot(field: RecoverableField, title: str = "", used: int | None = None) -> Tensor:
    """Both losses against the noise level, their limits, the field and the level: 1 3 480 640 in 0..1. used:
    the step taken instead. Raises ImportError without the extra `plots`.
    """
    percent = 100 * (np.arange(len(field.signature)) + 1) / len(field.signature)
    figure = new_figure(figsize=(6.4, 4.8), dpi=100, layout="constrained")
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
    return pixels_of(figure)
