from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from command import run
from safetensors.torch import save_file
from stablesr_tiny import base_file, context, tiny
from tiny_checkpoints import attribute, score_network
from tiny_checkpoints import faces as face_networks

from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import resize
from priorsr.methods.metrics.identity import available

FEW = ("--diffsr-steps", "2")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """in/: a portrait with much around it, in colour, and grey with alpha, and a picture without a face."""
    folder = tmp_path_factory.mktemp("faces") / "in"
    portrait = resize(read(Path(__file__).parents[3] / "docs/sample/astronaut.png").pixels, (56, 56)).clamp(
        0, 1
    )
    scene = torch.full((1, 3, 120, 150), 0.4)
    scene[..., 30:86, 50:106] = portrait
    write(Picture(scene), folder / "colour.png")
    write(Picture(scene.mean(1, keepdim=True), scene[:, :1]), folder / "grey.png")
    write(Picture(torch.full((1, 3, 40, 50), 0.5)), folder / "plain.png")
    return folder


@pytest.fixture
def networks(tmp_path, monkeypatch):
    face_networks(tmp_path)
    score_network(tmp_path / "sr.safetensors")
    attribute(tmp_path / "happy.safetensors")
    base_file(tmp_path / "stablesr.safetensors", tiny().layers.released_state())
    save_file({"context": context()[0]}, tmp_path / "empty.safetensors")
    monkeypatch.setenv("PRIORSR_MODELS", str(tmp_path))


def test_a_folder_of_pictures_with_and_without_faces(files, tmp_path, capsys, caplog):
    caplog.set_level("INFO")
    scaled = "--scale", "2", "--no-clean"
    assert run("restore-faces", files, tmp_path / "out", *scaled, *FEW, "--json", "--seed", "3") == 0
    said = {
        f["source"].split("/")[-1]: f["report"]["faces"] for f in json.loads(capsys.readouterr().out)["files"]
    }
    assert {name: len(faces) for name, faces in said.items()} == {
        "colour.png": 1,
        "grey.png": 1,
        "plain.png": 0,
    }
    assert said["colour.png"][0]["outcome"] == "restored"
    assert "no face found, unchanged" in caplog.text
    assert "noise level" in caplog.text
    for name in said:
        before, after = read(files / name), read(tmp_path / "out" / name)
        enlarged = resize(before.pixels, scale=2.0).clamp(0, 1)
        assert after.pixels.shape == enlarged.shape
        changed = ((after.pixels - enlarged).abs() > 2 / 255).float().mean()
        assert changed == 0 if name == "plain.png" else 0.01 < changed < 0.4
        assert (after.alpha is None) == (before.alpha is None)


WISH = ("--classifier", "happy", "--attributes", "happy=1", "--srdg-steps", "2", "--srdg-corrections", "0")

PIECES = (
    "--context",
    "CONTEXT",
    "--size",
    "64",
    "--stablesr-steps",
    "1",
    "--stablesr-tile",
    "64",
    "--stablesr-overlap",
    "32",
)


@pytest.mark.parametrize(
    "method",
    [
        ("dpi", "--dpi-steps", "2", "--coarse", "4"),
        ("srdg", "--prior", "sr", "--coarse", "8", *WISH),
        ("stablesr", "--stablesr", "stablesr", *PIECES),
        ("srcnn", "--size", "192"),
        ("codeformer", "--w", "1"),
    ],
    ids=lambda m: m[0],
)
@pytest.mark.usefixtures("networks")
def test_every_method_changes_the_face_alone(files, tmp_path, method):
    method = (tmp_path / "empty.safetensors" if part == "CONTEXT" else part for part in method)
    assert run("restore-faces", files / "colour.png", tmp_path / "out.png", "--with", *method) == 0
    before, after = (read(p).pixels for p in (files / "colour.png", tmp_path / "out.png"))
    changed = (before - after).abs().amax(1) > 1.5 / 255
    assert 0.005 < changed.float().mean() < 0.6
    assert not changed[:, :, :2].any()


