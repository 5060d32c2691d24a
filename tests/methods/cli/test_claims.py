"""Claims by which several processes share the pictures of a folder, and batches of the pipeline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import pytest
import torch
from command import contents

from priorsr.methods.cli import claims, folder, pipeline
from priorsr.methods.cli.channel import Channel
from priorsr.methods.cli.claims import Claims, claim_of
from priorsr.methods.imaging.images import Picture, write
from priorsr.methods.imaging.replacing import host_name

posix = pytest.mark.skipif(os.name != "posix", reason="signals and owners are those of POSIX")


def planned(tmp_path, count):
    for i in range(count):
        write(Picture(torch.zeros(1, 1, 4, 4)), tmp_path / "in" / f"{i}.png")
    return folder.plan(tmp_path / "in", tmp_path / "out")


def through(jobs, work, own, **more):
    return list(pipeline.run(jobs, work, skip=True, claims=own, **more))


@pytest.mark.parametrize("overwrite", [False, True])
def test_claims_let_each_picture_be_done_once(tmp_path, overwrite):
    jobs, done = planned(tmp_path, 12), []
    since = time.time_ns()
    time.sleep(0.02)

    def work(picture, job):
        done.append(job.source.name)
        time.sleep(0.01)
        return picture, {}

    def go(i):
        through(jobs, work, Claims(i / 3, since), overwrite=overwrite)

    threads = [threading.Thread(target=go, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == sorted(job.source.name for job in jobs)
    assert sorted(contents(tmp_path / "out")) == sorted(job.source.name for job in jobs)


@posix
@pytest.mark.parametrize("how", ["gone", "silent", "elsewhere", "empty"])
def test_claims_of_the_dead_are_taken_over(tmp_path, how):
    (job,) = planned(tmp_path, 1)
    path = claim_of(job.target)
    path.parent.mkdir()
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    pid = child.pid if how == "gone" else os.getppid()
    host = "abcdef" if how == "elsewhere" else host_name()
    path.write_text("" if how == "empty" else json.dumps({"host": host, "pid": pid, "time": 0}))
    if how != "gone":
        long_ago = time.time() - claims.LEASE - 5
        os.utime(path, (long_ago, long_ago))
    (outcome,) = through([job], lambda picture, job: (picture, {}), Claims())
    assert outcome.status == "written"
    assert list(contents(tmp_path / "out")) == ["0.png"]


def test_claims_of_the_living_are_waited_for(tmp_path):
    (job,) = planned(tmp_path, 1)
    path = claim_of(job.target)
    path.parent.mkdir()
    path.write_text(json.dumps({"host": "abcdef", "pid": 7, "time": 0}))
    ended = []
    thread = threading.Thread(target=lambda: ended.extend(through([job], pytest.fail, Claims())))
    thread.start()
    time.sleep(3 * claims.POLL)
    assert not ended
    write(Picture(torch.zeros(1, 1, 4, 4)), job.target)
    thread.join(10)
    assert [o.status for o in ended] == ["skipped"]


def test_what_failed_elsewhere_is_not_tried_again(tmp_path):
    (job,) = planned(tmp_path, 1)
    path = claim_of(job.target)
    path.parent.mkdir()
    path.write_text(json.dumps({"host": "abcdef", "pid": 7, "time": 0, "failed": "0.png is odd"}))
    (outcome,) = through([job], pytest.fail, Claims())
    assert (outcome.status, outcome.message) == ("failed", "0.png is odd")


def test_memory_of_the_pipeline_is_bounded(tmp_path, monkeypatch):
    """However fast pictures are read, few wait; large results wait for the writer."""
    monkeypatch.setattr(Channel, "waiting", 1000)
    jobs, alive, most = planned(tmp_path, 30), set(), []

    def read(path):
        alive.add(path)
        most.append(len(alive))
        return Picture(torch.zeros(1, 1, 4, 4))

    def work(picture, job):
        time.sleep(0.002)
        return Picture(torch.zeros(1, 1, 40, 40)), {}

    for outcome in pipeline.run(jobs, work, read=read):
        alive.discard(next(job.source for job in jobs if str(job.source) == outcome.source))
    assert max(most) <= 5


def test_an_error_of_a_batch_fails_the_one_that_made_it(tmp_path):
    jobs = planned(tmp_path, 6)

    def works(pictures, those):
        if any(job.source.name == "3.png" for job in those):
            raise ValueError("odd")
        return [(picture, {"together": len(those)}) for picture in pictures]

    batch = pipeline.Batch(3, lambda picture: "all", works)
    outcomes = list(pipeline.run(jobs, lambda picture, job: works([picture], [job])[0], batch=batch))
    assert [o.status for o in outcomes] == ["written"] * 3 + ["failed"] + ["written"] * 2
    assert [o.report.get("together") for o in outcomes] == [3, 3, 3, None, 1, 1]
