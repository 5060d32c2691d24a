"""Templates that need no file run as they are dropped, and show their effect."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import priorsr
from priorsr.methods.imaging.resize import resize, size_of
from priorsr.methods.samples import HUNG, damaged, sample

TEMPLATES = Path(__file__).parents[3] / "example_workflows"


def run(name):
    return priorsr.graph.load(TEMPLATES / f"{name}.json").run()


def error(x, truth):
    return (x - truth).square().mean().item()


@pytest.mark.parametrize(
    ("name", "picture", "side", "shown"),
    [("diffsr_face", "face", 32, 3), ("dpi_face", "face", 16, 3), ("srdg_face", "face", 16, 3)],
)
def test_faces_are_sharper_than_bicubic_ones_and_no_further_from_the_original(name, picture, side, shown):
    result = next(iter(run(name).saved.values()))[0].pixels
    size = tuple(n // shown for n in size_of(result))
    result = resize(result, size, method="nearest")
    truth = resize(sample(picture), size).clamp(0, 1)
    blurred = resize(resize(truth, (side, side)), size).clamp(0, 1)
    assert error(result, truth) < 1.12 * error(blurred, truth)  # half a decibel
    energy = [x.diff(dim=-1).square().mean() for x in (result, blurred, truth)]
    assert energy[0] > 1.2 * energy[1]


def test_the_faces_of_a_photograph_are_restored():
    result = run("restore_faces_in_photo")
    original, old = sample("small faces"), damaged(sample("small faces"), "old")
    (restored,) = next(iter(result.saved.values()))
    assert size_of(restored.pixels) == size_of(original)
    larger = resize(old, size_of(original)).clamp(0, 1)
    for top, left, side in HUNG:
        after, before, truth = (
            x[..., top : top + side, left : left + side] for x in (restored.pixels, larger, original)
        )
        assert error(after, truth) < 0.95 * error(before, truth)


def test_a_photograph_is_upscaled_and_measured():
    result = run("srcnn_upscale")
    (larger,) = next(iter(result.saved.values()))
    assert size_of(larger.pixels) == tuple(2 * n for n in size_of(sample("photograph")))
    assert result.shown


def test_faces_are_masked():
    result = run("face_masks")
    masks = [p for pictures in result.shown.values() for p in pictures]
    assert len(masks) >= 3
    assert any(0.01 < (p.pixels > 0.5).float().mean() < 0.5 for p in masks)


def test_faces_go_through_any_nodes():
    result = run("faces_through_any_nodes")
    original = sample("small faces")
    larger = resize(damaged(original, "old"), size_of(original)).clamp(0, 1)
    restored = result.saved["8"][0].pixels
    assert size_of(restored) == size_of(original)
    for top, left, side in HUNG:
        after, before, truth = (
            x[..., top : top + side, left : left + side] for x in (restored, larger, original)
        )
        assert error(after, truth) < 0.95 * error(before, truth)
    assert len(result.shown["9"]) == len(result.shown["10"]) >= len(HUNG)
    assert result.texts["14"]


def test_two_results_are_judged():
    """SRCNN is nearer to the picture than bicubic enlargement is, by what the template itself tells."""
    texts = run("judge_two_results").texts
    first, second = (float(re.search(r"PSNR (\d+\.\d+)", texts[key][0])[1]) for key in ("12", "13"))
    assert first > second + 0.3


def test_a_region_is_restored_and_nothing_else():
    result = run("restore_a_region")
    (restored,), (mask,) = result.saved["5"], result.shown["7"]
    original, old = sample("portrait"), damaged(sample("portrait"), "old")
    larger = resize(old, size_of(restored.pixels)).clamp(0, 1)
    truth = resize(original, size_of(restored.pixels)).clamp(0, 1)
    region = resize(mask.pixels[:, :1], size_of(restored.pixels), method="nearest").expand(1, 3, -1, -1)
    inside, outside = region > 0.99, torch.nn.functional.max_pool2d(region, 33, 1, 16) == 0
    assert error(restored.pixels[inside], truth[inside]) < 0.97 * error(larger[inside], truth[inside])
    assert (restored.pixels[outside] - larger[outside]).abs().max() < 2 / 255