@pytest.mark.usefixtures("networks")
def test_identity_and_parse_masks_are_optional(files, tmp_path, caplog):
    pytest.importorskip("dlib")
    caplog.set_level("INFO")
    options = ("--with", "codeformer", "--identity", "--mask", "parse", "--strength", "0")
    assert run("restore-faces", files / "colour.png", tmp_path / "out.png", *options) == 0
    assert "identity distance" in caplog.text
    assert torch.equal(read(files / "colour.png").pixels, read(tmp_path / "out.png").pixels)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--with", "codeformer"], "sczhou/CodeFormer/releases publishes codeformer.pth"),
        (["--mask", "parse"], "facexlib/releases publishes parsing_parsenet.pth"),
        (["--detector", "retinaface"], "publishes detection_Resnet50_Final.pth"),
        (["--detector", "srcnn_x2"], "no face detector"),
        (["--which", "first"], "does not number faces"),
        (["--coarse", "1"], "coarse 1 is outside"),
        (["--with", "dpi", "--preset", "x4", "--dpi-steps", "-1"], "steps -1 is outside"),
        (["--scale", "0.5"], "scale 0.5 is outside 1 .. 64"),
        (["--with", "srdg", "--prior", "face64"], "where ncsnpp weights are needed"),
        (["--with", "srdg", "--prior", "face64", "--attributes", "happy"], "no attribute with its label"),
        (["--with", "srcnn", "--identity", "--size", "32"], "faces of 64 pixels or more"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_2(files, tmp_path, monkeypatch, caplog, arguments, words):
    monkeypatch.setenv("PRIORSR_MODELS", str(tmp_path / "nothing"))
    assert run("restore-faces", files, tmp_path / "out", *arguments) == 2
    assert words in caplog.text
    assert not (tmp_path / "out").exists()


def test_a_number_beyond_the_faces_fails_the_picture_alone(files, tmp_path, caplog):
    assert run("restore-faces", files, tmp_path / "out", *FEW, "--which", "1") == 1
    assert "there is no face 1: the picture has faces 0 to 0" in caplog.text
    assert (tmp_path / "out" / "plain.png").exists()


def test_the_best_of_several_candidates_is_kept(files, tmp_path, capsys):
    given = "restore-faces", "diffsr", files / "colour.png", tmp_path / "out.png", "--steps", "2", "--json"
    assert run(*given, "--candidates", "2", "--pick", "sharpness") == 0
    face = json.loads(capsys.readouterr().out)["files"][0]["report"]["faces"][0]
    assert " of 2, sharpness " in face["kept"]
    assert run(*given, "--overwrite", "--reference", files) == 2
    assert "give --candidates 2 or more" in capsys.readouterr().out
    if available() is None:
        assert run(*given, "--overwrite", "--candidates", "2", "--reference", files) == 0
        face = json.loads(capsys.readouterr().out)["files"][0]["report"]["faces"][0]
        assert " of 2, identity " in face["kept"]


def test_algorithm_4_is_one_option(files, tmp_path):
    """The command does what Python does, and none of it unasked."""
    from priorsr import restore_faces

    asked = "restore-faces", "srcnn", files / "colour.png"
    assert run(*asked, tmp_path / "plain.png") == 0
    assert run(*asked, tmp_path / "outside.png", "--enhance-outside", "paper") == 0
    plain, outside = (read(tmp_path / f"{name}.png").pixels for name in ("plain", "outside"))
    assert (plain - outside).abs().max() > 0.02
    own = restore_faces(read(files / "colour.png").pixels, "srcnn", enhance_outside="paper").picture
    assert ((own * 255).round() - (outside * 255).round()).abs().max() <= 1


def test_a_region_limits_the_command_and_python_alike(files, tmp_path):
    """The portrait lies right of the middle; --mask says what of a face is put back, --region where."""
    import priorsr

    half = torch.zeros(1, 1, 12, 15)
    half[..., :8] = 1
    write(Picture(half), tmp_path / "left.png")
    source, target = files / "colour.png", tmp_path / "out.png"
    limits = "--region", tmp_path / "left.png", "--feather", "2", "--mask", "square"
    assert run("restore-faces", "diffsr", source, target, "--steps", "2", *limits) == 0
    before, after = read(source).pixels, read(target).pixels
    assert torch.equal(before[..., 90:], after[..., 90:])
    assert not torch.equal(before[..., :78], after[..., :78])
    mine = priorsr.restore_faces(source, "diffsr", steps=2, region=tmp_path / "left.png", feather=2.0)
    assert (mine.picture.pixels - after).abs().max() <= 0.51 / 255
