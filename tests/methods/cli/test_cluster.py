"""Shards as jobs, with submitit's executor that needs no cluster: complete though one job is killed."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest
import torch

from priorsr.methods.cli import cluster
from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.images import Picture, write

pytest.importorskip("submitit", reason="clusters need submitit")


def run(*arguments):
    return cli.main([str(a) for a in arguments])


def files(path):
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


@pytest.fixture
def source(tmp_path):
    draw = torch.Generator().manual_seed(0)
    for i in range(9):
        write(Picture(torch.rand(1, 3, 12, 12, generator=draw)), tmp_path / "in" / f"{i}.png")
    return tmp_path / "in"


@pytest.mark.skipif(os.name != "posix", reason="jobs are killed by signals of POSIX")
def test_a_lost_job_is_submitted_again(source, tmp_path, monkeypatch, capsys, caplog):
    caplog.set_level("INFO")
    rounds, announce = [], cluster.announce

    def killing(jobs, count):
        rounds.append(sorted(jobs))
        announce(jobs, count)
        if len(rounds) == 1:
            os.killpg(int(jobs[2].job_id), signal.SIGKILL)

    monkeypatch.setattr(cluster, "announce", killing)
    words = ("--cluster", "local", "--cluster-jobs", "3", "--cluster-logs", tmp_path / "logs", "--json")
    assert run("upscale", "bicubic", source, tmp_path / "out", *words) == 0
    assert rounds == [[1, 2, 3], [2]]
    told = json.loads(capsys.readouterr().out)
    assert (told["written"], told["failed"], told["lost_shards"]) == (9, 0, [])
    assert "shard 2/3: job" in caplog.text
    assert "submitted again" in caplog.text
    monkeypatch.delenv(cluster.JOB, raising=False)
    assert run("upscale", "bicubic", source, tmp_path / "whole") == 0
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_what_cannot_be_submitted_is_one_sentence(source, tmp_path, monkeypatch, caplog):
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
