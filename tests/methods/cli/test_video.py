"""Clips: frames in their order and at their times, sound bit by bit, the same noise, nothing half written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

from priorsr.methods.cli import claims, segments, upscale, video
from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.images import read
from priorsr.methods.imaging.replacing import host_name

av = pytest.importorskip("av", reason="videos need PyAV")

TIMES = [0, 40, 80, 160, 200, 250, 300, 340, 400, 440]  # milliseconds, not evenly apart


def run(*arguments):
    return cli.main([str(a) for a in arguments])


def listing(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())


def make(path, frames, times=None, codec="libx264", sound=True, pixels="yuv420p"):
    """A clip of frames H W 3 bytes with a tone."""
    with av.open(str(path), "w") as clip:
        stream = clip.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.time_base = Fraction(1, 1000)
        tone = clip.add_stream("aac", rate=16000) if sound else None
        if tone is not None:
            tone.layout = "mono"
        for i, samples in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(samples, format="rgb24")
            frame.pts, frame.time_base = (times[i] if times else 40 * i), Fraction(1, 1000)
            clip.mux(stream.encode(frame))
            if tone is not None:
                wave = np.sin(np.arange(640) * 0.1 + i)[None].astype(np.float32)
                part = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
                part.sample_rate, part.pts, part.time_base = 16000, 640 * i, Fraction(1, 16000)
                clip.mux(tone.encode(part))
        clip.mux(stream.encode(None))
        if tone is not None:
            clip.mux(tone.encode(None))
    return path


def waves(count, height=24, width=32):
    y, x = np.mgrid[:height, :width]
    return [
        np.stack([127 + 100 * np.sin(0.2 * x + i), 127 + 90 * np.cos(0.3 * y - i), 40 + 5 * y], -1)
        .clip(0, 255)
        .astype(np.uint8)
        for i in range(count)
    ]


def seen(path):
    with av.open(str(path)) as clip:
        return [(float(f.time), f.to_ndarray(format="rgb24")) for f in clip.decode(video=0)]


def heard(path):
    with av.open(str(path)) as clip:
        return [(float(p.pts * p.time_base), bytes(p)) for p in clip.demux(audio=0) if p.size]


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
