"""`priorsr train prior`: from pictures to a prior that enlarges, exports and processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from prior_trainings import COSINE, ramps
from trainings import options, written

from priorsr.methods import weights
from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.images import read
from priorsr.methods.priors.calibration import midpoint_timesteps
from priorsr.methods.priors.load import PriorSettings, frame_of, load_prior

TINY = ["--size", "16", "--mult", "1,2", "--blocks", "1", "--attention", "2"]  # a network of seconds


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("faces"), ramps(12))


def test_train_calibrate_and_upscale_from_the_command_line(tmp_path, folder, caplog):
    caplog.set_level("INFO")
    out = tmp_path / "tiny.safetensors"
    common = options(folder, out, 4, 4)
    assert (
        cli.main(
            [
                "train",
                "prior",
                *common,
                "--size",
                "16",
                "--mult",
                "1,2",
                "--blocks",
                "1",
                "--attention",
                "2",
                "--ema",
                "0.5",
            ]
        )
        == 0
    )
    prior = load_prior(str(out))
    assert (prior.target, prior.size, prior.channels, prior.multiple) == ("v", 16, 1, 4)
    torch.testing.assert_close(prior.schedule.betas, COSINE.betas)
    assert sorted(prior.measured.errors) == midpoint_timesteps(1000, 25)
    assert weights.read_metadata(out)["kind"] == "prior"
    assert next(iter(weights.read_state(out)[0].values())).dtype == torch.float16

    upscale = [
        "upscale",
        str(folder / "00.png"),
        str(tmp_path / "larger.png"),
        "--method",
        "diffsr",
        "--prior",
        str(out),
        "--scale",
        "2.5",
    ]
    assert cli.main(upscale) == 0
    assert read(tmp_path / "larger.png").pixels.shape[-2:] == (40, 40)
    assert "noise level" in caplog.text
    assert cli.main(["calibrate", str(out), str(out), "--data", str(folder)]) == 2
    assert "exists" in caplog.text


@pytest.mark.slow
def test_a_checkpoint_is_exported_as_it_is(tmp_path, folder, caplog):
    small = [
        *TINY,
        "--batch",
        "2",
        "--lr",
        "1e-2",
    ]
    where = ["--data", str(folder), "--validation", str(folder), "--device", "cpu", "--crops", "1,0.5"]
    command = ["train", "prior", *where, *small, "--ema", "0.5", "--run", str(tmp_path / "run")]
    assert cli.main([*command, "--export", "--out", str(tmp_path / "x.safetensors")]) == 2
    assert "holds no checkpoint to export" in caplog.text
    assert cli.main([*command, "--steps", "3", "--out", str(tmp_path / "whole.safetensors")]) == 0
    before = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "0.png").write_bytes((folder / "00.png").read_bytes())
    command += ["--data", str(tmp_path / "few")]
    assert cli.main([*command, "--steps", "99", "--export", "--out", str(tmp_path / "now.safetensors")]) == 0
    framed = tmp_path / "framed.safetensors"
    assert cli.main([*command, "--frame", "tight", "--export", "--out", str(framed)]) == 0
    assert (frame_of(str(framed)), frame_of(str(tmp_path / "now.safetensors"))) == ("tight", "ffhq")
    whole, now = (weights.read_state(tmp_path / f"{n}.safetensors")[0] for n in ("whole", "now"))
    assert all(torch.equal(whole[key], now[key]) for key in whole)
    assert json.loads(weights.read_metadata(tmp_path / "now.safetensors")["training"])["steps"] == 3
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == before


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path, folder):
    """Under torchrun: one file, one log, and a checkpoint that a single process does not take for its own."""
    out = tmp_path / "two.safetensors"
    small = [
        *TINY,
        "--steps",
        "2",
        "--batch",
        "4",
        "--device",
        "cpu",
    ]
    command = [
        "train",
        "prior",
        "--data",
        str(folder),
        "--validation",
        str(folder),
        "--out",
        str(out),
        *small,
    ]
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "-m",
        "priorsr.methods.cli.main",
    ]
    done = subprocess.run(
        [*torchrun, *command, "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count(str(out)) == 1
    assert len((tmp_path / "two-run" / "log.jsonl").read_text().splitlines()) == 1
    assert load_prior(str(out)).size == 16
    assert cli.main([*command, "--resume", "--overwrite"]) == 2


def test_what_a_file_says_wins_over_guesses_and_what_is_asked_over_both(tmp_path, folder):
    out = tmp_path / "p.safetensors"
    arguments = [*options(folder, out, 1, 2), "--size", "16", "--mult", "1"]
    assert (
        cli.main(
            ["train", "prior", *arguments, "--train-steps", "50", "--schedule", "linear", "--target", "eps"]
        )
        == 0
    )
    prior, asked = load_prior(str(out)), load_prior(str(out), PriorSettings("cosine", 20, "x0"))
    assert (len(prior.schedule.betas), prior.target) == (50, "eps")
    assert (len(asked.schedule.betas), asked.target) == (20, "x0")
