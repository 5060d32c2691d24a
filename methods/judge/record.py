"""What a run of judging found: a file that others can cite, and a table."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..imaging.replacing import replacing
from ..metrics.bootstrap import Summary
from .figures import FIGURES
from .pairs import Failure

KIND = "priorsr judge 1"


@dataclass(frozen=True)
class Record:
    """What was measured, and by what.

    figures: by name, with 95 % intervals. lacking: figures that were not computed, with the cure. failures:
    pictures left out, wholly or of a figure. pictures: a row each. what: the folders as given. versions: of
    the packages; weights: SHA-256 of the files that judged. seed: of the intervals. method: what made the
    results, where that is known.
    """

    label: str
    protocol: dict[str, Any]
    what: dict[str, str]
    figures: dict[str, Summary]
    lacking: dict[str, str] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    pictures: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    method: dict[str, Any] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """All of it as JSON holds it: what is infinite is "inf"."""
        return finite({"kind": KIND, **asdict(self)})

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the record as JSON. Raises FileExistsError, OSError."""
        with replacing(Path(path), overwrite) as partial:
            partial.write_text(json.dumps(self.described(), indent=1), encoding="utf-8")

    def table(self) -> str:
        """A line for each figure, what was not computed, and what failed."""
        rows = [("figure", "value", "95 % interval", "n", "")]
        for name, one in self.figures.items():
            figure = FIGURES[name]
            between = "" if one.low is None else f"{shown(name, one.low)} .. {shown(name, one.high)}"
            arrow = {"high": "higher is better", "low": "lower is better", "one": "1 is as the truth"}
            note = f"{figure.about}; {arrow[figure.better]}"
            rows.append((name, shown(name, one.value), between, str(one.n), note))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        alike: dict[str, list[str]] = {}
        for name, why in self.lacking.items():
            alike.setdefault(why, []).append(name)
        lines += [f"not computed: {', '.join(some)}: {why}" for why, some in alike.items()]
        if self.failures:
            lines.append(f"{len(self.failures)} failed or incomplete, the rest was judged")
        return "\n".join(lines)


def shown(name: str, value: float | None) -> str:
    """A figure with as many digits as it deserves."""
    if value is None:
        return ""
    return f"{value:.{FIGURES[name].digits if name in FIGURES else 4}f}"


def read_record(path: str | Path) -> Record:
    """A record from its file. Raises FileNotFoundError, or ValueError naming the file where it is none."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no record at {path}")
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(held, dict) or held.pop("kind", "") != KIND:
            raise ValueError(f"it is not of the kind {KIND!r}")
        held["figures"] = {name: Summary(**_numbers(one)) for name, one in held["figures"].items()}
        held["failures"] = [Failure(**one) for one in held["failures"]]
        return Record(**held)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is no record that `priorsr judge --out` wrote: {error}") from error


def finite(value: Any) -> Any:
    """The same as JSON holds it: what is infinite or no number as a text."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _numbers(held: dict[str, Any]) -> dict[str, Any]:
    return {key: float(value) if isinstance(value, str) else value for key, value in held.items()}
