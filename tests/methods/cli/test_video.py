"""Clips: frames in their order and at their times, sound bit by bit, the same noise, nothing half written."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from clips import TIMES, heard, make, seen, waves
from command import listing, run

from priorsr.methods.cli import upscale
from priorsr.methods.imaging.images import read


def test_a_clip_keeps_its_times_its_sound_and_its_colours(tmp_path, capsys, caplog):
    caplog.set_level("INFO")
    source, out = make(tmp_path / "clip.mp4", waves(len(TIMES)), TIMES), tmp_path / "out.mp4"
    assert run("upscale", "bicubic", source, out, "--scale", "2", "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)["files"]
    assert (told["status"], told["report"]) == ("written", {"frames": len(TIMES)})
    assert caplog.text.count("each frame alone") == 1
    before, after = seen(source), seen(out)
    assert [t for t, _ in before] == pytest.approx([t / 1000 for t in TIMES])
    assert [t for t, _ in after] == pytest.approx([t for t, _ in before], abs=1e-4)
    assert len(heard(source)) > 5
    assert heard(out) == heard(source)
    for (_, small), (_, large) in zip(before, after, strict=True):
        assert large.shape == (48, 64, 3)
        difference = large.reshape(24, 2, 32, 2, 3).mean((1, 3)) - small
        assert np.abs(difference.mean((0, 1))).max() < 2
        assert np.abs(difference).mean() < 6
    assert listing(tmp_path) == ["clip.mp4", "out.mp4"]


def test_frames_are_those_of_pictures_and_resume(tmp_path, monkeypatch):
    source = make(tmp_path / "clip.mkv", waves(4, 15, 17), codec="ffv1", pixels="bgr0", sound=False)
    words = ("upscale", "srcnn", source)
    frames = tmp_path / "frames"
    assert run(*words, tmp_path / "a.mkv", "--scale", "3", "--frames", frames) == 0
    assert listing(frames) == [f"{i:08}.png" for i in range(4)]
    from PIL import Image

    Image.fromarray(seen(source)[2][1]).save(tmp_path / "2.png")
    assert run("upscale", "srcnn", tmp_path / "2.png", tmp_path / "big.png", "--scale", "3") == 0
    assert torch.equal(read(tmp_path / "big.png").pixels, read(frames / "00000002.png").pixels)
    (frames / "00000003.png").unlink()
    worked, original = [], upscale.upscaled
    monkeypatch.setattr(upscale, "upscaled", lambda *a: worked.append(1) or original(*a))
    assert run(*words, tmp_path / "b.mkv", "--scale", "3", "--frames", frames) == 0
    assert len(worked) == 1
    pictures = [one for _, one in seen(tmp_path / "a.mkv")]
    assert all(np.array_equal(a, b) for a, (_, b) in zip(pictures, seen(tmp_path / "b.mkv"), strict=True))


def test_every_frame_has_the_same_noise(tmp_path):
    source = make(tmp_path / "clip.mkv", waves(1, 16, 16) * 2, codec="ffv1", pixels="bgr0", sound=False)
    words = ("--scale", "4", "--steps", "2", "--frames", tmp_path / "frames")
    assert run("upscale", "diffsr", source, tmp_path / "out.mkv", *words) == 0
    first, second = ((tmp_path / "frames" / f"0000000{i}.png").read_bytes() for i in (0, 1))
    assert first == second


def cut(path):
    data = make(path, waves(8)).read_bytes()
    path.write_bytes(data[: len(data) // 3])


def test_a_clip_that_is_cut_says_so(tmp_path, caplog):
    """MKV tells its length at the beginning, and plays until where it is cut."""
    path = make(tmp_path / "clip.mkv", waves(75))
    assert run("upscale", "bicubic", path, tmp_path / "whole.mkv", "--scale", "1") == 0
    assert "it is cut" not in caplog.text
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 3])
    assert run("upscale", "bicubic", path, tmp_path / "o.mkv", "--scale", "1") in (0, 1)
    assert "it is cut" in caplog.text or "is broken after frame" in caplog.text


@pytest.mark.parametrize(
    ("spoil", "name", "code", "said"),
    [
        (lambda path: path.write_bytes(b"no video"), "out.mp4", 1, "cannot be read"),
        (cut, "out.mp4", 1, "cannot be read"),
        (lambda path: None, "out.mp4", 2, "there is no file"),
        (lambda path: make(path, waves(2)), "out.png", 2, "no name of a video"),
        (lambda path: make(path, waves(2)), "clip.mp4", 2, "exists"),
    ],
)
def test_bad_clips_are_one_sentence_and_leave_nothing(tmp_path, caplog, spoil, name, code, said):
    spoil(tmp_path / "clip.mp4")
    before = listing(tmp_path)
    assert run("upscale", "bicubic", tmp_path / "clip.mp4", tmp_path / name) == code
    assert said in caplog.text
    assert sum(record.levelname == "ERROR" for record in caplog.records) == 1
    assert listing(tmp_path) == before


def test_a_clip_is_not_shared_and_frames_are_of_clips(tmp_path, caplog):
    make(tmp_path / "clip.mp4", waves(2))
    assert run("upscale", "bicubic", tmp_path / "clip.mp4", tmp_path / "o.mp4", "--shard", "1/2") == 2
    assert "one process" in caplog.text
    caplog.clear()
    assert run("upscale", "bicubic", tmp_path, tmp_path / "o", "--frames", tmp_path / "f") == 2
    assert "--frames is for videos" in caplog.text


def test_without_pyav_it_is_said_how_it_is_had(tmp_path, monkeypatch, caplog):
    make(tmp_path / "clip.mp4", waves(2))
    monkeypatch.setitem(sys.modules, "av", None)
    assert run("upscale", "bicubic", tmp_path / "clip.mp4", tmp_path / "o.mp4") == 2
    assert 'pip install "priorsr[video]"' in caplog.text


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is read from /proc")
def test_memory_is_constant_over_a_thousand_frames(tmp_path):
    frames = waves(10, 120, 160)
    make(tmp_path / "clip.mp4", [frames[i % 10] for i in range(1000)])
    code = f"""
import resource
from priorsr.methods.cli import main, video
seen, original = [], video._enlarged
def watched(*a):
    with open("/proc/self/statm") as file:
        seen.append(int(file.read().split()[1]) * resource.getpagesize())
    return original(*a)
video._enlarged = watched
assert main.main(["upscale", "bicubic", "{tmp_path}/clip.mp4", "{tmp_path}/o.mp4", "--scale", "2"]) == 0
print(len(seen), max(seen[50:]) - seen[50])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, grown = map(int, done.stdout.split()[-2:])
    print(f"grown by {grown / 2**20:.1f} MiB")
    assert count == 1000
    assert grown < 20 * 2**20
    assert heard(tmp_path / "o.mp4") == heard(tmp_path / "clip.mp4")
