"""The shards of a folder as jobs of a cluster, by submitit: submitted, waited for, resubmitted where lost."""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any

log = logging.getLogger("priorsr")
JOB = "PRIORSR_JOB"  # in the environment of a job, whose command is that of the one that submitted it


def add_cluster(parser: argparse._ActionsContainer) -> None:
    """Where jobs go and what each may use."""
    group = parser.add_argument_group("as jobs of a cluster, with the `cluster` extra")
    group.add_argument(
        "--cluster",
        choices=("slurm", "local"),
        help="submit the shards of a folder as jobs and wait for them; local: processes of this machine",
    )
    group.add_argument("--cluster-jobs", type=_number, default=1, metavar="N", help="how many (default 1)")
    group.add_argument("--cluster-partition", metavar="NAME", help="the partition of Slurm")
    group.add_argument("--cluster-gpus", type=int, default=0, metavar="N", help="GPUs of a job (default 0)")
    group.add_argument(
        "--cluster-time", type=_number, default=60, metavar="MINUTES", help="of a job (default 60)"
    )
    group.add_argument(
        "--cluster-memory", type=_number, metavar="GB", help="of a job (default: the cluster's)"
    )
    group.add_argument(
        "--cluster-logs",
        default="priorsr-logs",
        metavar="DIR",
        help="where jobs log, seen by all machines (default priorsr-logs)",
    )
    group.add_argument(
        "--cluster-retries",
        type=int,
        default=1,
        metavar="N",
        help="how often shards whose jobs were lost are submitted again (default 1)",
    )


def _number(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1")
    return int(text)


def is_job() -> bool:
    return JOB in os.environ


def job(arguments: Sequence[str]) -> dict:
    """What a job does: the command for its shard. Its exit code and last line of JSON."""
    main = import_module(f"{__package__}.main").main  # the command, which is above this module
    os.environ[JOB] = "1"
    with redirect_stdout(io.StringIO()) as printed:
        code = main([*arguments, "--json-lines"])
    lines = printed.getvalue().splitlines() or ["{}"]
    said = json.loads(lines[-1])
    said.pop("files", None)
    return {"code": code, **said}


def run(arguments: Sequence[str], options: argparse.Namespace) -> int:
    """Submit a command's shards and wait for them; the exit code.

    Raises ImportError without submitit, ValueError where the cluster is not there.
    """
    if options.shard:
        raise ValueError("--cluster makes the shards itself: leave out --shard, and give --cluster-jobs")
    executor = _executor(options)
    count = options.cluster_jobs
    left, told = list(range(1, count + 1)), {}
    for attempt in range(options.cluster_retries + 1):
        if attempt:
            log.warning("submitted again, for their jobs were lost: shards %s", ", ".join(map(str, left)))
        with executor.batch():
            jobs = {i: executor.submit(job, [*arguments, "--shard", f"{i}/{count}"]) for i in left}
        try:
            announce(jobs, count)
            left = _wait(jobs, told)
        except BaseException:
            for one in jobs.values():
                one.cancel(check=False)
            raise
        if not left:
            break
    return _summary(options, told, left)


def _executor(options: argparse.Namespace) -> Any:
    try:
        import submitit
    except ImportError as error:
        raise ImportError('--cluster needs submitit: pip install "priorsr[cluster]"') from error
    try:
        executor = submitit.AutoExecutor(folder=options.cluster_logs, cluster=options.cluster)
    except RuntimeError as error:
        raise ValueError(
            f"there is no {options.cluster} here ({error}): run this on a machine that submits its jobs, or "
            "give --cluster local"
        ) from error
    asked = {"name": "priorsr", "timeout_min": options.cluster_time, "gpus_per_node": options.cluster_gpus}
    if options.cluster_memory:
        asked["mem_gb"] = options.cluster_memory
    if options.cluster_partition and options.cluster == "slurm":
        asked["slurm_partition"] = options.cluster_partition
    executor.update_parameters(**asked)
    return executor


def announce(jobs: dict[int, Any], count: int) -> None:
    """Say which job has which shard, and where it logs."""
    for shard, one in jobs.items():
        log.info("shard %d/%d: job %s, log %s", shard, count, one.job_id, one.paths.stderr)


def _wait(jobs: dict[int, Any], told: dict[int, dict]) -> list[int]:
    """Fill `told` with what jobs say; the shards of those that were lost."""
    lost = []
    for shard, one in jobs.items():
        try:
            told[shard] = one.result()
        except Exception as error:  # submitit raises what the job raised, and its own
            lost.append(shard)
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            log.warning("the job %s of shard %d is lost: %s", one.job_id, shard, reason[0])
            continue
        # 128 and more: a signal ended it, as a cluster sends when time is up
        if told[shard]["code"] >= 128:
            lost.append(shard)
            log.warning("the job %s of shard %d was ended", one.job_id, shard)
    return lost


def _summary(options: argparse.Namespace, told: dict[int, dict], left: list[int]) -> int:
    errors = {one["error"] for one in told.values() if "error" in one}
    for error in sorted(errors):
        log.error("priorsr: %s", error)
    counts = {
        name: sum(one.get(name, 0) for one in told.values()) for name in ("written", "skipped", "failed")
    }
    log.info("%d written, %d skipped because they exist, %d failed", *counts.values())
    if left:
        log.error("shards %s are not complete: run the same command again", ", ".join(map(str, left)))
    if options.json or options.json_lines:
        print(json.dumps({**counts, "lost_shards": left, "errors": sorted(errors)}))
    if errors:
        return 2
    return 1 if left or counts["failed"] else 0
