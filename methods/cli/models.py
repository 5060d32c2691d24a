"""`priorsr models`: every weight file that is found, what it is, what it is for, and why where it cannot be
used.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from functools import lru_cache
from pathlib import Path

from .. import weights
from .parser import Command

COLUMNS = ("name", "kind", "title", "use", "licence", "parts", "scale", "size", "dtype", "sha256")
SRCNN = ("srcnn_x2", "srcnn_x3", "srcnn_x4")  # without which the package is incomplete
SHOWN = ("name", "kind", "scale", "size", "dtype", "state")  # columns of the table; --json has all


def list_models(options: argparse.Namespace) -> int:
    rows = [_row(path) for path in weights.installed()]
    ready = {row["name"] for row in rows if row["state"] == "ready"}
    rows += [_missing(name) for name in SRCNN if name not in ready]
    if options.json:
        print(json.dumps(rows))
        return 0
    _table([[row[key] for key in SHOWN] for row in rows], SHOWN)
    kinds = {
        row["kind"]: (row["kind"], row["title"], row["use"], row["licence"]) for row in rows if row["kind"]
    }
    print()
    _table(sorted(kinds.values()), ("kind", "title", "use", "licence"))
    return 0


def _row(path: Path) -> dict[str, object]:
    """What the header of a file says; a file that cannot be used gets the reason as its state."""
    row: dict[str, object] = dict.fromkeys(COLUMNS, "")
    row.update({"name": path.stem, "parts": [], "path": str(path)})
    try:
        row["size"] = _size(path.stat().st_size)
        whole = False
        if path.parent == weights.SHIPPED:
            row["sha256"] = digest = hashlib.sha256(path.read_bytes()).hexdigest()
            whole = f"{digest}  {path.name}" in _sums()
        found = weights.describe(path, whole)
    except (ValueError, OSError) as error:
        return {**row, "state": str(error)}
    if found.kind is not None:
        row.update(
            kind=found.kind.id,
            title=found.kind.title,
            use=found.kind.use,
            parts=[part.id for part in found.parts],
        )
    row.update(licence=found.licence, scale=found.scale or "", dtype=found.dtype)
    return {**row, "state": found.problem or "ready"}


@lru_cache(1)
def _sums() -> frozenset[str]:
    """What the shipped files are known by: lines of a digest and a name."""
    path = weights.SHIPPED / "SHA256SUMS"
    return frozenset(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else frozenset()


def _missing(name: str) -> dict[str, object]:
    kind = next(kind for kind in weights.KINDS if kind.id == "srcnn")
    return {
        **dict.fromkeys(COLUMNS, ""),
        "name": name,
        "kind": kind.id,
        "title": kind.title,
        "use": kind.use,
        "licence": kind.licence,
        "parts": [],
        "scale": name[-1],
        "path": str(weights.SHIPPED),
        "state": "missing: reinstall PriorSR, or train it",
    }


def _size(count: float) -> str:
    """Bytes in words."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _table(rows: list, names: tuple[str, ...]) -> None:
    """Columns of text; what a console cannot print is replaced."""
    encoding = sys.stdout.encoding or "utf-8"
    cells = [[str(v).encode(encoding, "replace").decode(encoding) for v in row] for row in [names, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


COMMANDS = (Command("models", lambda parser: None, list_models),)
