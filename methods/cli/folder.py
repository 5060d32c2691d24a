"""Work on a picture or a folder of them: nothing lost, nothing half written, one bad file stops no other."""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..graph.engine import Gone
from ..imaging.files import READABLE, picture_files
from ..imaging.images import WRITABLE, Picture, check_writable, read, read_head, write
from ..imaging.replacing import check_place, sweep

log = logging.getLogger("priorsr")


@dataclass(frozen=True)
class Job:
    """A picture and where its result goes; problem is why it cannot, where that is known before."""

    source: Path
    target: Path
    problem: str = ""


class Plan(list[Job]):
    """The jobs of a run, and the files that hold pictures but are not done."""

    def __init__(self, jobs: Iterable[Job], passed_over: Iterable[Path] = ()):
        super().__init__(jobs)
        self.passed_over = tuple(passed_over)


@dataclass(frozen=True)
class Outcome:
    """What became of a job: written, skipped or failed; message says why, report is what work returned."""

    source: str
    target: str
    status: str
    message: str = ""
    seconds: float = 0.0
    report: dict = field(default_factory=dict)


def plan(source: str | os.PathLike, target: str | os.PathLike, suffix: str | None = None) -> Plan:
    """Pair every picture of a file or folder and its subfolders with its output; `suffix` sets the format.

    Only heads are read, and nothing is written. Raises FileNotFoundError, ValueError or OSError when there
    is nothing to do, an output would be an input, or the only picture or the output folder cannot be written.
    """
    source, target = Path(source), Path(target)
    others: list[Path] = []
    if source.is_file():
        to_folder = os.path.isdir(target) or not target.suffix
        jobs = [Job(source, _named(target / source.name, suffix) if to_folder else target)]
    elif source.is_dir():
        found, others = _found(source, target)
        jobs = [Job(p, _named(target / p.relative_to(source), suffix)) for p in found]
    else:
        raise FileNotFoundError(f"there is no file or folder at {source}")
    sources, seen = {job.source.resolve() for job in jobs}, {}
    for job in jobs:
        if job.target.resolve() in sources:
            raise ValueError(f"{job.target} would replace an input: choose another output")
        other = seen.setdefault(job.target, job.source)
        if other != job.source:
            raise ValueError(f"{other} and {job.source} would both become {job.target}: rename one of them")
    if source.is_file():
        _check(jobs[0])
        return Plan(jobs)
    return Plan([replace(job, problem=_problem(job)) for job in jobs], others)


Work = Callable[[Any, Job], tuple["Picture | None", dict]]


def run(
    jobs: Iterable[Job],
    work: Work | Sequence[Work],
    overwrite: bool = False,
    skip: bool = False,
    quality: int = 95,
    read: Callable[[Path], Any] = read,
) -> Iterable[Outcome]:
    """Yield one outcome a job as it ends, whatever it raises; several works share the jobs.

    Existing outputs, also new ones, are skipped with `skip`, replaced with `overwrite`, else refused. A work
    that gives no picture writes none; one that raises Gone gets no further job, and the last one fails all.
    """
    jobs = list(jobs)
    for folder in {job.target.parent for job in jobs}:
        if removed := sweep(folder):
            log.info("%s: removed %d unfinished files of an earlier run", folder, removed)
    do = _Doing(overwrite, skip, quality, read)
    works = [work] if callable(work) else list(work)
    return _one_after_another(jobs, works[0], do) if len(works) == 1 else _shared(jobs, works, do)


def _one_after_another(jobs: Iterable[Job], work: Work, do: _Doing) -> Iterable[Outcome]:
    gone = ""
    for job in jobs:
        try:
            yield do(job, work) if not gone else do.lost(job, gone)
        except Gone as error:
            gone = str(error)
            yield do.lost(job, gone)


def _shared(jobs: Sequence[Job], works: Sequence[Work], do: _Doing) -> Iterable[Outcome]:
    """The outcomes of jobs that each of several works takes the next of, in a thread."""
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    done: queue.SimpleQueue[Outcome | str] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)

    def take(work: Work) -> None:
        while not do.stopped:  # also with nothing to do, for a job may come back
            with suppress(queue.Empty):
                job = waiting.get(timeout=0.1)
                try:
                    done.put(do(job, work))
                except Gone as error:
                    waiting.put(job)
                    done.put(str(error))
                    return

    for work in works:
        threading.Thread(target=take, args=(work,), daemon=True).start()
    left, there = len(jobs), len(works)
    try:
        while left and there:
            outcome = done.get()
            if isinstance(outcome, Outcome):
                left -= 1
                yield outcome
                continue
            there -= 1
            log.warning("%s%s", outcome, ": the others go on" if there else "")
            while left and not there:
                left -= 1
                yield do.lost(waiting.get(), outcome)
    finally:
        do.stop()


