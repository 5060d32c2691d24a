"""Work on one picture file or a folder of them: nothing lost, nothing half written, one bad file stops no other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..imaging.images import READABLE, WRITABLE, Picture, read, write


@dataclass(frozen=True)
class Job:
    source: Path
    target: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a job: status is written, skipped or failed; message says why; report holds what the work returned."""

    source: str
    target: str
    status: str
    message: str = ""
    seconds: float = 0.0
    report: dict = field(default_factory=dict)


def plan(source: str | os.PathLike, target: str | os.PathLike, suffix: str | None = None) -> list[Job]:
    """Pair every picture of a file or folder (searched to its depth) with its output; `suffix` changes the format.

    Raises FileNotFoundError or ValueError when there is nothing to do or an output would be an input.
    """
    source, target = Path(source), Path(target)
    if source.is_file():
        to_folder = target.is_dir() or not target.suffix
        jobs = [Job(source, _named(target / source.name, suffix) if to_folder else target)]
    elif source.is_dir():
        if target.is_file():
            raise ValueError(f"{target} is a file: a folder of pictures needs an output folder")
        inside = target.resolve()
        found = sorted(
            p
            for p in source.rglob("*")
            if p.suffix.lower() in READABLE and p.is_file() and inside not in p.resolve().parents
        )
        jobs = [Job(p, _named(target / p.relative_to(source), suffix)) for p in found]
        if not jobs:
            raise FileNotFoundError(f"there is no picture in {source} ({', '.join(READABLE)})")
    else:
        raise FileNotFoundError(f"there is no file or folder at {source}")
    sources, seen = {job.source.resolve() for job in jobs}, {}
    for job in jobs:
        if job.target.resolve() in sources:
            raise ValueError(f"{job.target} would replace an input: choose another output")
        other = seen.setdefault(job.target, job.source)
        if other != job.source:
            raise ValueError(f"{other} and {job.source} would both become {job.target}: rename one of them")
    return jobs


def run(
    jobs: Iterable[Job],
    work: Callable[[Picture, Job], tuple[Picture, dict]],
    overwrite: bool = False,
    skip: bool = False,
    quality: int = 95,
) -> Iterable[Outcome]:
    """Yield one outcome a job as it ends. Existing outputs are skipped with `skip`, replaced with `overwrite`, else refused."""
    for job in jobs:
        outcome = Outcome(str(job.source), str(job.target), "failed")
        if job.target.exists() and not overwrite:
            status, message = (
                ("skipped", "exists")
                if skip
                else ("failed", f"{job.target} exists: choose another name or allow overwriting")
            )
            yield replace(outcome, status=status, message=message)
            continue
        start = time.perf_counter()
        try:
            result, report = work(read(job.source), job)
            write(result, job.target, overwrite, quality)
        except (
            ValueError,
            OSError,
            MemoryError,
            RuntimeError,
        ) as error:  # RuntimeError: torch's out-of-memory among others
            yield replace(
                outcome, message=f"{job.source}: {error}" if str(job.source) not in str(error) else str(error)
            )
            continue
        yield replace(outcome, status="written", seconds=round(time.perf_counter() - start, 3), report=report)


def _named(path: Path, suffix: str | None) -> Path:
    if suffix:
        return path.with_suffix(suffix)
    return path if path.suffix.lower() in WRITABLE else path.with_suffix(".png")
