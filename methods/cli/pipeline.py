"""Read, work and write at the same time, in bounded memory: nothing lost, nothing half written."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..graph.engine import Gone
from ..imaging.images import Picture, read, write
from ..imaging.replacing import sweep
from .channel import Channel
from .claims import Claims, sweep_claims
from .folder import Job, Outcome, named_once, said

log = logging.getLogger("priorsr")
PATIENCE = 10.0  # seconds that a picture which is being read or written may take when a run is ended
AGAIN = "Start it again, then run the same command, which does what is missing"
Work = Callable[[Any, Job], "tuple[Picture | None, dict]"]
Works = Callable[[Sequence[Any], Sequence[Job]], "Sequence[tuple[Picture | None, dict]]"]


@dataclass(frozen=True)
class Batch:
    """How a work takes several pictures at once: at most so many of one key; of key None each alone."""

    most: int
    key: Callable[[Any], Hashable]
    work: Works


@dataclass(eq=False)
class _Read:
    """A picture between its reading and its writing."""

    job: Job
    picture: Any
    seconds: float = 0.0
    report: dict | None = None


def run(
    jobs: Iterable[Job],
    work: Work | Sequence[Work],
    overwrite: bool = False,
    skip: bool = False,
    quality: int = 95,
    read: Callable[[Path], Any] = read,
    batch: Batch | None = None,
    claims: Claims | None = None,
) -> Generator[Outcome, None, None]:
    """Yield one outcome a job as it ends, whatever it raises; several works share the jobs, in threads.

    Existing outputs, also new ones, are skipped with `skip`, replaced with `overwrite`, else refused. A work
    that gives no picture writes none; one that raises Gone gets no further job, and the last one fails all.
    batch: what a single work does with pictures of one kind. claims: shares the jobs with other processes.
    """
    jobs = list(jobs)
    for folder in {job.target.parent for job in jobs}:
        if removed := sweep(folder) + sweep_claims(folder):
            log.info("%s: removed %d unfinished files of an earlier run", folder, removed)
    works = [work] if callable(work) else list(work)
    return _Line(jobs, works, batch, claims, _Files(overwrite, skip, quality, read)).outcomes()


class _Line:
    """A thread that reads, works, and a thread that writes; a single work stays in the caller's thread."""

    def __init__(
        self,
        jobs: list[Job],
        works: list[Work],
        batch: Batch | None,
        claims: Claims | None,
        files: _Files,
    ):
        self.jobs, self.works, self.batch, self.claims, self.files = jobs, works, batch, claims, files
        self.incoming = Channel(2 * batch.most if batch and batch.most > 1 else len(works))
        self.outgoing = Channel(2)
        self.finished: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()
        self.gone, self.there = "", len(works)

    def outcomes(self) -> Generator[Outcome, None, None]:
        ends = [threading.Thread(target=one, daemon=True) for one in (self._reading, self._writing)]
        try:
            for thread in ends:
                thread.start()
            if len(self.works) == 1:
                while self._step(self.works[0]):
                    yield from self._so_far()
                self._lose()
            else:
                threading.Thread(target=self._share, daemon=True).start()
            while (outcome := self.finished.get()) is not None:
                yield self._checked(outcome)
        finally:
            self.incoming.close()
            self.outgoing.close()
            self.files.stop()
            for thread in (one for one in ends if one.ident):
                thread.join(PATIENCE)  # or they would be in the middle of something when Python ends
            if self.claims:
                self.claims.close()
                for folder in {job.target.parent for job in self.jobs}:
                    sweep(folder)  # after workers that were killed

    def _so_far(self) -> Iterable[Outcome]:
        while not self.finished.empty():
            outcome = self.finished.get()
            if outcome is not None:
                yield self._checked(outcome)

    def _checked(self, outcome: Outcome | BaseException) -> Outcome:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _reading(self) -> None:
        try:
            for job in self.claims.take(self.jobs, self.files.overwrite) if self.claims else self.jobs:
                if self.files.stopped:
                    return
                item = job if isinstance(job, Outcome) else self.files.begin(job)
                if self.claims and isinstance(item, Outcome):
                    self.claims.release(item)
                self.incoming.put(item, _bytes(item))
        except BaseException as error:  # for the caller's thread
            self.finished.put(error)
        finally:
            self.incoming.end()

    def _writing(self) -> None:
        try:
            while chosen := self.outgoing.group():
                ((item, _),) = chosen
                outcome = item if isinstance(item, Outcome) else self.files.end(item)
                if self.claims:
                    self.claims.release(outcome)
                del item
                self.outgoing.done(chosen)
                self.finished.put(outcome)
            self.finished.put(None)
        except BaseException as error:  # for the caller's thread, which waits for this one
            self.finished.put(error)
            self.outgoing.close()

    def _share(self) -> None:
        """Several works at once, each in a thread."""

        def take(work: Work) -> None:
            while self._step(work):
                pass

        threads = [threading.Thread(target=take, args=(work,), daemon=True) for work in self.works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._lose()

    def _lose(self) -> None:
        """What is left when no work is there any more."""
        while chosen := self.incoming.group():
            item = chosen[0][0]
            self.outgoing.put(item if isinstance(item, Outcome) else lost(item.job, f"{self.gone}. {AGAIN}"))
            self.incoming.done(chosen)
        self.outgoing.end()

    def _step(self, work: Work) -> bool:
        """One picture, or one batch of them; False when nothing comes or the work is gone."""
        batch = self.batch
        chosen = self.incoming.group(batch.most, self._key) if batch else self.incoming.group()
        if not chosen:
            return False
        items = [item for item, _ in chosen]
        try:
            done = items if isinstance(items[0], Outcome) else self._worked(items, work)
        except Gone as error:
            self.gone = str(error)
            self.there -= 1
            if len(self.works) > 1:
                log.warning("%s%s", error, ": the others go on" if self.there else "")
            self.incoming.back(chosen)
            return False
        for one in done:
            size = _bytes(one)
            self.outgoing.put(one, size)
            if size > self.outgoing.waiting:
                self.outgoing.settle()
        self.incoming.done(chosen)
        return True

    def _key(self, item: Any) -> Hashable:
        return None if isinstance(item, Outcome) or self.batch is None else self.batch.key(item.picture)

    def _worked(self, items: list[_Read], work: Work) -> list[_Read | Outcome]:
        start = time.perf_counter()
        if self.batch and len(items) > 1:
            try:
                results = self.batch.work([one.picture for one in items], [one.job for one in items])
            except Exception:  # which of them it is shows when each is alone
                return [done for one in items for done in self._worked([one], work)]
            seconds = (time.perf_counter() - start) / len(items)
        else:
            try:
                results = [work(items[0].picture, items[0].job)]
            except Gone:
                raise
            except Exception as error:
                return [_failed(items[0].job, error)]
            seconds = time.perf_counter() - start
        return [
            _Read(one.job, result, one.seconds + seconds, report)
            for one, (result, report) in zip(items, results, strict=True)
        ]


class _Files:
    """What is there already, the reading, and the writing of a job."""

    def __init__(self, overwrite: bool, skip: bool, quality: int, read: Callable[[Path], Any]):
        self.overwrite, self.skip, self.quality, self.read = overwrite, skip, quality, read
        self.stopped = False
        self._writing = threading.Lock()

    def stop(self) -> None:
        """Wait for a file that is being written; no other one is begun."""
        self.stopped = True
        with self._writing:
            return

    def begin(self, job: Job) -> _Read | Outcome:
        """The picture of a job, or why there is none."""
        if os.path.lexists(job.target) and not self.overwrite:
            return self._taken(job)
        if job.problem:
            return replace(_outcome(job), message=job.problem)
        start = time.perf_counter()
        try:
            picture = self.read(job.source)
        except Exception as error:
            return _failed(job, error)
        return _Read(job, picture, time.perf_counter() - start)

    def end(self, done: _Read) -> Outcome:
        """Write what a work has made."""
        job, start = done.job, time.perf_counter()
        try:
            with self._writing:
                if done.picture is not None and not self.stopped:
                    write(done.picture, job.target, self.overwrite, self.quality)
        except FileExistsError:  # another run was faster
            return self._taken(job)
        except Exception as error:
            return _failed(job, error)
        seconds = round(done.seconds + time.perf_counter() - start, 3)
        target = str(job.target) if done.picture is not None else ""
        return Outcome(str(job.source), target, "written", "", seconds, done.report or {})

    def _taken(self, job: Job) -> Outcome:
        message = f"{job.target} exists: choose another name"
        status, message = ("skipped", "exists") if self.skip else ("failed", message)
        return replace(_outcome(job), status=status, message=message)


def lost(job: Job, message: str) -> Outcome:
    """The outcome of a job that nothing is left for."""
    return replace(_outcome(job), message=named_once(message, job))


def _outcome(job: Job) -> Outcome:
    return Outcome(str(job.source), str(job.target), "failed")


def _failed(job: Job, error: Exception) -> Outcome:
    return replace(_outcome(job), message=said(error, job))


def _bytes(item: Any) -> int:
    picture = getattr(item, "picture", None)
    if not isinstance(picture, Picture):
        return 0
    return sum(x.numel() * x.element_size() for x in (picture.pixels, picture.alpha) if x is not None)
