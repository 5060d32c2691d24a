"""The commands on pictures and folders: what they write, resume, refuse and leave as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from command import listing, run

from priorsr.methods.cli import commands, folder, pipeline
from priorsr.methods.imaging.images import Picture, read, write


def test_one_picture(files, tmp_path):
    before = (files / "a.png").read_bytes()
    assert run("upscale", files / "a.png", tmp_path / "out.png", "--scale", "2") == 0
    assert read(tmp_path / "out.png").pixels.shape == (1, 3, 106, 142)
    assert (files / "a.png").read_bytes() == before


def test_the_longer_side_of_every_result_can_be_given(files, tmp_path, caplog):
    assert (
        run("upscale", files, tmp_path / "out", "--method", "bicubic", "--longest", "200") == 1
    )  # one file is broken
    assert [max(read(tmp_path / "out" / name).pixels.shape[-2:]) for name in listing(tmp_path / "out")] == [
        200,
        200,
        200,
    ]
    assert run("upscale", files / "a.png", tmp_path / "b.png", "--longest", "0") == 2
    assert "longer side" in caplog.text


def test_a_folder_goes_on_past_a_bad_file_and_resumes(files, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("upscale", files, out, "--scale", "1.5", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["written"], report["skipped"], report["failed"]) == (3, 0, 1)
    assert "broken.jpg" in next(f["message"] for f in report["files"] if f["status"] == "failed")
    assert listing(out) == ["a.png", "c.png", "deep/b.webp"]
    assert read(out / "deep" / "b.webp").alpha.shape == (1, 1, 80, 107)
    assert read(out / "c.png").bits == 16
    stamps = {name: (out / name).stat().st_mtime_ns for name in listing(out)}
    (files / "broken.jpg").unlink()
    assert run("upscale", files, out, "--scale", "1.5", "--json") == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == 3
    assert stamps == {name: (out / name).stat().st_mtime_ns for name in listing(out)}
    assert run("upscale", files, out, "--scale", "1.5", "--overwrite") == 0
    assert all((out / name).stat().st_mtime_ns > stamp for name, stamp in stamps.items())


def test_existing_outputs_and_inputs_are_safe(files, tmp_path):
    (tmp_path / "out.png").write_bytes(b"precious")
    assert run("upscale", files / "a.png", tmp_path / "out.png") == 1
    assert (tmp_path / "out.png").read_bytes() == b"precious"
    before = (files / "a.png").read_bytes()
    assert run("upscale", files / "a.png", files / "a.png", "--overwrite") == 2
    assert run("upscale", files, files, "--overwrite") == 2
    assert (files / "a.png").read_bytes() == before


def test_an_output_folder_inside_the_input_is_not_an_input(files):
    (files / "broken.jpg").unlink()
    assert run("upscale", files, files / "out", "--method", "bicubic") == 0
    assert run("upscale", files, files / "out", "--method", "bicubic") == 0
    assert listing(files / "out") == ["a.png", "c.png", "deep/b.webp"]


def test_formats_and_clashes(files, tmp_path):
    assert run("upscale", files / "a.png", tmp_path / "out", "--format", "jpg", "--method", "bicubic") == 0
    assert listing(tmp_path / "out") == ["a.jpg"]
    write(read(files / "a.png"), files / "a.webp")
    with pytest.raises(ValueError, match=r"both become .*a\.jpg"):
        folder.plan(files, tmp_path / "x", ".jpg")


def test_degrade_repeats_saves_and_replays(files, tmp_path, capsys):
    arguments = ("--preset", "dpi-heavy", "--seed", "5")
    assert (
        run(
            "degrade", files / "a.png", tmp_path / "one.png", *arguments, "--save-recipe", tmp_path / "r.json"
        )
        == 0
    )
    assert run("degrade", files / "a.png", tmp_path / "two.png", *arguments) == 0
    assert (
        run(
            "degrade",
            files / "a.png",
            tmp_path / "three.png",
            "--recipe",
            tmp_path / "r.json",
            "--seed",
            "99",
        )
        == 0
    )
    assert (
        run(
            "degrade",
            files / "a.png",
            tmp_path / "four.png",
            *arguments,
            "--save-recipe",
            tmp_path / "r.json",
        )
        == 2
    )  # kept as it is
    one, two, three = (read(tmp_path / f"{n}.png").pixels for n in ("one", "two", "three"))
    assert torch.equal(one, two)
    recipe = json.loads((tmp_path / "r.json").read_text())
    assert recipe["steps"][3]["step"] == "Jpeg"
    assert torch.equal(one, three)
    capsys.readouterr()
    (files / "broken.jpg").unlink()
    assert run("degrade", files, tmp_path / "all", *arguments, "--vary", "--json") == 0
    drawn = [f["report"]["recipe"]["steps"] for f in json.loads(capsys.readouterr().out)["files"]]
    assert drawn[0] != drawn[1]


def test_compare(files, tmp_path, capsys):
    run("degrade", files / "a.png", tmp_path / "b" / "a.png", "--preset", "dpi-mild")
    capsys.readouterr()
    assert run("compare", tmp_path / "b" / "a.png", files / "a.png", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert 5 < row["psnr"] < 60
    assert run("compare", files / "a.png", files / "c.png", "--channels", "luma", "--border", "2") == 0
    assert "psnr" in capsys.readouterr().out
    assert run("compare", files / "a.png", files / "a.png", "--json") == 0
    assert (
        json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))[0]["psnr"] is None
    )  # equal
    tiny = read(files / "a.png").pixels[..., :4, :4]
    for folder_name in ("x", "y"):
        for name in ("1.png", "2.png"):
            write(Picture(tiny), files / folder_name / name)
    assert run("compare", files / "x", files / "y") == 0
    assert run("compare", files / "a.png", files) == 2
    assert run("compare", files / "a.png", files / "broken.jpg") == 2


def test_models_lists_what_is_there_and_what_is_not(tmp_path, capsys, monkeypatch):
    (tmp_path / "strange.pt").write_bytes(b"?")
    monkeypatch.setenv("PRIORSR_MODELS", str(tmp_path))
    assert run("models", "--json") == 0
    rows = {r["name"]: r for r in json.loads(capsys.readouterr().out)}
    assert rows["srcnn_x3"]["state"] == "ready"
    assert "strange.pt" in rows["strange"]["state"]


def test_train_and_evaluate(tmp_path, photo, capsys):
    high = torch.nn.functional.interpolate(photo, scale_factor=3, mode="bicubic").clamp(0, 1)
    write(Picture(high), tmp_path / "set" / "a.png")
    out = tmp_path / "own.safetensors"
    arguments = (
        "--data",
        tmp_path / "set",
        "--validation",
        tmp_path / "set",
        "--out",
        out,
        "--steps",
        "2",
        "--size",
        "32",
        "--batch",
        "1",
    )
    assert run("train", "srcnn", *arguments, "--precision", "fp32", "--json") == 0
    assert json.loads(capsys.readouterr().out)["psnr"] > 15
    assert (tmp_path / "own-run" / "log.jsonl").exists()
    assert run("train", "srcnn", *arguments) == 2
    assert run("evaluate", "srcnn", tmp_path / "set", "--scales", "2", "--weights", out, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(r["set"], r["scale"], r["method"]) for r in rows] == [("set", 2, "bicubic"), ("set", 2, "srcnn")]
    assert run("upscale", tmp_path / "set" / "a.png", tmp_path / "up.png", "--weights", out) == 0
    assert (
        run("upscale", tmp_path / "set" / "a.png", tmp_path / "up3.png", "--weights", out, "--scale", "3")
        == 2
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("upscale", "nowhere.png", "out.png"), "no file or folder at nowhere.png"),
        (("upscale", "a.png", "out.png", "--scale", "0"), "enlarges by 1 to 64"),
        (("upscale", "a.png", "out.png", "--scale", "1000"), "enlarges by 1 to 64"),
        (("upscale", "a.png", "out.png", "--scale", "nan"), "enlarges by 1 to 64"),
        (("upscale", "a.png", "out.png", "--weights", "nothing"), "no weights called nothing"),
        (("upscale", "a.png", "out.png", "--tile", "3"), "tile 3 is too small"),
        (("degrade", "a.png", "out.png", "--scale", "0.1"), "give 1 to 64"),
        (("evaluate", "srcnn", "nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_2(files, arguments, words, monkeypatch, caplog):
    monkeypatch.chdir(files)
    assert run(*arguments) == 2
    assert words in caplog.text
    assert listing(files) == ["a.png", "broken.jpg", "c.png", "deep/b.webp", "notes.txt"]


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_an_output_that_cannot_be_written_fails_and_leaves_nothing(files, tmp_path, suffix, caplog):
    (tmp_path / "file").write_text("in the way")
    assert run("upscale", files / "a.png", tmp_path / "file" / f"a.{suffix}", "--method", "bicubic") == 2
    assert "cannot write" in caplog.text
    assert listing(tmp_path) == ["file", *(f"in/{n}" for n in listing(files))]


def test_an_interrupt_leaves_whole_files_only(files, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "write", interrupted)
    assert run("upscale", files, tmp_path / "out", "--method", "bicubic") == 130
    assert not (tmp_path / "out").exists()


def test_the_command_is_installed():
    command = [os.path.join(os.path.dirname(sys.executable), "priorsr"), "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith("priorsr 1.")


def test_results_of_several_kinds_are_printed_as_a_table_each(capsys):
    rows = [
        {"tau": 0.0, "psnr": 22.0, "of_faces": [1.0, 2.0]},
        {"tau": 100.0, "psnr": 21.0, "of_faces": [1.0, 2.0]},
        {"s": 1.2, "psnr": 20.0},
    ]
    commands._print(rows, False)
    assert capsys.readouterr().out.splitlines() == [
        "tau       psnr",
        "0.0000    22.0000",
        "100.0000  21.0000",
        "s       psnr",
        "1.2000  20.0000",
    ]
