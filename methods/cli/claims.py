"""Which process does which picture, where several share an output folder, on one machine or many.

A claim is a file beside the result that only one process can make. Claims save work and decide nothing: a
result appears whole under its name once, and is the same whoever makes it, so that two processes that both
take over a dead one's claim lose time only.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ..imaging.replacing import host_name, is_gone
from .folder import Job, Outcome

CLAIM = re.compile(r"\.priorsr-[0-9a-f]{16}\.claim")
BEAT = 15.0  # seconds between signs of life
LEASE = 120.0  # seconds without one after which a claim is nobody's
POLL = 0.2  # seconds between looks at what others do

_own: set[Path] = set()  # claims of this process


class Claims:
    """The claims of one process.

    place: in 0..1, where in the list it begins, so that processes meet seldom. since: of a run that
    overwrites, the time of the file system, in ns, from which on a result is one of this run.
    """

    def __init__(self, place: float = 0.0, since: int = 0):
        self.place, self.since = place, since
        self._held: dict[str, Path] = {}  # claims by the source of their job
        self._failed: list[Path] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._ahead = 0.0  # the file system's clock before this machine's, in seconds
        threading.Thread(target=self._beat, daemon=True).start()

    def take(self, jobs: Sequence[Job], overwrite: bool) -> Iterator[Job | Outcome]:
        """The jobs that nobody else does, each claimed, and what became of the others; waits for those."""
        start = int(len(jobs) * self.place)
        left = [*jobs[start:], *jobs[:start]]
        while left and not self._closed.is_set():
            others = []
            for job in left:
                found = self._look(job, overwrite)
                if found is None:
                    others.append(job)
                else:
                    yield found
            if len(others) == len(left):
                self._closed.wait(POLL)
            left = others

    def hold(self, job: Job, overwrite: bool) -> bool:
        """Claim one job; False while another process is at it."""
        return isinstance(self._look(job, overwrite), Job)

    def release(self, outcome: Outcome) -> None:
        """A job has ended: its claim goes, or stays and says that it failed, until this process ends."""
        with self._lock:
            path = self._held.pop(outcome.source, None)
            if path is None:
                return
            with suppress(OSError):
                if outcome.status == "failed":
                    self._failed.append(path)
                    path.write_text(json.dumps(_owner() | {"failed": outcome.message}), encoding="utf-8")
                else:
                    path.unlink()
                    _own.discard(path)

    def close(self) -> None:
        """All claims go, and no other is made."""
        self._closed.set()
        with self._lock:
            for path in [*self._held.values(), *self._failed]:
                with suppress(OSError):
                    path.unlink()
                _own.discard(path)
            self._held.clear()
            self._failed.clear()

    def _look(self, job: Job, overwrite: bool) -> Job | Outcome | None:
        """The job, claimed or needing no claim; what another process made of it; None while one is at it."""
        if job.problem or (not overwrite and os.path.lexists(job.target)):
            return job
        if overwrite and self._made(job.target):
            return _told(job, "skipped", "another worker has written it")
        path = claim_of(job.target)
        if not self._claim(job, path):
            said = _read(path)
            if said is None or not self._expired(path, said):
                failed = (said or {}).get("failed")
                return _told(job, "failed", failed) if failed else None
            with suppress(OSError):
                path.unlink()
            if not self._claim(job, path):
                return None
        if overwrite and self._made(job.target):  # between the two looks
            self.release(outcome := _told(job, "skipped", "another worker has written it"))
            return outcome
        return job

    def _claim(self, job: Job, path: Path) -> bool:
        with self._lock:
            if self._closed.is_set():
                return False
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            except FileExistsError:
                return False
            except OSError as error:
                raise OSError(
                    f"cannot write into {path.parent}: {error.strerror or error}. Choose a folder you may "
                    "write to"
                ) from error
            self._held[str(job.source)] = path
            _own.add(path)
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(json.dumps(_owner()))
            self._ahead = path.stat().st_mtime - time.time()
            return True

    def _made(self, target: Path) -> bool:
        try:
            return target.stat().st_mtime_ns >= self.since
        except OSError:
            return False

    def _expired(self, path: Path, said: dict) -> bool:
        """Whether the owner of a claim is gone, or has given no sign of life for LEASE."""
        if path in _own:
            return False
        if is_gone(str(said.get("host")), _number(said.get("pid"))):
            return True
        try:
            return time.time() + self._ahead - path.stat().st_mtime > LEASE
        except OSError:
            return False

    def _beat(self) -> None:
        while not self._closed.wait(BEAT):
            with self._lock:
                for path in [*self._held.values(), *self._failed]:
                    with suppress(OSError):
                        os.utime(path)


def claim_of(target: Path) -> Path:
    """The claim of a result."""
    name = hashlib.sha256(target.name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return target.with_name(f".priorsr-{name}.claim")


def sweep_claims(folder: Path) -> int:
    """Remove the claims in a folder whose owners are gone; how many there were."""
    removed = 0
    with suppress(OSError):
        for name in [entry.name for entry in os.scandir(folder) if CLAIM.fullmatch(entry.name)]:
            path = folder / name
            with suppress(OSError):
                said = _read(path) or {}
                gone = is_gone(str(said.get("host")), _number(said.get("pid")))
                if path not in _own and (gone or time.time() - path.stat().st_mtime > 10 * LEASE):
                    path.unlink()
                    removed += 1
    return removed


def _owner() -> dict:
    return {"host": host_name(), "pid": os.getpid(), "time": int(time.time())}


def _number(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _read(path: Path) -> dict | None:
    """What a claim says; {} while it is being written, None where there is none any more."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _told(job: Job, status: str, message: str) -> Outcome:
    return Outcome(str(job.source), str(job.target), status, message)
