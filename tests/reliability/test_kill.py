"""kill -9 at random moments of a folder run and of a training: what goes on ends as an uninterrupted run.

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
from command import contents

from priorsr.methods import weights
from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.images import Picture, read, write

KILLS = int(os.environ.get("PRIORSR_KILLS", "1"))
PICTURES = int(os.environ.get("PRIORSR_PICTURES", "6"))
CODE = [sys.executable, "-m", "priorsr.methods.cli.main"]
SETTINGS = ("--scale", "4", "--steps", "2", "--corrector", "none", "--seed", "3")


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_files(tmp_path):
    draw = torch.Generator().manual_seed(0)
    for i in range(PICTURES):
        write(Picture(torch.rand(1, 1, 16, 16, generator=draw)), tmp_path / "in" / f"{i:02}.png")
    whole = ["upscale", "dpi", str(tmp_path / "in"), str(tmp_path / "whole"), *SETTINGS]
    start = time.monotonic()
    subprocess.run([*CODE, *whole], check=True, capture_output=True)
    length, expected = time.monotonic() - start, contents(tmp_path / "whole")
    assert len(expected) == PICTURES
    dice, half_done = random.Random(0), 0
    for number in range(KILLS):
        target = tmp_path / f"out{number}"
        words = ["upscale", "dpi", str(tmp_path / "in"), str(target), *SETTINGS]
        child = subprocess.Popen([*CODE, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if number % 2:  # anywhere, the start of the program included
            time.sleep(dice.random() * length)
        else:  # while pictures are written
            wanted = dice.randrange(1, PICTURES)
            while child.poll() is None and len(contents(target)) < wanted:
                time.sleep(0.002)
            time.sleep(dice.random() * length / PICTURES / 2)
        child.send_signal(signal.SIGKILL)
        child.wait()
        left = contents(target)
        half_done += 0 < len(left) < PICTURES
        for name, data in left.items():  # what is there under its name is whole already
            assert name.endswith(".part") or data == expected[name], (number, name)
        assert cli.main(words) == 0
        assert contents(target) == expected, number
        for path in target.iterdir():
            read(path)
    assert half_done or KILLS < 4  # one kill may come before the first picture or after the last


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_weights(tmp_path):
    """Killed while it starts, trains, and writes checkpoints, curves and its log, again and again."""
    draw = torch.Generator().manual_seed(0)
    for i in range(2):
        write(Picture(torch.rand(1, 3, 64, 64, generator=draw)), tmp_path / "data" / f"{i}.png")
    steps = 20 * (KILLS + 2)
    data = ["--data", str(tmp_path / "data"), "--validation", str(tmp_path / "data"), "--size", "24"]
    course = ["--steps", str(steps), "--batch", "1", "--checkpoint-every", "4", "--validate-every", "8"]

    def words(name):
        return [
            "train",
            "srcnn",
            *data,
            *course,
            "--device",
            "cpu",
            "--out",
            str(tmp_path / f"{name}.safetensors"),
        ]

    start = time.monotonic()
    subprocess.run([*CODE, *words("whole")], check=True, capture_output=True)
    length = time.monotonic() - start
    dice, reached = random.Random(0), 0
    checkpoint = tmp_path / "cut-run" / "checkpoint.pt"
    for number in range(KILLS):
        again = ["--resume"] if number else []
        child = subprocess.Popen(
            [*CODE, *words("cut"), *again], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while number % 3 and child.poll() is None:  # two of three come after a checkpoint of their own
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
                break
            time.sleep(0.002)
        time.sleep(dice.random() * length / (10 if number % 3 else 1))
        reached += child.poll() is None
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert reached
    assert cli.main([*words("cut"), "--resume", "--overwrite"]) == 0
    found, expected = (
        weights.load(tmp_path / f"{name}.safetensors", "srcnn").network.state_dict()
        for name in ("cut", "whole")
    )
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-6)
    assert not list(tmp_path.rglob("*.part"))
