"""`priorsr evaluate methods` on faces and photographs, with a grid of settings."""

from __future__ import annotations

import json

import pytest

from priorsr.methods.cli.evaluate_methods import read_grid
from priorsr.methods.cli.main import main
from priorsr.methods.imaging.images import Picture, write
from priorsr.methods.imaging.resize import resize
from priorsr.methods.registry import methods


@pytest.fixture
def faces(tmp_path, photo):
    for i in range(2):
        write(Picture(resize(photo, (64, 64)).clamp(0, 1) * (1 - 0.2 * i)), tmp_path / "faces" / f"{i}.png")
    return tmp_path / "faces"


def test_a_grid_is_every_combination():
    found = read_grid(["ddnm", "bicubic", "ddrm"], ["ddnm.eta=0.5,1", "respacing=3,4"], "face64")
    assert [(v.method.name, v.described()) for v in found] == [
        ("ddnm", "prior=face64 eta=0.5 respacing=3"),
        ("ddnm", "prior=face64 eta=0.5 respacing=4"),
        ("ddnm", "prior=face64 eta=1.0 respacing=3"),
        ("ddnm", "prior=face64 eta=1.0 respacing=4"),
        ("bicubic", ""),
        ("ddrm", "prior=face64 respacing=3"),
        ("ddrm", "prior=face64 respacing=4"),
    ]
    for text, words in (
        ("ddnm.et=1", "did you mean ddnm.eta"),
        ("dps.guidance=1", "no chosen method"),
        ("ddnm.eta=much", "'much' is no float"),
        ("ddnm.eta", "no chosen method"),
    ):
        with pytest.raises(ValueError, match=words):
            read_grid(["ddnm"], [text])


def test_faces_are_judged_with_every_setting_of_the_grid(faces, capsys):
    asked = ["evaluate", "methods", str(faces), "--faces", "--scale", "4", "2.7", "--prior", "face64"]
    assert main([*asked, "--methods", "no-prior", "ddnm", "--set", "ddnm.respacing=2,3", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(r["scale"], r["method"], r["settings"]) for r in rows] == [
        (scale, *rest)
        for scale in (4.0, 2.7)
        for rest in (
            ("no-prior", ""),
            ("ddnm", "prior=face64 respacing=2"),
            ("ddnm", "prior=face64 respacing=3"),
        )
    ]
    for row in rows:
        assert 10 < row["psnr"] < 60
        assert row["consistency"] > 25
    assert main([*asked[:3], "--scale", "2.7"]) == 2


def test_photographs_are_compared_by_methods_without_a_prior(faces, capsys):
    asked = ["evaluate", "methods", str(faces), "--count", "1", "--scale", "2", "--json"]
    assert main([*asked, "--methods", "bicubic", "no-prior", "srcnn"]) == 0
    psnr = {row["method"]: row["psnr"] for row in json.loads(capsys.readouterr().out)}
    assert psnr["no-prior"] > psnr["bicubic"]
    assert {"ddnm", "ddrm", "ilvr", "repaint", "no-prior"} < set(methods())
