"""Which pictures a run is for, where their results go, and which seeds and shards they have."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..imaging.files import READABLE, picture_files
from ..imaging.images import WRITABLE, check_writable, read_head
from ..imaging.replacing import check_place


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


@dataclass(frozen=True)
class Shard:
    """The `number`-th of `count` parts of a folder, from 1."""

    number: int
    count: int

    @classmethod
    def of(cls, text: str) -> Shard:
        """From "2/3". Raises ValueError."""
        number, slash, count = text.partition("/")
        if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise ValueError(f"there is no shard {text!r}: write it as 2/3, the second of three")
        return cls(int(number), int(count))

    def has(self, path: Path) -> bool:
        """Whether a path relative to the input folder is in this part, on every machine alike."""
        return picture_seed(0, path.as_posix()) % self.count == self.number - 1


def plan(
    source: str | os.PathLike,
    target: str | os.PathLike,
    suffix: str | None = None,
    shard: Shard | None = None,
) -> Plan:
    """Pair every picture of a file or folder and its subfolders with its output; `suffix` sets the format,
    `shard` leaves the others to other runs.

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
        if shard:
            raise ValueError(f"a shard is a part of a folder, and {source} is a single picture: leave it out")
        _check(jobs[0])
        return Plan(jobs)
    if shard:
        jobs = [job for job in jobs if shard.has(job.source.relative_to(source))]
    return Plan([replace(job, problem=_problem(job)) for job in jobs], others)


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
        kinds = ", ".join(READABLE)
        raise FileNotFoundError(
            f"there is no picture in {source}{beside}: give a folder that has some ({kinds})"
        )
    return found, others


def _problem(job: Job) -> str:
    try:
        _check(job)
    except (ValueError, OSError) as error:
        return said(error, job)
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


def said(error: Exception, job: Job) -> str:
    """What went wrong with a job, in words that name its file."""
    text = str(error) or type(error).__name__
    if not isinstance(error, ValueError | OSError | MemoryError | RuntimeError):
        text = f"{type(error).__name__}: {text}"
    return named_once(text, job)


def named_once(text: str, job: Job) -> str:
    """The text, with the job's file before it where it does not name it."""
    return text if str(job.source) in text else f"{job.source}: {text}"


def _named(path: Path, suffix: str | None) -> Path:
    if suffix:
        return path.with_suffix(suffix)
    return path if path.suffix.lower() in WRITABLE else path.with_suffix(".png")
