"""What the strength of the guidance does, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..drawing import new_figure
from ..imaging.images import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {
    "probability": "probability of the label",
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "identity": "distance to the person",
}
COLOURS, LINES = ("tab:blue", "tab:orange", "tab:green"), {"true": "-", "opposite": "--"}


def strength_plot(rows: Sequence[dict], effects: Sequence[dict], out: Path) -> None:
    """Attribute, fidelity and identity (rows) against h at each scale (columns), as PNG: true labels in full
    lines, opposite ones dashed.

    Crosses mark the first h that harms, dotted lines bicubic. In the first row thin lines are the
    probabilities by label.
    """
    names = [name for name in NAMES if name in rows[0]]
    scales = sorted({row["scale"] for row in rows})
    figure = new_figure(figsize=(4.4 * len(scales), 2.4 * len(names)), dpi=100, layout="constrained")
    grid = figure.subplots(len(names), len(scales), squeeze=False, sharex=True, sharey="row")
    for column, scale in enumerate(scales):
        here = [row for row in rows if row["scale"] == scale]
        for axes, name in zip(grid[:, column], names, strict=True):
            _lines(axes, here, name, [effect for effect in effects if effect["scale"] == scale])
            axes.grid(alpha=0.3)
            if column == 0:
                axes.set_ylabel(NAMES[name])
        least = min(row["h"] for row in here if row["h"] != "" and row["h"] > 0)
        grid[0, column].set_xscale("symlog", linthresh=least, linscale=0.5)  # shows 0, too
        grid[0, column].set_title(f"x{scale}")
        grid[-1, column].set_xlabel("h")
    grid[1, 0].legend(fontsize="x-small")
    with replacing(out) as partial:
        figure.savefig(partial, format="png")


def _lines(axes: Axes, rows: Sequence[dict], name: str, effects: Sequence[dict]) -> None:
    methods = list(dict.fromkeys(row["method"] for row in rows if row["h"] != ""))
    for method, colour in zip(methods, COLOURS, strict=False):
        for asked, style in LINES.items():
            line = [row for row in rows if (row["method"], row["asked"]) == (method, asked)]
            axes.plot(
                [r["h"] for r in line],
                [r[name] for r in line],
                style,
                marker=".",
                color=colour,
                label=f"{method}, {asked}",
            )
            if name == "probability":
                for label in (key for key in line[0] if key.startswith("asked ")):
                    axes.plot(
                        [r["h"] for r in line],
                        [r[label] for r in line],
                        style,
                        color=colour,
                        lw=0.6,
                        alpha=0.6,
                    )
            (harm,) = (e["harm at h"] for e in effects if (e["method"], e["asked"]) == (method, asked))
            axes.plot(
                [r["h"] for r in line if r["h"] == harm],
                [r[name] for r in line if r["h"] == harm],
                "x",
                color="red",
                ms=9,
            )
    bicubic = next(row[name] for row in rows if row["method"] == "bicubic")
    axes.axhline(bicubic, color="black", ls=":", lw=1, label="bicubic")
