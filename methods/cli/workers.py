"""Several processes that share the pictures of a folder: each runs the same command and claims its own.

The first process computes nothing: it starts the workers, hears of each picture as a line of JSON, shows one
bar, and ends them when it is ended. Workers end by themselves when it is no more, for their input closes.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from .claims import Claims
from .folder import Outcome, Shard
from .tally import Tally

log = logging.getLogger("priorsr")
WORKER = "PRIORSR_WORKER"  # its number, of so many, the run's start in ns
PATIENCE = 60.0  # seconds that workers have to finish the file that they write
REMEMBERED = 1000  # lines that are not repeated when another worker, or the same, says them again


def add_sharing(parser: argparse._ActionsContainer) -> None:
    """How a folder is shared out."""
    parser.add_argument(
        "--workers",
        type=_count,
        metavar="auto|N",
        help="share a folder among processes: auto for one a GPU, or N; the same command on other machines "
        "with the same folders joins in (default: this process alone)",
    )
    parser.add_argument(
        "--shard", type=_shard, metavar="I/N", help="only the I-th of N parts of a folder, such as 2/3"
    )
    parser.add_argument(
        "--json-lines", action="store_true", help="print a line of JSON for each file as it ends, then counts"
    )


def _count(text: str) -> str | int:
    if text != "auto" and not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"there are no {text!r} workers: give auto or a number from 1")
    return text if text == "auto" else int(text)


def _shard(text: str) -> Shard:
    try:
        return Shard.of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def is_worker() -> bool:
    return WORKER in os.environ


def own_claims(options: argparse.Namespace) -> Claims | None:
    """The claims of this process where it is a worker."""
    if not is_worker():
        return None
    number, count, since = map(int, os.environ[WORKER].split("/"))
    # processes of several machines begin at places of their own too
    return Claims((number + _place_of_machine()) / count % 1, since if options.overwrite else 0)


def _place_of_machine() -> float:
    from ..imaging.replacing import host_name

    return int(host_name(), 16) / 16**6


def tell(**said: Any) -> None:
    """Say a line to the process that started this worker."""
    print(json.dumps(said), flush=True)


def obey() -> None:
    """Let this worker end when the process that started it does."""

    def watch() -> None:
        with suppress(OSError, ValueError):
            while os.read(sys.stdin.fileno(), 1):  # no buffer, whose lock the interpreter needs when it ends
                pass
        if os.name == "posix":
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            import _thread

            _thread.interrupt_main()

    threading.Thread(target=watch, daemon=True).start()


def run(arguments: Sequence[str], options: argparse.Namespace) -> int:
    """Run a command in `options.workers` processes; its exit code."""
    devices = _devices(options)
    count = max(1, len(devices)) if options.workers == "auto" else options.workers
    if options.workers == "auto" and not devices:
        log.info("there is no GPU: one worker; --workers N starts N on the processor")
    team = _Team(arguments, options, count, devices)
    try:
        return team.finish()
    finally:
        team.end()


def _devices(options: argparse.Namespace) -> list[str]:
    """The GPUs that workers are spread over: those that are visible, unless another device is named."""
    if getattr(options, "device", "auto") not in ("auto", "cuda"):
        return []
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    known = named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]
    return known[: torch.cuda.device_count()]


class _Team:
    """The workers of a run."""

    def __init__(
        self, arguments: Sequence[str], options: argparse.Namespace, count: int, devices: Sequence[str]
    ):
        self.options, self.heard = options, queue.SimpleQueue()
        self.repeated: set[str] = set()
        self.lock = threading.Lock()
        self.processes: list[subprocess.Popen] = []
        self.threads: list[threading.Thread] = []
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        since = time.time_ns()
        for number in range(count):
            own = {WORKER: f"{number}/{count}/{since}"}
            own |= {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores // count)))}
            if devices:
                own["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
            # a session of their own: Ctrl-C reaches them through this process alone
            process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.main", *arguments],
                env={**os.environ, **own},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
            self.processes.append(process)
            for target in (self._listen, self._forward):
                self.threads.append(threading.Thread(target=target, args=(process,), daemon=True))
                self.threads[-1].start()

    def _listen(self, process: subprocess.Popen) -> None:
        for line in process.stdout or ():
            with suppress(ValueError):
                self.heard.put((process, json.loads(line)))
        process.wait()
        self.heard.put((process, None))

    def _forward(self, process: subprocess.Popen) -> None:
        """What a worker logs, once."""
        for line in process.stderr or ():
            text = line.rstrip("\n")
            with self.lock:
                new = text not in self.repeated
                if len(self.repeated) < REMEMBERED:
                    self.repeated.add(text)
            if new:
                log.info("%s", text)

    def finish(self) -> int:
        """Hear of every file until all workers have ended; the exit code of the run."""
        tally = Tally(self.options, None)
        last: dict[str, Outcome] = {}  # what is not told yet: another worker may have written it
        told: dict[str, str] = {}
        total, there, passed_over, errors = None, len(self.processes), [], {}
        while there:
            process, said = self.heard.get()
            if said is None:
                there -= 1
                self._ended(process, there, errors)
            elif "error" in said:
                errors[process] = said["error"]
            elif "total" in said:
                total, passed_over = said["total"], said["passed_over"]
                tally.bar.total = total
            else:
                outcome = Outcome(**said["outcome"])
                tally.bar.update(outcome.source not in told and outcome.source not in last)
                if outcome.status == "written" and told.get(outcome.source) != "written":
                    told[outcome.source] = "written"
                    last.pop(outcome.source, None)
                    tally.add(outcome, counted=False)
                elif outcome.source not in told:
                    before = last.get(outcome.source)
                    last[outcome.source] = before if before and before.status == "failed" else outcome
        for outcome in last.values():
            tally.add(outcome, counted=False)
        if total is None:
            tally.bar.close()
            return self._refused(next(iter(errors.values()), "no worker could start"))
        for error in dict.fromkeys(errors.values()):
            log.error("a worker gave up: %s", error)
        tally.outcomes.sort(key=lambda outcome: outcome.source)
        code = tally.finish(passed_over)
        if missing := total - len(told) - len(last):
            log.error("%d pictures were not done, for workers ended: run the same command again", missing)
        return 1 if missing else code

    def _ended(self, process: subprocess.Popen, there: int, errors: dict) -> None:
        if process.returncode in (0, 1) or process in errors:
            return
        log.warning(
            "a worker is lost, it ended with %d%s",
            process.returncode,
            ": the others go on with its pictures" if there else "",
        )

    def _refused(self, error: str) -> int:
        log.error("priorsr: %s", error)
        if self.options.json or self.options.json_lines:
            print(json.dumps({"error": error}))
        return 2

    def end(self) -> None:
        """Let the workers finish the file that they write, and end."""
        for process in self.processes:
            with suppress(OSError):
                process.stdin.close()  # type: ignore[union-attr]
        for process in self.processes:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
        for thread in self.threads:
            thread.join()
        for process in self.processes:
            process.stdout.close()  # type: ignore[union-attr]
            process.stderr.close()  # type: ignore[union-attr]
