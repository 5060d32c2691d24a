"""What DPI chooses by itself: settings, corrector, and when it warns."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from tiny_checkpoints import corrector

from priorsr.methods import weights
from priorsr.methods.dpi.method import PRESETS, DPISettings, grid_condition
from priorsr.methods.dpi.presets import AUTO_STEPS, choose_corrector, choose_settings, shipped_correctors
from priorsr.methods.priors.load import load_prior
from priorsr.methods.priors.typicality import size_warning


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A weights folder with correctors for luma and colour, beside other files."""
    for name, scale in {"dpi_x4": 4, "dpi_x8": 8, "dpi_real": "any"}.items():
        corrector(tmp_path / f"{name}.safetensors", scale=scale)
    corrector(tmp_path / "colour_x4.safetensors", channels=3)
    corrector(tmp_path / "wide_x4.safetensors", k=4)
    corrector(tmp_path / "something.safetensors", kind="prior")
    monkeypatch.setattr(weights.find, "SHIPPED", tmp_path)
    return tmp_path


def test_correctors_are_listed_by_what_they_say_they_are(shipped):
    assert shipped_correctors() == ["colour_x4", "dpi_real", "dpi_x4", "dpi_x8", "wide_x4"]


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ({"channels": 1, "scale": 4.0}, "dpi_x4"),
        ({"channels": 1, "scale": 8}, "dpi_x8"),
        ({"channels": 3, "scale": 4}, "colour_x4"),
        ({"channels": 1, "scale": 4, "k": 4}, "wide_x4"),
        ({"channels": 1, "scale": 5, "real": True}, "dpi_real"),
        ({"channels": 1, "scale": 5}, None),
        ({"channels": 3, "scale": 8}, None),
        ({"channels": 3, "scale": 4, "real": True}, None),
        ({"channels": 1, "scale": 8, "k": 4}, None),
    ],
)
def test_the_corrector_of_channels_scale_and_grid_is_found_or_missed_aloud(shipped, asked, chosen):
    said = []
    found = choose_corrector("auto", **asked, report=said.append)
    assert said == [f"corrector {chosen}"] if chosen else "no corrector comes along" in said[0]
    assert (found is None) == (chosen is None)
    if found:
        found.check(asked["channels"], asked.get("k", 2), asked["scale"])


def test_a_corrector_can_be_named_or_left_out(shipped, tmp_path):
    assert choose_corrector("none", 1, 4) is None
    assert choose_corrector("dpi_x8", 1, 4).scale == 8
    assert choose_corrector(str(corrector(tmp_path / "mine.safetensors", scale=3)), 1, 4).scale == 3
    with pytest.raises(FileNotFoundError, match="no weights called dpi_x3"):
        choose_corrector("dpi_x3", 1, 3)


@pytest.mark.parametrize("name", PRESETS)
def test_a_named_preset_is_as_published(name):
    assert choose_settings(name, 3.0) == PRESETS[name]


@pytest.mark.parametrize(
    ("scale", "name"), [(2, "x4"), (4, "x4"), (8, "x8"), (13, "x16"), (16, "x16"), (64, "x16")]
)
def test_auto_has_the_strength_of_the_scale_in_fewer_steps(scale, name):
    assert choose_settings("auto", scale) == dataclasses.replace(PRESETS[name], respacing=str(AUTO_STEPS))


def test_a_preset_can_be_overridden():
    assert choose_settings("dpi20", 8, 50).respacing == "50"
    own = choose_settings("auto", 8, 7, tau=0.0, sampler="ddim", eta=0.5)
    assert own == DPISettings(0.0, 1.2, 750.0, sampler="ddim", eta=0.5, respacing="7")
    for wrong, words in (
        ({"name": "x3"}, "unknown preset 'x3'"),
        ({"steps": -3}, "-3 steps"),
        ({"s": 0.0}, "s 0"),
        ({"tau": 900.0}, "omega 500"),
    ):
        with pytest.raises(ValueError, match=words):
            choose_settings(**({"name": "auto", "scale": 4.0} | wrong))


@pytest.mark.parametrize(
    ("low", "scale", "words"),
    [
        ((16, 16), 4, None),
        ((8, 8), 8, None),
        ((15, 13), 4, None),
        ((16, 24), 4, "96 x 64 is not one picture of 64 x 64.* in pieces"),
        ((16, 16), 8, "128 x 128"),
        ((16, 8), 4, "less than a whole one"),
    ],
)
def test_pictures_of_another_shape_than_one_face_are_noticed(low, scale, words):
    warning = size_warning(load_prior("face64"), low, scale)
    assert warning is None if words is None else re.search(words, warning)


def test_a_condition_on_the_grid_goes_on_beyond_the_picture():
    low = torch.rand(2, 1, 5, 7, generator=torch.Generator().manual_seed(0))
    base, sides = grid_condition(low, 4, 2, 8)
    assert sides == (24, 32)
    assert tuple(base.shape) == (2, 1, 12, 16)
    torch.testing.assert_close(base[:, :, :10, 14:], base[:, :, :10, 13:14].expand(-1, -1, -1, 2))
    flat, _ = grid_condition(torch.full((1, 1, 4, 4), 0.75), 4, 2, 8)
    torch.testing.assert_close(flat, torch.full((1, 1, 8, 8), 0.5))
    for scale, k, words in ((1.5, 2, "give 2 or more"), (4, 3, "k 3 does not divide")):
        with pytest.raises(ValueError, match=words):
            grid_condition(low, scale, k, 8)


def test_a_corrector_cuts_large_pictures_into_what_it_was_trained_on(tmp_path):
    one = choose_corrector(str(corrector(tmp_path / "one.safetensors")), 1, 4)
    tiles = one.tiles()
    assert (tiles.size, tiles.overlap) == (64, 16)
    x = torch.rand(1, 1, 66, 100, generator=torch.Generator().manual_seed(0))
    assert tiles(x, 5.0, x).shape == x.shape
    torch.testing.assert_close(
        tiles(x[..., :16, :8], 5.0, x[..., :16, :8]), one(x[..., :16, :8], 5.0, x[..., :16, :8])
    )
    threes = dataclasses.replace(one, k=3).tiles()
    assert threes.size % 3 == threes.overlap % 3 == 0
