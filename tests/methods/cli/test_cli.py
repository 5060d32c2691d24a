from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict

import pytest
import torch
from tiny_checkpoints import TINY, corrector, tiny

from priorsr.methods import weights
from priorsr.methods.cli import commands, folder, pipeline
from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.images import Picture, read, write


@pytest.fixture
def files(tmp_path, photo):
    """in/: three pictures, one damaged, one text file, one in a subfolder."""
    source = tmp_path / "in"
    write(Picture(photo), source / "a.png")
    write(Picture(photo.flip(3), photo[:, :1]), source / "deep" / "b.webp")
    write(Picture(photo[:, :1], bits=16), source / "c.png")
    (source / "broken.jpg").write_bytes(b"\xff\xd8 not a picture")
    (source / "notes.txt").write_text("hello")
    return source


def run(*arguments):
    return cli.main([str(a) for a in arguments])


def listing(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())


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


@pytest.fixture(scope="module")
def guided(tmp_path_factory):
    """A tiny upsampler and a classifier for it."""
    folder = tmp_path_factory.mktemp("guided")
    for name in ("adm", "upsampler", "classifier"):
        weights.save(
            tiny(f"tiny_{name}"),
            folder / f"{name}.safetensors",
            {"settings": json.dumps(asdict(TINY[f"tiny_{name}"]))},
        )
    return folder


def test_the_guided_upsampler(files, guided, tmp_path):
    write(
        Picture(read(files / "a.png").pixels[..., :5, :4], read(files / "a.png").pixels[:, :1, :5, :4]),
        tmp_path / "low.png",
    )
    arguments = (
        "--method",
        "guided",
        "--prior",
        guided / "upsampler.safetensors",
        "--scale",
        "4",
        "--guided-respacing",
        "2",
        "--label",
        "3",
    )
    classifier = ("--classifier", guided / "classifier.safetensors", "--guided-classifier-scale", "30")
    results = []
    for name, extra in {
        "alone": (),
        "pushed": classifier,
        "again": classifier,
        "implicit": (*classifier, "--guided-sampler", "ddim"),
    }.items():
        assert run("upscale", tmp_path / "low.png", tmp_path / f"{name}.png", *arguments, *extra) == 0
        results.append(read(tmp_path / f"{name}.png"))
    assert results[0].pixels.shape == (1, 3, 20, 16)
    assert results[0].alpha.shape == (1, 1, 20, 16)
    assert torch.equal(results[1].pixels, results[2].pixels)
    assert len({r.pixels.numpy().tobytes() for r in results}) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "needs prior"),
        (("--prior", "upsampler"), "a class label is needed here: give one of 0..4"),
        (("--prior", "upsampler", "--label", "5"), "outside 0..4"),
        (("--prior", "adm", "--label", "1"), "choose an ADM upsampler"),
        (("--prior", "classifier", "--label", "1"), "not a diffusion prior"),
        (
            ("--prior", "upsampler", "--classifier", "upsampler", "--label", "1"),
            "adm-classifier weights are needed",
        ),
        (("--prior", "upsampler", "--label", "1", "--guided-respacing", "ddim999"), "no whole stride"),
        (
            ("--prior", "upsampler", "--label", "1", "--prior-tile", "8", "--guided-eta", "2"),
            "eta 2.0 is outside",
        ),
    ],
)
def test_mistakes_with_the_guided_upsampler(files, guided, arguments, words, caplog, monkeypatch):
    monkeypatch.setenv("PRIORSR_MODELS", str(guided))
    assert run("upscale", files / "a.png", files / "out.png", "--method", "guided", *arguments) == 2
    assert words in caplog.text
    assert not (files / "out.png").exists()


@pytest.fixture(scope="module")
def correctors(tmp_path_factory):
    """Correctors of the shipped face prior that fit it, and that do not."""
    folder = tmp_path_factory.mktemp("correctors")
    for name, said in {
        "fits": {},
        "x8": {"scale": 8},
        "k4": {"k": 4},
        "rgb": {"channels": 3},
        "raw": {"ema": 0.0},
    }.items():
        corrector(folder / f"{name}.safetensors", **said)
    return folder


