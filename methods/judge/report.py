"""Records side by side: a table for each protocol and set of pictures, and a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..drawing import new_figure
from .figures import FIGURES
from .record import Record, shown

SAME = ("truth", "inputs", "reference", "gallery")  # what records of one table have been compared with


def tables(records: Sequence[Record]) -> str:
    """Markdown: records of one protocol and the same truth in one table, the best of each figure bold, 95 %
    intervals beside; what was not computed, and pictures left out, below.
    """
    parts = []
    for number, group in enumerate(grouped(records), 1):
        first = group[0]
        held = first.protocol
        head = f"## {number}. {held['name']}"
        head += f", x{held['scale']:g}" if held.get("scale") else ""
        names = [n for n in FIGURES if any(n in r.figures for r in group)]
        lines = [head, "", held.get("about", ""), ""]
        lines += ["| results | n | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
        best = {name: _best(name, group) for name in names}
        for record in group:
            count = max((one.n for one in record.figures.values()), default=0)
            cells = [_cell(name, record, best[name]) for name in names]
            lines.append("| " + " | ".join([record.label, str(count), *cells]) + " |")
        lines += ["", *_notes(group)]
        parts.append("\n".join(lines).rstrip() + "\n")
    return "\n".join(parts)


def grouped(records: Sequence[Record]) -> list[list[Record]]:
    """Records that may be compared: one protocol, compared with the same pictures."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        what = [record.what.get(name, "") for name in SAME]
        groups.setdefault(json.dumps([record.protocol, what], sort_keys=True), []).append(record)
    return list(groups.values())


def plot(records: Sequence[Record], out: Path, overwrite: bool = False) -> None:
    """Figures (columns) of the records (lines) of each table with their intervals, as PNG.

    Raises FileExistsError, OSError, and ImportError without the extra `plots`.
    """
    from ..imaging.replacing import replacing

    groups = grouped(records)
    most = max(len(_names(group)) for group in groups)
    height = sum(0.9 + 0.28 * len(group) for group in groups)
    figure = new_figure(figsize=(1.2 + 1.9 * most, height), dpi=100, layout="constrained")
    grid = figure.subplots(
        len(groups), most, squeeze=False, gridspec_kw={"height_ratios": [0.9 + 0.28 * len(g) for g in groups]}
    )
    for line, group in zip(grid, groups, strict=True):
        names = _names(group)
        for column, axes in enumerate(line):
            if column >= len(names):
                axes.set_axis_off()
                continue
            name = names[column]
            for row, record in enumerate(group):
                one = record.figures.get(name)
                if one is None:
                    continue
                low, high = (one.value if v is None else v for v in (one.low, one.high))
                axes.plot([low, high], [row, row], color="tab:blue", alpha=0.5)
                axes.plot(one.value, row, ".", color="black")
            axes.set_title(name, fontsize=9)
            axes.set_yticks(range(len(group)), [r.label for r in group] if column == 0 else [""] * len(group))
            axes.set_ylim(len(group) - 0.5, -0.5)
            axes.tick_params(labelsize=7)
            axes.grid(alpha=0.3)
    with replacing(out, overwrite) as partial:
        figure.savefig(partial, format="png")


def _names(group: Sequence[Record]) -> list[str]:
    return [n for n in FIGURES if any(n in r.figures for r in group)]


def _best(name: str, group: Sequence[Record]) -> str:
    """The best value as it is shown; nothing where there is none to compare with."""
    values = [r.figures[name].value for r in group if name in r.figures]
    if len(values) < 2:
        return ""
    better = FIGURES[name].better
    return shown(
        name, {"high": max, "low": min, "one": lambda v: min(v, key=lambda x: abs(x - 1))}[better](values)
    )


def _cell(name: str, record: Record, best: str) -> str:
    one = record.figures.get(name)
    if one is None:
        return ""
    text = shown(name, one.value)
    text = f"**{text}**" if text == best else text
    return text if one.low is None else f"{text} ({shown(name, one.low)} .. {shown(name, one.high)})"


def _notes(group: Sequence[Record]) -> list[str]:
    lines = []
    for record in group:
        if record.failures:
            lines.append(f"- {record.label}: {len(record.failures)} pictures or figures were left out.")
    lacking = sorted({name for record in group for name in record.lacking} - set(_names(group)))
    return [*lines, f"- Not computed: {', '.join(lacking)}."] if lacking else lines
