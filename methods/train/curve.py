"""A training log as a picture. Figures called name@step belong together: one error at several noise
levels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..drawing import new_figure
from ..imaging.images import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 5  # rows of the log whose profiles are drawn


def plot(log: Path, out: Path) -> None:
    """Every figure of a JSON-lines log against the training step, one panel each; those that belong together
    share one.
    """
    rows = _rows(log)
    panels: dict[str, list[str]] = {}
    for name in rows[-1]:
        if name not in ("step", "seconds"):
            panels.setdefault(name.partition("@")[0], []).append(name)
    with _panels(panels, out) as axes:
        for panel, (title, names) in zip(axes, panels.items(), strict=True):
            for name in names:
                panel.plot([r["step"] for r in rows], [r.get(name, math.nan) for r in rows], ".-", label=name)
            panel.set(xlabel="step", title=title)
            if len(names) > 1:
                panel.legend(fontsize="xx-small", ncols=2)


def plot_profiles(log: Path, out: Path) -> None:
    """Every error that the log holds at several noise levels against that level, for training steps up to the
    last.
    """
    from matplotlib import colormaps

    rows = _rows(log)
    names = list(dict.fromkeys(name.partition("@")[0] for name in rows[-1] if "@" in name))
    chosen = sorted({round(i * (len(rows) - 1) / (SHOWN - 1)) for i in range(SHOWN)})
    with _panels(names, out) as axes:
        for panel, name in zip(axes, names, strict=True):
            for i in chosen:
                points = sorted(
                    (float(key.partition("@")[2]), value)
                    for key, value in rows[i].items()
                    if key.startswith(f"{name}@")
                )
                if not points:
                    continue
                colour = colormaps["viridis"](1 - i / max(1, len(rows) - 1))
                panel.plot(*zip(*points, strict=True), ".-", color=colour, label=f"step {rows[i]['step']}")
            panel.set(xlabel="noise level t", title=name, ylim=(0, 1.05 * panel.get_ylim()[1]))
            panel.legend(fontsize="x-small")


@contextmanager
def _panels(names: Collection[str], out: Path) -> Iterator[Sequence[Axes]]:
    """Axes side by side, one for each name; when the block ends well they are written as the picture
    `out`.
    """
    figure = new_figure(figsize=(4 * len(names), 3), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    yield panels
    for axes in panels:
        axes.grid(alpha=0.3)
    with replacing(out) as partial:
        figure.savefig(partial, format="png")


def _rows(log: Path) -> list[dict]:
    """The log by step; a line that a kill cut short is none, and of a step seen twice the later one
    counts.
    """
    rows = {}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict) and "step" in row:
                rows[row["step"]] = row
    return [rows[step] for step in sorted(rows)]
