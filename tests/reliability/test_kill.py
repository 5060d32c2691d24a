"""kill -9 at random moments of a folder run: the resume gives whole files, as of an uninterrupted run.

PRIORSR_KILLS is how many moments are tried (1), PRIORSR_PICTURES of how many pictures the folder is (6).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.images import Picture, read, write

KILLS = int(os.environ.get("PRIORSR_KILLS", "1"))
PICTURES = int(os.environ.get("PRIORSR_PICTURES", "6"))
SETTINGS = ("--scale", "4", "--steps", "2", "--corrector", "none", "--seed", "3")


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_files(tmp_path):
    draw = torch.Generator().manual_seed(0)
    for i in range(PICTURES):
        write(Picture(torch.rand(1, 1, 16, 16, generator=draw)), tmp_path / "in" / f"{i:02}.png")
    whole = ["upscale", "dpi", str(tmp_path / "in"), str(tmp_path / "whole"), *SETTINGS]
    code = [sys.executable, "-m", "priorsr.methods.cli.main"]
    start = time.monotonic()
    subprocess.run([*code, *whole], check=True, capture_output=True)
    length, expected = time.monotonic() - start, files(tmp_path / "whole")
    assert len(expected) == PICTURES
    dice, half_done = random.Random(0), 0
    for number in range(KILLS):
        target = tmp_path / f"out{number}"
        words = ["upscale", "dpi", str(tmp_path / "in"), str(target), *SETTINGS]
        child = subprocess.Popen([*code, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if number % 2:  # anywhere, the start of the program included
            time.sleep(dice.random() * length)
        else:  # while pictures are written
            wanted = dice.randrange(1, PICTURES)
            while child.poll() is None and len(files(target)) < wanted:
                time.sleep(0.002)
            time.sleep(dice.random() * length / PICTURES / 2)
        child.send_signal(signal.SIGKILL)
        child.wait()
        left = files(target)
        half_done += 0 < len(left) < PICTURES
        for name, data in left.items():  # what is there under its name is whole already
            assert name.endswith(".part") or data == expected[name], (number, name)
        assert cli.main(words) == 0
        assert files(target) == expected, number
        for path in target.iterdir():
            read(path)
    assert half_done or KILLS < 4  # one kill may come before the first picture or after the last
