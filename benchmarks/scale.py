"""What folders on many processes cost, for docs/scale.md: start-up, planning, claims, two workers and one.

python benchmarks/scale.py [--pictures 200] [--method srcnn]; prints a line for each figure.
"""

from __future__ import annotations

import argparse
import os
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--method", default="srcnn")
    parser.add_argument("--side", type=int, default=256)
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

    def run(source: str, *words: str) -> float:
        code = [
            sys.executable,
            "-m",
            "priorsr.methods.cli.main",
            "upscale",
            options.method,
            str(root / source),
        ]
        target = str(root / f"out{time.time_ns()}")
        return timed(lambda: subprocess.run([*code, target, *words], check=True, capture_output=True))

    print(f"start-up, one picture: {run('one', '--workers', '1'):.1f} s")
    one, two = (run("in", "--workers", count) for count in "12")
    print(f"{options.pictures} pictures: one worker {one:.1f} s, two {two:.1f} s: {one / two:.2f} times")
    os.environ["OMP_NUM_THREADS"] = "1"
    single = run("in", "--workers", "1")
    print(f"one worker with one thread {single:.1f} s: {single / two:.2f} times")


if __name__ == "__main__":
    main()
