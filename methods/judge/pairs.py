"""Which result belongs to which true picture and input: by name, whatever the format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..imaging.datasets import find_files
from .protocol import Pairs


@dataclass(frozen=True)
class Failure:
    """A picture that could not be judged, or not in all respects, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Job:
    """A result with its truth and input, where there are such; name: below its folder, without the suffix."""

    name: str
    result: Path
    truth: Path | None = None
    low: Path | None = None


def gather(
    results: Path, truth: Path | None, inputs: Path | None, ends: Pairs, folder: Path
) -> tuple[list[Job], list[Failure]]:
    """Pair the pictures of folders or zip archives, which are unpacked into `folder`, or single pictures.

    Raises FileNotFoundError or ValueError for what is no folder or holds no picture.
    """
    if results.is_file() and results.suffix.lower() != ".zip":
        for role, path in (("truth", truth), ("inputs", inputs)):
            if path is not None and not path.is_file():
                raise ValueError(f"{results} is one picture, so that {role} must be one too, not {path}")
        return [Job(results.stem, results, truth, inputs)], []
    failures: list[Failure] = []
    found = _named(results, ends.results, folder / "results", failures)
    beside = {
        role: None if path is None else _named(path, end, folder / role, failures)
        for role, path, end in (("truth", truth, ends.truth), ("inputs", inputs, ends.inputs))
    }
    jobs = []
    for name, path in found.items():
        lacking = [role for role, others in beside.items() if others is not None and name not in others]
        if lacking:
            failures.append(
                Failure(str(path), f"there is no {' and no '.join(_WORDS[r] for r in lacking)} of its name")
            )
            continue
        own = {role: others[name] if others else None for role, others in beside.items()}
        jobs.append(Job(name, path, own["truth"], own["inputs"]))
    for role, others in beside.items():
        for name in others or ():
            if name not in found:
                failures.append(
                    Failure(str((others or {})[name]), f"there is no result of this {_WORDS[role]}'s name")
                )
    return jobs, failures


_WORDS = {"truth": "true picture", "inputs": "input"}


def listed(paths: Sequence[Path], folder: Path) -> list[tuple[str, Path]]:
    """Names, without suffixes, and places of the pictures of one or more folders or archives."""
    found = []
    for i, path in enumerate(paths):
        found += [(_stem(name), place) for name, place in find_files([path], folder / str(i))]
    return found


def _named(source: Path, end: str, folder: Path, failures: list[Failure]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for name, path in listed([source], folder):
        key = name.removesuffix(end) if end else name
        if end and key == name:
            failures.append(Failure(str(path), f"its name does not end in {end} as the protocol says"))
        elif key in named:
            failures.append(Failure(str(path), f"{named[key].name} has the same name but for the suffix"))
        else:
            named[key] = path
    return named


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()
