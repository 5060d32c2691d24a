"""Clips that are interrupted: segments that a later run goes on from."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from clips import TIMES, heard, make, seen, waves
from command import listing, run

from priorsr.methods.cli import claims, segments, video
from priorsr.methods.imaging.replacing import host_name


def test_an_interrupted_clip_leaves_nothing(tmp_path, monkeypatch):
    make(tmp_path / "clip.mp4", waves(4))
    calls = []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return video_enlarged(*arguments)

    video_enlarged = video._enlarged
    monkeypatch.setattr(video, "_enlarged", interrupted)
    assert run("upscale", "bicubic", tmp_path / "clip.mp4", tmp_path / "o.mp4") == 130
    assert listing(tmp_path) == ["clip.mp4"]


def stopped(monkeypatch, after, error=KeyboardInterrupt):
    """Segments of three frames; a run ends at a frame. Gives what counts the frames that are worked on."""
    worked, original = [], video._enlarged

    def enlarged(*arguments):
        if len(worked) == after:
            raise error
        worked.append(arguments[1])
        return original(*arguments)

    monkeypatch.setattr(segments, "LENGTH", 3)
    monkeypatch.setattr(video, "_enlarged", enlarged)
    return worked


def test_an_interrupted_clip_goes_on_after_the_last_whole_segment(tmp_path, monkeypatch, caplog):
    source = make(tmp_path / "clip.mp4", waves(len(TIMES)), TIMES)
    run_it = lambda name: run("upscale", "srcnn", source, tmp_path / name, "--scale", "2")  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(segments, "LENGTH", 3)
        assert run_it("whole.mp4") == 0
    with monkeypatch.context() as patch:
        stopped(patch, after=8)
        assert run_it("o.mp4") == 130
    assert not (tmp_path / "o.mp4").exists()
    (folder,) = tmp_path.glob(".priorsr-*")
    assert listing(folder) == ["00000000.nut", "00000003.nut"]
    (folder / ".priorsr-000000-1-00000000.part").write_bytes(b"of a run on another machine")
    worked = stopped(monkeypatch, after=-1)
    caplog.set_level("INFO")
    assert run_it("o.mp4") == 0
    assert worked == [6, 7, 8, 9]
    assert "goes on after frame 6" in caplog.text
    assert (tmp_path / "o.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert [t for t, _ in seen(tmp_path / "o.mp4")] == pytest.approx([t / 1000 for t in TIMES], abs=1e-4)
    assert heard(tmp_path / "o.mp4") == heard(source)
    assert listing(tmp_path) == ["clip.mp4", "o.mp4", "whole.mp4"]


def test_segments_are_of_one_clip_and_its_settings(tmp_path, monkeypatch):
    source = make(tmp_path / "clip.mp4", waves(5))
    words = ("upscale", "bicubic", source, tmp_path / "o.mp4", "--scale")
    with monkeypatch.context() as patch:
        stopped(patch, after=4)
        assert run(*words, "2") == 130
    assert len(list(tmp_path.glob(".priorsr-*/*.nut"))) == 1
    worked = stopped(monkeypatch, after=-1)
    assert run(*words, "3") == 0
    assert worked == [0, 1, 2, 3, 4]
    assert {one.shape for _, one in seen(tmp_path / "o.mp4")} == {(72, 96, 3)}
    assert listing(tmp_path) == ["clip.mp4", "o.mp4"]


def test_a_failure_that_is_not_the_clips_keeps_what_is_done(tmp_path, monkeypatch, caplog):
    source = make(tmp_path / "clip.mp4", waves(5))
    with monkeypatch.context() as patch:
        stopped(patch, 4, RuntimeError("out of memory"))
        assert run("upscale", "bicubic", source, tmp_path / "o.mp4") == 1
    assert "out of memory" in caplog.text
    assert len(list(tmp_path.glob(".priorsr-*/*.nut"))) == 1
    with monkeypatch.context() as patch:
        stopped(patch, 1, ValueError("broken after all"))
        assert run("upscale", "bicubic", source, tmp_path / "o.mp4") == 1
    assert listing(tmp_path) == ["clip.mp4"]


def test_two_processes_do_not_make_one_clip(tmp_path, caplog):
    source = make(tmp_path / "clip.mp4", waves(2))
    claim = claims.claim_of(tmp_path / "o.mp4")
    claim.write_text(json.dumps({"host": host_name(), "pid": os.getppid()}))
    assert run("upscale", "bicubic", source, tmp_path / "o.mp4") == 1
    assert "another process is making" in caplog.text
    assert listing(tmp_path) == [claim.name, "clip.mp4"]


@pytest.mark.slow
def test_a_clip_that_is_killed_goes_on(tmp_path):
    source, out = make(tmp_path / "clip.mp4", waves(9)), tmp_path / "o.mp4"
    code = f"""
import os, signal
from priorsr.methods.cli import main, segments, video
segments.LENGTH, original = 4, video._enlarged
def enlarged(*a):
    if a[1] == LAST:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*a)
video._enlarged = enlarged
main.main(["upscale", "srcnn", "{source}", "NAME", "--scale", "2"])
"""
    for last, name, code_of in ((-1, "whole.mp4", 0), (6, "o.mp4", -9), (8, "o.mp4", -9), (-1, "o.mp4", 0)):
        told = code.replace("LAST", str(last)).replace("NAME", str(tmp_path / name))
        assert subprocess.run([sys.executable, "-c", told], check=False).returncode == code_of
    assert out.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert heard(out) == heard(source)
    assert listing(tmp_path) == ["clip.mp4", "o.mp4", "whole.mp4"]
