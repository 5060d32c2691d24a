"""A training log as a picture."""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..images import replacing


def plot(log: Path, out: Path) -> None:
    """Every figure of a JSON-lines log against the step, one panel each."""
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    names = [k for k in rows[-1] if k not in ("step", "seconds")]
    figure = Figure(figsize=(4 * len(names), 3), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        axes.plot([r["step"] for r in rows], [r.get(name) for r in rows], ".-")
        axes.set(xlabel="step", title=name)
        axes.grid(alpha=0.3)
    with replacing(out) as partial:
        figure.savefig(partial, format="png")
