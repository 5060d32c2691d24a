"""Shards as jobs, with submitit's executor that needs no cluster: complete though one job is killed."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from command import contents, run

from priorsr.methods.cli import cluster
from priorsr.methods.imaging.images import Picture, write


@pytest.fixture
def source(tmp_path):
    draw = torch.Generator().manual_seed(0)
    for i in range(9):
        write(Picture(torch.rand(1, 3, 12, 12, generator=draw)), tmp_path / "in" / f"{i}.png")
    return tmp_path / "in"


def kill_children(pid):
    """Kill what a job's controller has started, which is the job itself."""
    end = time.monotonic() + 60
    while not (found := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        assert time.monotonic() < end, "the job never began"
        time.sleep(0.01)
    for child in found:
        os.kill(int(child), signal.SIGKILL)


class Fake:
    """An executor whose jobs run when they are asked for; those of `lost` never do."""

    def __init__(self, lost):
        self.lost, self.submitted, self.cancelled = lost, [], 0

    def batch(self):
        return nullcontext()

    def submit(self, function, arguments):
        self.submitted.append(arguments[-1])
        return FakeJob(self, function, arguments)


class FakeJob:
    def __init__(self, owner, function, arguments):
        self.owner, self.function, self.arguments = owner, function, arguments
        self.job_id, self.paths = "7", SimpleNamespace(stderr="7.log")

    def result(self):
        if self.owner.submitted.count(self.arguments[-1]) <= self.owner.lost.get(self.arguments[-1], 0):
            raise RuntimeError("node failed")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(cluster.JOB, "1")
            return self.function(self.arguments)

    def cancel(self, check=True):
        self.owner.cancelled += 1


@pytest.mark.parametrize(
    ("lost", "submitted", "code", "left"),
    [
        ({}, ["1/3", "2/3", "3/3"], 0, []),
        ({"2/3": 1}, ["1/3", "2/3", "3/3", "2/3"], 0, []),
        ({"3/3": 9}, ["1/3", "2/3", "3/3", "3/3"], 1, [3]),
    ],
)
def test_what_is_missing_is_submitted_again(
    source, tmp_path, monkeypatch, capsys, lost, submitted, code, left
):
    executor = Fake(lost)
    monkeypatch.setattr(cluster, "_executor", lambda options: executor)
    words = (
        "upscale",
        "bicubic",
        source,
        tmp_path / "out",
        "--cluster",
        "local",
        "--cluster-jobs",
        "3",
        "--json",
    )
    assert run(*words) == code
    assert executor.submitted == submitted
    told = json.loads(capsys.readouterr().out)
    assert told["lost_shards"] == left
    assert told["written"] == len(contents(tmp_path / "out"))
    assert (told["written"] == 9) == (not left)


def test_jobs_of_a_wrong_command_say_so_once(tmp_path, monkeypatch, capsys, caplog):
    executor = Fake({})
    monkeypatch.setattr(cluster, "_executor", lambda options: executor)
    (tmp_path / "in").mkdir()
    words = ("upscale", "bicubic", tmp_path / "in", tmp_path / "out", "--cluster", "local", "--json")
    assert run(*words, "--cluster-jobs", "2") == 2
    assert executor.submitted == ["1/2", "2/2"]
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert "there is no picture in" in error


def test_an_interrupt_cancels_the_jobs(source, tmp_path, monkeypatch):
    executor = Fake({})
    monkeypatch.setattr(cluster, "_executor", lambda options: executor)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "_wait", interrupted)
    words = ("upscale", "bicubic", source, tmp_path / "out", "--cluster", "local", "--cluster-jobs", "2")
    assert run(*words) == 130
    assert executor.cancelled == 2


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="jobs are found in /proc")
def test_a_lost_job_is_submitted_again(source, tmp_path, monkeypatch, capsys, caplog):
    caplog.set_level("INFO")
    pytest.importorskip("submitit", reason="clusters need submitit")
    rounds, announce = [], cluster.announce

    def killing(jobs, count):
        rounds.append(sorted(jobs))
        announce(jobs, count)
        if len(rounds) == 1:
            kill_children(int(jobs[2].job_id))

    monkeypatch.setattr(cluster, "announce", killing)
    words = ("--cluster", "local", "--cluster-jobs", "3", "--cluster-logs", tmp_path / "logs", "--json")
    assert run("upscale", "bicubic", source, tmp_path / "out", *words) == 0
    assert rounds == [[1, 2, 3], [2]]
    told = json.loads(capsys.readouterr().out)
    assert (told["written"], told["failed"], told["lost_shards"]) == (9, 0, [])
    assert "shard 2/3: job" in caplog.text
    assert "submitted again" in caplog.text
    assert run("upscale", "bicubic", source, tmp_path / "whole") == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_what_cannot_be_submitted_is_one_sentence(source, tmp_path, monkeypatch, caplog):
    pytest.importorskip("submitit", reason="clusters need submitit")
    words = ("upscale", "bicubic", source, tmp_path / "out", "--cluster")
    monkeypatch.setenv("PATH", str(tmp_path))
    logs = ("--cluster-logs", tmp_path / "logs")
    for more, said in (
        (("slurm", *logs), "there is no slurm here"),
        (("local", "--shard", "1/2", *logs), "leave out --shard"),
    ):
        caplog.clear()
        assert run(*words, *more) == 2
        assert said in caplog.text
        assert len(caplog.records) == 1
    monkeypatch.setitem(sys.modules, "submitit", None)
    caplog.clear()
    assert run(*words, "local", *logs) == 2
    assert 'pip install "priorsr[cluster]"' in caplog.text
    assert not (tmp_path / "out").exists()
