"""Folders of pictures: hard files, outputs that cannot be or must not be written, runs at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from command import listing, run
from PIL import Image, ImageCms

from priorsr.methods.cli import folder, pipeline
from priorsr.methods.cli.folder import check_output
from priorsr.methods.imaging.datasets import read_named
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.train.pairs import Crops


def never(*_):
    pytest.fail("work was begun")


def untouched(result):
    return lambda picture, job: (result, {})


class Odd(Exception):
    pass


@pytest.mark.parametrize(
    "error", [Odd("odd"), KeyError("k"), RecursionError("deep"), MemoryError(), SyntaxError("s")]
)
def test_whatever_a_picture_raises_all_others_are_done(pictures, tmp_path, photo, error):
    write(Picture(photo), pictures / "m.png")

    def work(picture, job):
        if job.source.name == "m.png":
            raise error
        return picture, {}

    outcomes = list(pipeline.run(folder.plan(pictures, tmp_path / "out"), work))
    assert [o.status for o in outcomes] == ["written", "failed", "written"]
    assert "m.png" in outcomes[1].message
    assert listing(tmp_path / "out") == ["a.png", "z.png"]


def test_hard_files_between_good_ones_are_done(pictures, tmp_path, capsys):
    rgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("CMYK", (16, 16), (10, 20, 30, 40)).save(pictures / "m.jpg", icc_profile=rgb)
    entry = b"\x1a\x01\x02\0\x04\0\0\0abc\0"  # XResolution as text
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + b"\0\0\0\0"
    Image.new("RGB", (16, 16)).save(pictures / "n.jpg", exif=exif)
    assert run("upscale", pictures, tmp_path / "out", "--method", "bicubic", "--json") == 0
    assert json.loads(capsys.readouterr().out)["written"] == 4
    assert len(read_named([pictures])) == 4


def test_a_16_bit_picture_that_cannot_be_written_is_one_line(pictures, tmp_path, photo, monkeypatch):
    from priorsr.methods.imaging import png

    def fails(*_):
        raise Odd("the encoder gave up")

    monkeypatch.setattr(png, "write16", fails)
    outcomes = list(pipeline.run(folder.plan(pictures, tmp_path / "out"), untouched(Picture(photo, bits=16))))
    assert [o.status for o in outcomes] == ["failed"] * 2
    assert "Odd: the encoder gave up" in outcomes[0].message
    assert listing(tmp_path / "out") == []


def test_sidecars_are_passed_over(pictures, tmp_path, capsys):
    for name in ("._a.png", "deep/._b.jpg"):
        (pictures / name).parent.mkdir(exist_ok=True)
        (pictures / name).write_bytes(b"\0\5\x16\7not a picture")
    assert run("upscale", pictures, tmp_path / "out", "--method", "bicubic", "--json") == 0
    assert json.loads(capsys.readouterr().out)["written"] == 2
    assert [name for name, _ in read_named([pictures])] == ["a.png", "z.png"]
    assert len(Crops.of([pictures], 16).files) == 2
    assert run("compare", pictures, pictures) == 0


def test_pictures_that_are_not_done_are_named_and_counted(pictures, tmp_path, capsys, caplog, photo):
    Image.new("RGB", (8, 8)).save(pictures / "b.jfif", "JPEG")
    Image.new("RGB", (8, 8)).save(pictures / "c.gif")
    Image.new("RGB", (8, 8)).save(pictures / "d.pcx")
    Image.new("RGB", (8, 8)).save(pictures / "photo", "JPEG")
    (pictures / "notes.txt").write_text("hello")
    (pictures / "broken.pcx").write_text("hello")
    assert run("upscale", pictures, tmp_path / "out", "--method", "bicubic", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["written"] == 4
    assert [os.path.basename(p) for p in report["passed_over"]] == ["d.pcx", "photo"]
    assert "d.pcx" in caplog.text
    assert listing(tmp_path / "out") == ["a.png", "b.png", "c.png", "z.png"]
    (tmp_path / "odd").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "odd" / "d.pcx")
    with pytest.raises(FileNotFoundError, match=r"no picture in .*d\.pcx"):
        folder.plan(tmp_path / "odd", tmp_path / "out2")


@pytest.mark.parametrize("name", ["o.tiff", "file/o.png", "o.jpg"])
def test_one_picture_that_cannot_be_written_is_told_before_any_work(
    tmp_path, photo, name, monkeypatch, caplog
):
    write(Picture(photo, photo[:, :1]), tmp_path / "a.png")
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(pipeline, "read", never)
    assert run("upscale", "bicubic", tmp_path / "a.png", tmp_path / name, "--overwrite") == 2
    assert len(caplog.records) == 1
    assert listing(tmp_path) == ["a.png", "file"]


def test_jobs_of_a_folder_that_cannot_be_written_are_told_without_work(pictures, tmp_path, photo):
    write(Picture(photo, photo[:, :1]), pictures / "b.png")
    long = "x" * 251 + ".bmp"
    Image.new("RGB", (8, 8)).save(pictures / long)
    done = []

    def work(picture, job):
        done.append(job.source.name)
        return picture, {}

    outcomes = {o.source: o for o in pipeline.run(folder.plan(pictures, tmp_path / "out", ".jpg"), work)}
    assert "transparency" in outcomes[str(pictures / "b.png")].message
    assert done == ["a.png", long, "z.png"]
    plan = folder.plan(pictures, tmp_path / "out2", ".webp")
    assert "too long" in next(job.problem for job in plan if job.source.name == long)


def test_output_folders_that_are_the_cause_are_named(pictures, tmp_path):
    for arguments in ((pictures, pictures), (pictures, pictures / ".." / "in", ".webp")):
        with pytest.raises(ValueError, match="is the input folder itself"):
            folder.plan(*arguments)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="is a file"):
        folder.plan(pictures, tmp_path / "file" / "out")
    with pytest.raises(ValueError, match="is a file"):
        folder.plan(pictures, tmp_path / "file")


def test_the_output_may_be_a_parent_of_the_input(pictures, tmp_path):
    assert run("upscale", pictures, tmp_path, "--method", "bicubic") == 0
    assert listing(tmp_path) == ["a.png", "in/a.png", "in/z.png", "z.png"]
    write(read(pictures / "a.png"), pictures / "in" / "a.png")
    with pytest.raises(ValueError, match="would replace an input"):
        folder.plan(pictures, tmp_path)


def test_a_dangling_link_is_not_replaced(pictures, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").symlink_to(tmp_path / "nowhere")
    assert run("upscale", pictures, tmp_path / "out", "--method", "bicubic") == 0
    assert (tmp_path / "out" / "a.png").is_symlink()


def test_runs_at_once_share_a_folder(tmp_path, photo):
    for i in range(12):
        write(Picture(photo[..., :9, :9]), tmp_path / "in" / f"{i}.png")
    barrier, outcomes = threading.Barrier(3), []

    def work(picture, job):
        barrier.wait()  # all have seen that there is no output
        return picture, {}

    def go():
        outcomes.extend(pipeline.run(folder.plan(tmp_path / "in", tmp_path / "out"), work, skip=True))

    threads = [threading.Thread(target=go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(o.status == "written" for o in outcomes) == 12
    assert sum(o.status == "skipped" for o in outcomes) == 24
    assert len(listing(tmp_path / "out")) == 12


@pytest.mark.skipif(os.name != "posix", reason="owners are told on POSIX only")
def test_a_resumed_run_sweeps_though_nothing_is_left_to_do(pictures, tmp_path):
    from priorsr.methods.imaging.replacing import host_name

    out = tmp_path / "out"
    assert run("upscale", pictures, out, "--method", "bicubic") == 0
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    (out / f".priorsr-{host_name()}-{child.pid}-0123abcd.part").write_bytes(b"half")
    assert run("upscale", pictures, out, "--method", "bicubic") == 0
    assert listing(out) == ["a.png", "z.png"]


@pytest.mark.parametrize("name", ["a.png", "o.png", "./a.png", "linked.png"])
def test_a_recipe_replaces_no_picture(tmp_path, photo, name, monkeypatch):
    write(Picture(photo), tmp_path / "a.png")
    os.link(tmp_path / "a.png", tmp_path / "linked.png")
    before = (tmp_path / "a.png").read_bytes()
    monkeypatch.chdir(tmp_path)
    assert run("degrade", "a.png", "o.png", "--save-recipe", name, "--overwrite") == 2
    assert (tmp_path / "a.png").read_bytes() == before
    assert not (tmp_path / "o.png").exists()


def test_where_a_study_writes_is_checked_before_its_work(tmp_path, photo, monkeypatch, caplog):
    write(Picture(photo), tmp_path / "faces" / "a.png")
    (tmp_path / "file").write_text("keep")
    monkeypatch.setattr("priorsr.methods.cli.evaluate.read_faces", never)
    for out, words in (("faces", "another folder"), ("file", "no folder"), ("file/below", "is a file")):
        caplog.clear()
        assert run("evaluate", "diffsr", tmp_path / "faces", "--out", tmp_path / out) == 2
        assert words in caplog.text
    assert listing(tmp_path) == ["faces/a.png", "file"]


def test_further_outputs_are_checked(tmp_path):
    (tmp_path / "a").write_text("here")
    with pytest.raises(FileExistsError):
        check_output(tmp_path / "a", [], False)
    check_output(tmp_path / "a", [], True)
    with pytest.raises(ValueError, match="would replace"):
        check_output(tmp_path / "a", [tmp_path / "b" / ".." / "a"], True)
    with pytest.raises(OSError, match="is a file"):
        check_output(tmp_path / "a" / "b", [], False)


def test_degrade_ignores_hidden_colours(tmp_path, photo):
    alpha = torch.zeros_like(photo[:, :1])
    alpha[..., 20:40, 20:40] = 1
    for name, hidden in (("black", 0.0), ("white", 1.0)):
        colours = torch.where(alpha > 0, photo, torch.full_like(photo, hidden))
        write(Picture(colours, alpha), tmp_path / f"{name}.png")
        assert run("degrade", tmp_path / f"{name}.png", tmp_path / f"{name}-low.png", "--scale", "2") == 0
        assert run("upscale", tmp_path / f"{name}.png", tmp_path / f"{name}-high.png") == 0
    for kind in ("low", "high"):
        one, other = (read(tmp_path / f"{name}-{kind}.png") for name in ("black", "white"))
        assert torch.equal(one.pixels, other.pixels)
        assert torch.equal(one.alpha, other.alpha)


def test_upscaling_a_white_disc_leaves_no_fringe(tmp_path):
    y, x = np.mgrid[:32, :32] - 15.5
    alpha = torch.from_numpy(np.clip(11 - np.hypot(x, y), 0, 1)).float()[None, None]
    write(Picture((alpha > 0).float().expand(-1, 3, -1, -1), alpha), tmp_path / "a.png")
    for method in ("srcnn", "bicubic"):
        assert run("upscale", tmp_path / "a.png", tmp_path / f"{method}.png", "--method", method) == 0
        big = read(tmp_path / f"{method}.png")
        assert ((big.pixels * big.alpha + 1 - big.alpha).min() * 255) >= 245