class _Doing:
    """Does one job: what is there already, the work, the file."""

    def __init__(self, overwrite: bool, skip: bool, quality: int, read: Callable[[Path], Any]):
        self.overwrite, self.skip, self.quality, self.read = overwrite, skip, quality, read
        self.stopped = False
        self._writing = threading.Lock()

    def stop(self) -> None:
        """Wait for a file that is being written; no other one is begun."""
        self.stopped = True
        with self._writing:
            return

    @staticmethod
    def lost(job: Job, message: str) -> Outcome:
        return Outcome(str(job.source), str(job.target), "failed", _named_once(message, job))

    def __call__(self, job: Job, work: Work) -> Outcome:
        """What becomes of a job. Raises Gone."""
        outcome = Outcome(str(job.source), str(job.target), "failed")
        message = f"{job.target} exists: choose another name"
        taken = ("skipped", "exists") if self.skip else ("failed", message)
        if os.path.lexists(job.target) and not self.overwrite:
            return replace(outcome, status=taken[0], message=taken[1])
        if job.problem:
            return replace(outcome, message=job.problem)
        start = time.perf_counter()
        try:
            result, report = work(self.read(job.source), job)
        except Gone:
            raise
        except Exception as error:
            return replace(outcome, message=_said(error, job))
        try:
            with self._writing:
                if result is not None and not self.stopped:
                    write(result, job.target, self.overwrite, self.quality)
        except FileExistsError:  # another run was faster
            return replace(outcome, status=taken[0], message=taken[1])
        except Exception as error:
            return replace(outcome, message=_said(error, job))
        seconds = round(time.perf_counter() - start, 3)
        target = outcome.target if result is not None else ""
        return replace(outcome, status="written", target=target, seconds=seconds, report=report)


def picture_seed(seed: int, name: str) -> int:
    """The seed of one picture of a run: of the run's seed and the file's name, not of its place in the list.

    48 bits, which JSON readers keep; names are the same however a file system writes their accents.
    """
    plain = unicodedata.normalize("NFC", name)
    digest = hashlib.sha256(f"{seed}/{plain}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big")


def check_output(path: str | os.PathLike, others: Iterable[str | os.PathLike], overwrite: bool) -> None:
    """See before any work whether a further file of a command can be written.

    Raises FileExistsError unless `overwrite`, ValueError where it would be one of the command's other files,
    and as `check_place`.
    """
    path = Path(path)
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(f"{path} exists: choose another name or add --overwrite")
    for other in map(Path, others):
        same = path.exists() and other.exists() and path.samefile(other)
        if same or path.resolve() == other.resolve():
            raise ValueError(f"{path} would replace {other}: choose another name")
    check_place(path)


def _found(source: Path, target: Path) -> tuple[list[Path], list[Path]]:
    """Pictures of a folder that are not results of an earlier run, and files that hold others."""
    inside = target.resolve()
    if inside == source.resolve():
        raise ValueError(f"the output folder {target} is the input folder itself: choose another one")
    if os.path.isfile(target):
        raise ValueError(f"{target} is a file: a folder of pictures needs an output folder")
    check_place(target / "x.png")
    nested = source.resolve() in inside.parents
    found, others = (
        [p for p in paths if not (nested and inside in p.resolve().parents)]
        for paths in picture_files(source)
    )
    if not found:
        beside = f", only {', '.join(p.name for p in others[:5])}" if others else ""
        raise FileNotFoundError(f"there is no picture in {source} ({', '.join(READABLE)}){beside}")
    return found, others


def _problem(job: Job) -> str:
    try:
        _check(job)
    except (ValueError, OSError) as error:
        return _said(error, job)
    return ""


def _check(job: Job) -> None:
    """See whether a job's result can be written. Raises ValueError or OSError."""
    # only JPEG has no place for transparency; what cannot be read at all is said when its turn comes
    alpha = False
    if job.target.suffix.lower() in (".jpg", ".jpeg"):
        try:
            alpha = read_head(job.source).alpha
        except (ValueError, OSError):
            alpha = False
    check_writable(job.target, alpha)


def _said(error: Exception, job: Job) -> str:
    text = str(error) or type(error).__name__
    if not isinstance(error, ValueError | OSError | MemoryError | RuntimeError):
        text = f"{type(error).__name__}: {text}"
    return _named_once(text, job)


def _named_once(text: str, job: Job) -> str:
    return text if str(job.source) in text else f"{job.source}: {text}"


def _named(path: Path, suffix: str | None) -> Path:
    if suffix:
        return path.with_suffix(suffix)
    return path if path.suffix.lower() in WRITABLE else path.with_suffix(".png")