def test_faces_by_dpi(files, correctors, tmp_path, caplog):
    caplog.set_level("INFO")
    write(
        Picture(read(files / "a.png").pixels[..., :16, :16], read(files / "a.png").pixels[:, :1, :16, :16]),
        tmp_path / "low.png",
    )
    arguments = ("--method", "dpi", "--prior", "face64", "--scale", "4", "--dpi-steps", "2", "--dpi-tau", "0")
    results = {}
    for name, extra in {
        "auto": (),
        "none": ("--corrector", "none"),
        "own": ("--corrector", correctors / "fits.safetensors"),
        "twice": ("--corrector", correctors / "fits.safetensors"),
        "implicit": (
            "--corrector",
            "none",
            "--preset",
            "x16",
            "--dpi-sampler",
            "ddim",
            "--dpi-tau",
            "300",
            "--no-dpi-weighted",
        ),
        "seed": ("--corrector", "none", "--seed", "4"),
    }.items():
        assert run("upscale", tmp_path / "low.png", tmp_path / f"{name}.png", *arguments, *extra) == 0
        results[name] = read(tmp_path / f"{name}.png")
    assert results["own"].pixels.shape == (1, 3, 64, 64)
    assert results["own"].alpha.shape == (1, 1, 64, 64)
    assert torch.equal(results["own"].pixels, results["twice"].pixels)
    assert len({results[name].pixels.numpy().tobytes() for name in ("none", "own", "implicit", "seed")}) == 4
    assert "corrector" in caplog.text  # what auto chose, or that there is nothing to choose
    assert "not one picture" not in caplog.text


def test_pictures_that_are_no_faces_are_warned_of_once(files, tmp_path, caplog):
    for name in ("a.png", "b.png"):
        write(Picture(read(files / "a.png").pixels[..., :20, :36]), tmp_path / "wide" / name)
    assert (
        run(
            "upscale",
            tmp_path / "wide",
            tmp_path / "out",
            "--method",
            "dpi",
            "--prior",
            "face64",
            "--dpi-steps",
            "1",
            "--corrector",
            "none",
        )
        == 0
    )
    assert caplog.text.count("72 x 40 is not one picture of 64 x 64") == 1
    assert read(tmp_path / "out" / "b.png").pixels.shape == (1, 3, 40, 72)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--corrector", "nothing"), "no weights called nothing"),
        (("--corrector", "face64"), "where corrector weights are needed"),
        (("--corrector", "x8"), "trained for x8, not x4"),
        (("--corrector", "k4"), "trained with k 4, not 2"),
        (("--corrector", "fits", "--dpi-k", "4"), "trained with k 2, not 4"),
        (("--corrector", "rgb"), "for 3 channels, the prior for 1"),
        (("--corrector", "raw"), "without EMA"),
        (("--dpi-tau", "1200"), "tau 1200"),
        (("--dpi-tau", "600"), "at least tau"),
        (("--dpi-omega", "50"), "at least tau"),
        (("--dpi-s", "0"), "s 0"),
        (("--dpi-s", "-1"), "s -1"),
        (("--dpi-steps", "-1"), "steps -1 is outside"),
        (("--dpi-steps", "2000"), "steps 2000 is outside"),
        (("--dpi-k", "1"), "k 1"),
    ],
)
def test_mistakes_with_dpi(files, correctors, arguments, words, caplog, monkeypatch):
    monkeypatch.setenv("PRIORSR_MODELS", str(correctors))
    assert (
        run(
            "upscale",
            files / "a.png",
            files / "out.png",
            "--method",
            "dpi",
            "--scale",
            "4",
            "--corrector",
            "none",
            *arguments,
        )
        == 2
    )
    assert words in caplog.text
    assert not (files / "out.png").exists()


def test_a_scale_below_the_grid_is_refused_before_any_work(files, caplog):
    arguments = ("--method", "dpi", "--scale", "1.5", "--corrector", "none", "--dpi-steps", "2")
    assert run("upscale", files / "a.png", files / "out.png", *arguments) == 2
    assert "dpi enlarges by 2 to 64, not by 1.5" in caplog.text


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
