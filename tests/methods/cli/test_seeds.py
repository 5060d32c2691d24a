"""Seeds of the pictures of a folder: their own, whatever lies beside them."""

from __future__ import annotations

import json
import os

import torch
from command import run

from priorsr.methods.cli.folder import picture_seed
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.registry import method_named


def test_seeds_of_pictures_are_of_seed_and_name_alone():
    seeds = {picture_seed(seed, name) for seed in range(20) for name in map(str, range(20))}
    assert len(seeds) == 400
    assert all(0 <= s < 2**48 for s in seeds)
    assert picture_seed(0, "é.png") == picture_seed(0, "e\u0301.png")
    assert picture_seed(3, "a.png") == 267_980_372_448_800
    assert picture_seed(0, os.fsdecode(b"\xff.png")) >= 0


def test_degrade_varies_by_name_not_by_place(pictures, tmp_path, capsys):
    arguments = ("--preset", "dpi-heavy", "--vary", "--seed", "5", "--json")
    assert run("degrade", pictures, tmp_path / "all", *arguments) == 0
    assert run("degrade", pictures / "z.png", tmp_path / "z.png", *arguments) == 0
    first, second = (json.loads(line)["files"] for line in capsys.readouterr().out.splitlines())
    assert first[1]["report"] == second[0]["report"]
    assert first[0]["report"]["seed"] != first[1]["report"]["seed"]
    assert torch.equal(read(tmp_path / "all" / "z.png").pixels, read(tmp_path / "z.png").pixels)


def test_pictures_of_a_folder_have_seeds_of_their_own(tmp_path, photo, capsys, caplog):
    """Files of equal pixels get other noise in a folder, the same alone; the seed is said and switchable."""
    caplog.set_level("INFO")
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        write(Picture(photo[..., :16, :16].mean(1, keepdim=True)), tmp_path / "in" / name)
    given = ("--scale", "4", "--steps", "2", "--corrector", "none", "--seed", "7", "--json")

    def pictures(source, target, *extra):
        assert run("upscale", "dpi", tmp_path / source, tmp_path / target, *given, *extra) == 0
        rows = json.loads(capsys.readouterr().out)["files"]
        return [row["report"]["seed"] for row in rows], [read(row["target"]).pixels for row in rows]

    seeds, (first, second) = pictures("in", "out")
    assert seeds == [picture_seed(7, "a.png"), picture_seed(7, "b.png")]
    assert "--no-vary" in caplog.text
    assert (first - second).abs().max() > 1e-2
    assert torch.equal(pictures("in/b.png", "b.png", "--vary")[1][0], second)
    seeds, (first, second) = pictures("in", "same", "--no-vary")
    assert seeds == [7, 7]
    assert torch.equal(first, second)
    (seed,), (alone,) = pictures("in/a.png", "a.png")
    assert seed == 7
    assert torch.equal(alone, first)
    upscaler = method_named("dpi").prepare({"corrector": "none"}, values={"steps": 2})
    computed = upscaler(read(tmp_path / "in" / "a.png").pixels, 4.0, [7])
    assert (computed - alone).abs().max() <= 0.5 / 255 + 1e-5  # the rounding of the file
