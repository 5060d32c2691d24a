"""What folders on many processes cost, for docs/scale.md: start-up, planning, claims, two workers and one.

python benchmarks/scale.py [--pictures 200] [--method srcnn] [--words="--steps 2"] [--repeats 3]; prints a
line for each figure. Runs of one worker and of two alternate; medians are compared. On a machine that others
use too, processor seconds say more than those of the clock: what two workers take beyond one is their cost.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from priorsr.methods.cli import folder
from priorsr.methods.cli.claims import Claims
from priorsr.methods.cli.folder import Outcome
from priorsr.methods.imaging.images import Picture, write


def timed(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def processor_seconds() -> float:
    """What the processes that have ended took, those that they started included."""
    used = os.times()
    return used.children_user + used.children_system


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--method", default="srcnn")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--words", default="", help="further words of the command")
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp())
    draw = torch.Generator().manual_seed(0)
    for i in range(options.pictures):
        picture = torch.rand(1, 3, options.side // 8, options.side // 8, generator=draw)
        smooth = torch.nn.functional.interpolate(picture, scale_factor=8, mode="bicubic").clamp(0, 1)
        write(Picture(smooth), root / "in" / f"{i:04}.png")
    (root / "one").mkdir()
    os.link(root / "in" / "0000.png", root / "one" / "0000.png")
    (root / "many").mkdir()
    for i in range(10_000):
        os.link(root / "in" / "0000.png", root / "many" / f"{i:05}.png")

    jobs: list = []
    seconds = timed(lambda: jobs.extend(folder.plan(root / "many", root / "none")))
    print(f"planning: {seconds / 10:.3f} s a 1000 pictures")
    claims = Claims()

    def claim() -> None:
        for job in claims.take(jobs, False):
            claims.release(Outcome(str(job.source), "", "written"))

    print(f"a claim made and removed: {timed(claim) / len(jobs) * 1000:.3f} ms")

    def run(source: str, *words: str, **environment: str) -> tuple[float, float]:
        """Seconds of the clock and of processors."""
        code = [
            sys.executable,
            "-m",
            "priorsr.methods.cli.main",
            "upscale",
            options.method,
            str(root / source),
        ]
        code += shlex.split(options.words)
        target = str(root / f"out{time.time_ns()}")
        environment = {**os.environ, **environment}
        words = (target, *words)
        before = processor_seconds()
        clock = timed(
            lambda: subprocess.run([*code, *words], env=environment, check=True, capture_output=True)
        )
        return clock, processor_seconds() - before

    clock, used = run("one", "--workers", "1")
    print(f"start-up, one picture: {clock:.1f} s, {used:.1f} of processors")
    print(f"load: {', '.join(f'{load:.1f}' for load in os.getloadavg())} on {os.cpu_count()} cores")
    taken: dict[str, list[tuple[float, float]]] = {"one worker": [], "two": [], "one with one thread": []}
    for _ in range(options.repeats):
        for name, runs in taken.items():
            threads = {"OMP_NUM_THREADS": "1"} if name.endswith("thread") else {}
            runs.append(run("in", "--workers", "2" if name == "two" else "1", **threads))
    clocks = {name: statistics.median(clock for clock, _ in runs) for name, runs in taken.items()}
    processors = {name: statistics.median(used for _, used in runs) for name, runs in taken.items()}
    for name, runs in taken.items():
        shown = ", ".join(f"{clock:.1f} s ({used:.1f} of processors)" for clock, used in runs)
        gain, cost = clocks[name] / clocks["two"], processors["two"] / processors[name]
        print(f"{options.pictures} pictures, {name}: {shown}: two are {gain:.2f} times as fast")
        print(f"  and take {cost:.2f} times the processor seconds")


if __name__ == "__main__":
    main()
