"""Training of the blind cleaner: it learns, goes on, resumes, and its file works."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from trainings import interrupted, weights_of

from priorsr.methods import weights
from priorsr.methods.clean.method import load_cleaner
from priorsr.methods.cli import main as cli
from priorsr.methods.degrade import PRESETS, degrade
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.train.cleaner import CleanerRecipe, build, damage, metadata, task
from priorsr.methods.train.loop import Optimisation, fit
from priorsr.methods.train.pairs import Crops

RECIPE = CleanerRecipe(size=32, crops="1,0.5", width=8, blocks=1, deep=1, batch=4)
QUICK = Optimisation(
    steps=60, lr=1e-2, warmup=5, ema=0.9, validate_every=30, checkpoint_every=20, precision="bf16"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("photos")
    y, x = torch.meshgrid(torch.linspace(0, 1, 80), torch.linspace(0, 1, 96), indexing="ij")
    for i in range(4):
        waves = torch.stack([torch.sin((5 + i) * x + c * y) for c in range(3)]) * 0.3 + 0.5
        write(Picture(waves[None]), place / f"{i}.png")
    return place


@pytest.fixture(scope="module")
def crops(folder):
    return Crops.of([folder], RECIPE.size, scales=(1.0, 0.5))


def made(crops, recipe=RECIPE, seed=1):
    return task(recipe, build(recipe, seed), crops, crops)


def test_training_cleans_and_resumes(tmp_path, crops):
    whole = fit(made(crops), QUICK, tmp_path / "whole", progress=False)
    rows = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["gain@1"] > 0.1
    assert rows[-1]["psnr"] > rows[0]["psnr"]
    assert rows[-1]["psnr"] == pytest.approx((rows[-1]["psnr@1"] + rows[-1]["psnr@2"]) / 2)
    for scale in (1, 2):
        assert read(tmp_path / "whole" / f"cleaned_x{scale}.png").pixels.shape == (1, 3, 6 * 32, 3 * 32)
    interrupted(made(crops), QUICK, tmp_path / "cut", 50)
    again = fit(made(crops), QUICK, tmp_path / "cut", resume=True, progress=False)
    torch.testing.assert_close(weights_of(again), weights_of(whole), rtol=0, atol=1e-5)


def test_a_training_goes_on_from_a_file(tmp_path):
    network = build(RECIPE, 3)
    file = weights.save(network, tmp_path / "c.safetensors", metadata(network, RECIPE, QUICK))
    again = build(dataclasses.replace(RECIPE, init=str(file)), 4)
    assert torch.equal(weights_of(again), weights_of(network))
    with pytest.raises(ValueError, match=r"other settings \(width 8\)"):
        build(dataclasses.replace(RECIPE, width=16, init=str(file)))
    with pytest.raises(ValueError, match="size 36 is no multiple of 8"):
        build(dataclasses.replace(RECIPE, size=36))


def test_the_damage_ends_at_the_size_that_the_network_takes_and_is_mild_or_not():
    stripes = torch.sin(torch.linspace(0, 30, 48)) * 0.4 + 0.5
    x = stripes.expand(24, 3, 48, 48)
    for scale in (1, 2):
        low, drawn = degrade(x, damage(scale), range(24))
        assert low.shape == (24, 3, 48 // scale, 48 // scale)
        assert len({r.to_json() for r in drawn}) == 24
    errors = {
        name: float((degrade(x, PRESETS[name](1.0), range(24))[0] - x).square().mean())
        for name in ("real-world", "real-world-mild", "bicubic")
    }
    assert errors["bicubic"] < 1e-10 < errors["real-world-mild"] < 0.6 * errors["real-world"]


def test_the_command_writes_a_cleaner(tmp_path, folder):
    out = tmp_path / "clean.safetensors"
    small = ["--size", "32", "--width", "8", "--blocks", "1", "--deep", "1", "--batch", "2", "--steps", "2"]
    where = ["--data", str(folder), "--validation", str(folder), "--out", str(out), "--device", "cpu"]
    assert cli.main(["train", "cleaner", *where, *small]) == 0
    assert load_cleaner(str(out)).config.width == 8
    assert next(iter(weights.read_state(out)[0].values())).dtype == torch.float16
    assert cli.main(["train", "cleaner", *where, *small, "--overwrite", "--crops", "3"]) == 2
