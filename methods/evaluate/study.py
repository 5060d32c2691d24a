"""A study of a paper as a file: which settings of which methods are compared, under which protocols."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..judge.figures import FIGURES
from ..judge.protocol import read_toml, toml_file, toml_names
from ..method import Method
from ..registry import method_named
from ..settings import nearest
from .variants import Variant, combined, known, value_of

FOLDER = Path(__file__).with_name("studies")
PLOTS = ("figures", "spectra")
MADE = ("seconds", "diversity")  # figures that only those know who make the results


@dataclass(frozen=True)
class Runs:
    """Runs of one method: `set` are settings and weights that differ from its own, `grid` those that are
    tried in every combination.
    """

    method: str
    label: str = ""
    set: Mapping[str, Any] = field(default_factory=dict)
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def changed(self, given: Sequence[str], swept: Collection[str] = ()) -> Runs:
        """With what a user gives as NAME=VALUE,... or METHOD.NAME=VALUE,... for all runs that know it; what
        is `swept` by some run is changed in those only.
        """
        method, own, grid = method_named(self.method), dict(self.set), dict(self.grid)
        files = {one.name for one in method.weights if not one.many}
        several = {one.name for one in method.weights if one.many}  # one run takes all of them
        for text in given:
            where, _, held = text.partition("=")
            of, _, key = where.rpartition(".")
            if (self.label and key in own and key not in files | several) or (
                key in swept and key not in grid
            ):
                continue  # what a run is called by, or another one tries
            if of in ("", self.method) and key in known(method):
                parts = held.split(",")
                values = parts if _many(method, key, grid) else [parts if key in several else held]
                own.pop(key, None)
                grid.pop(key, None)
                if len(values) == 1:
                    own[key] = values[0]
                else:
                    grid[key] = values
        return replace(self, set=own, grid=grid)

    def named(self) -> Iterator[tuple[str, Variant]]:
        """Every run with its name in tables. Raises ValueError for settings that the method has not."""
        method = method_named(self.method)
        if unknown := [key for key in (*self.set, *self.grid) if key not in known(method)]:
            raise ValueError(f"{method.name} has no {unknown[0]!r}{nearest(unknown[0], known(method))}")
        values = {key: [value_of(method, key, one)] for key, one in self.set.items()}
        values |= {key: [value_of(method, key, one) for one in some] for key, some in self.grid.items()}
        for variant in combined(method, values):
            told = [f"{key} {_shown(variant.given[key])}" for key in self.grid]
            head = self.label or (method.name if not told else "")
            yield " ".join(filter(None, [head, ", ".join(told)])), variant


@dataclass(frozen=True)
class Study:
    """What is compared and measured.

    protocols: of `priorsr judge`, a table for each. scales: of reductions that are undone. metrics: names, ()
    for those of the protocol; `seconds` and `diversity` (over `samples` seeds a picture) are told only where
    they are named. plots: figures, or spectra of frequencies besides. needs: files that the user gives.
    centre: side of the middle of pictures that is taken, 0 for all of them; smaller pictures stay whole.
    """

    name: str
    about: str
    runs: tuple[Runs, ...]
    protocols: tuple[str, ...] = ("plain",)
    scales: tuple[float, ...] = (4.0,)
    metrics: tuple[str, ...] = ()
    samples: int = 1
    plots: tuple[str, ...] = ("figures",)
    needs: tuple[str, ...] = ()
    centre: int = 0

    def __post_init__(self):
        for kind, some, all_of in (("metric", self.metrics, tuple(FIGURES)), ("plot", self.plots, PLOTS)):
            if unknown := [one for one in some if one not in all_of]:
                raise ValueError(f"there is no {kind} {unknown[0]!r}{nearest(unknown[0], all_of)}")
        if not self.runs:
            raise ValueError("a study needs [[runs]]")
        if self.samples < 1 + ("diversity" in self.metrics):
            raise ValueError(f"diversity needs samples of 2 or more, not {self.samples}")

    def changed(self, given: Sequence[str]) -> Study:
        """With what a user gives for its runs. Raises ValueError for what none of them has."""
        for text in given:
            of, _, key = text.partition("=")[0].rpartition(".")
            methods = [method_named(one.method) for one in self.runs if of in ("", one.method)]
            every = sorted({name for method in methods for name in known(method)})
            if "=" not in text or key not in every:
                raise ValueError(f"--set {text}: no run of {self.name} has {key!r}{nearest(key, every)}")
        swept = {key for one in self.runs for key in one.grid}
        return replace(self, runs=tuple(one.changed(given, swept) for one in self.runs))

    def named(self) -> dict[str, Variant]:
        """Every run by its name. Raises ValueError for two of one name."""
        found: dict[str, Variant] = {}
        for runs in self.runs:
            for label, variant in runs.named():
                if label in found:
                    raise ValueError(f"two runs are called {label!r}: give one a label")
                found[label] = variant
        return found


def names() -> list[str]:
    """The studies that come along."""
    return toml_names(FOLDER)


def read_study(name: str | os.PathLike) -> Study:
    """A study by its name, or from a TOML file.

    Raises ValueError that names the file and what is wrong, FileNotFoundError, ImportError on Python 3.10
    without tomli.
    """
    path = toml_file(name, FOLDER, "study")
    try:
        held = read_toml(path)
        runs = tuple(Runs(**_checked(Runs, one)) for one in held.pop("runs", ()))
        rest = {k: tuple(v) if isinstance(v, list) else v for k, v in _checked(Study, held).items()}
        study = Study(**{"name": path.stem, "about": "", **rest, "runs": runs})
        study.named()
        return study
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: {error}") from error


def _many(method: Method, key: str, grid: Mapping[str, Any]) -> bool:
    """Whether commas part several values: of numbers, of files, and of what the study tries several of."""
    files = {one.name for one in method.weights}
    if any(one.name == key and one.many for one in method.weights):
        return False
    return key in grid or key in files or not isinstance(method.fields()[key].default, str)


def _checked(kind: type, held: dict[str, Any]) -> dict[str, Any]:
    names_of = [f.name for f in fields(kind)]
    if unknown := [key for key in held if key not in names_of]:
        raise ValueError(f"a study has no {unknown[0]!r}{nearest(unknown[0], names_of)}")
    return held


def _shown(value: Any) -> str:
    """A setting's value in a table; of files their names."""
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return Path(text).stem if os.sep in text else text
