from __future__ import annotations

import json
import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from priorsr.methods.degrade import PRESETS, Recipe, degrade, preset
from priorsr.methods.degrade.presets import FaceRanges, dpi, srdg
from priorsr.methods.degrade.steps import (
    Blur,
    GaussianNoise,
    Jpeg,
    OneOf,
    PoissonNoise,
    Resample,
    Sequence,
    Sinc,
    SpeckleNoise,
    Webp,
)
from priorsr.methods.imaging.filters import blur, gaussian, sinc
from priorsr.methods.imaging.resize import resize

NAMES = sorted(PRESETS)


@pytest.mark.parametrize("name", NAMES)
def test_image_and_seed_decide_whatever_the_batch(name, photo):
    batch = torch.cat([photo.flip(2), photo, photo])
    together, drawn = degrade(batch, preset(name), [7, 3, 4])
    alone, again = degrade(photo, preset(name), [3])
    assert torch.equal(together[1:2], alone)
    assert drawn[1] == again[0]
    if name not in ("bicubic", "srdg"):
        assert not torch.equal(together[1], together[2])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(4))
def test_what_was_drawn_replays_from_json(name, seed, photo):
    result, drawn = degrade(photo, preset(name), [seed])
    replayed = Recipe.from_json(drawn[0].to_json())
    assert replayed == drawn[0]
    assert torch.equal(replayed(photo[0]), result[0])
    assert torch.equal(
        degrade(photo, replayed, [99])[0], result
    )  # another seed changes nothing that is fixed
    assert Recipe.from_json(preset(name).to_json()) == preset(name)


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from(NAMES), st.integers(0, 2**63))
@settings(max_examples=80, deadline=None)
def test_any_size_works_and_the_input_is_not_changed(height, width, name, seed):
    x = torch.rand(1, random.Random(seed).choice((1, 3)), height, width)
    before = x.clone()
    result, _ = degrade(x, preset(name), [seed])
    assert torch.equal(x, before)
    assert torch.isfinite(result).all()
    same = name.startswith("dpi") or name == "srdg"
    assert result.shape[-2:] == (
        (height, width) if same else (max(1, round(height / 4)), max(1, round(width / 4)))
    )


def test_the_face_ranges_are_those_of_the_levels(photo):
    for seed in range(60):
        steps = dpi("severe").draw(seed).steps
        assert 1 <= steps[0].sigma <= 17
        assert 1 <= steps[0].sigma_y <= 17
        assert steps[0].kernel in (41, 43, 45, 47, 49)
        assert 8 <= steps[1].factor <= 16
        assert 3 <= steps[2].sigma <= 20
        assert 30 <= steps[3].quality <= 90
    factors = [dpi("heavy").draw(seed).steps[1].factor for seed in range(400)]
    assert abs(sum(factors) / 400 - 17) < 1  # the factor itself is uniform, not its inverse
    with pytest.raises(ValueError, match="unknown face degradation level 'extreme'"):
        dpi("extreme")
    custom = dpi(ranges=FaceRanges(r=2, kernel=5, sigma=1, quality=90, delta=0))
    assert custom.draw(0).steps[1].factor == 2


def test_srdg_is_bilinear_down_and_bicubic_up_unclipped(photo):
    x = photo[..., :48, :64]
    small = resize(x, (6, 8), method="bilinear")
    assert torch.equal(degrade(x, srdg(8), [0])[0], resize(small, (48, 64)))


def test_oval_and_round_kernels_come_in_their_shares():
    drawn = [Blur(isotropic=0.3).draw(random.Random(seed)) for seed in range(500)]
    assert abs(sum(d.isotropic for d in drawn) / 500 - 0.3) < 0.06
    assert all((d.sigma == d.sigma_y) == bool(d.isotropic) for d in drawn)


def test_one_of_draws_by_weight_and_leaves_the_rest_undone():
    choice = OneOf((Jpeg(50), Webp(50)), (0.5, 0.2))
    kinds = [type(choice.draw(random.Random(s))).__name__ for s in range(1000)]
    assert abs(kinds.count("Jpeg") / 1000 - 0.5) < 0.05
    assert abs(kinds.count("Webp") / 1000 - 0.2) < 0.05
    assert kinds.count("Sequence") == 1000 - kinds.count("Jpeg") - kinds.count("Webp")


@pytest.mark.parametrize(
    "kernel",
    [
        gaussian(9, 2),
        gaussian(9, 3, 1, 0.5, 2.0, "generalised"),
        gaussian(9, 3, 1, 0.5, 1.5, "plateau"),
        sinc(9, 2),
    ],
)
def test_kernels_sum_to_one_and_are_symmetric(kernel):
    assert kernel.sum().item() == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(kernel, kernel.flip(0, 1))


def test_gaussian_has_its_standard_deviations_and_angle():
    kernel, axis = gaussian(61, 6, 3).double(), torch.arange(61.0, dtype=torch.float64) - 30
    assert math.sqrt((kernel.sum(0) * axis**2).sum()) == pytest.approx(6, rel=1e-3)
    assert math.sqrt((kernel.sum(1) * axis**2).sum()) == pytest.approx(3, rel=1e-3)
    torch.testing.assert_close(gaussian(21, 4, 2, math.pi / 2), gaussian(21, 4, 2).T)


def test_sinc_passes_low_and_stops_high_frequencies():
    x = torch.arange(200.0)
    for frequency, gain in ((0.3, 1.0), (2.6, 0.0)):
        wave = torch.cos(frequency * x).expand(1, 60, 200)
        out = blur(wave, sinc(41, 1.4))[0, 30, 50:150]
        assert out.abs().max().item() == pytest.approx(gain, abs=0.1)


def test_noises_have_their_deviation():
    grey = torch.full((3, 200, 200), 0.5)
    size = (200, 200)
    assert (GaussianNoise(20, seed=1)(grey, size) - grey).std().item() * 255 == pytest.approx(20, rel=0.02)
    assert (SpeckleNoise(0.1, seed=1)(grey, size) - grey).std().item() == pytest.approx(0.05, rel=0.02)
    gradient = torch.linspace(0.2, 0.8, 200).expand(3, 200, 200)
    shot = PoissonNoise(1.0, seed=1)(gradient, size) - gradient
    assert shot[..., 150:].std() > shot[..., :50].std() > 0
    together = GaussianNoise(20, 1.0, seed=1)(grey, size)
    assert torch.equal(together[0], together[1])


def test_ranges_and_choices_must_be_drawn_first(photo):
    for step in (
        Blur(),
        Sinc(),
        Resample((0.5, 1)),
        GaussianNoise(),
        PoissonNoise(),
        SpeckleNoise(),
        Jpeg(),
        Webp(),
    ):
        with pytest.raises(ValueError, match="draw the recipe"):
            step(photo[0], (53, 71))
    with pytest.raises(ValueError, match="draw it before"):
        OneOf((Jpeg(5),), (1.0,))(photo[0], (53, 71))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Blur(sigma=(3, 1)), "smaller value first"),
        (lambda: Blur(sigma=0), "must lie within"),
        (lambda: Jpeg(101), "must lie within 1 .. 100"),
        (lambda: Resample(methods=("cubic",)), "unknown resize method"),
        (lambda: OneOf((Jpeg(5),), (0.9, 0.1)), "one weight for each"),
        (lambda: preset("nothing"), "unknown degradation"),
        (lambda: preset("bicubic", 0.5), "give 1 to 64"),
        (lambda: gaussian(4, 1), "odd size"),
        (lambda: gaussian(5, 0), "more than 0"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("[]", "incomplete"),
        ('{"name": "a"}', "incomplete"),
        ('{"name": "a", "steps": [{"step": "Melt"}]}', "unknown step 'Melt'"),
        ('{"name": "a", "steps": [{"step": "Jpeg", "quantity": 3}]}', "Jpeg has no setting quantity"),
        ('{"name": "a", "steps": [{"step": "Jpeg", "quality": "high"}]}', "quality cannot be"),
    ],
)
def test_broken_recipes_are_explained(text, message):
    with pytest.raises(ValueError, match=message):
        Recipe.from_json(text)


def test_batches_that_would_differ_in_size_are_refused(photo):
    recipe = Recipe("any size", (Resample((0.3, 0.9)),))
    with pytest.raises(ValueError, match="different sizes"):
        degrade(photo.expand(4, -1, -1, -1), recipe, [0, 1, 2, 3])
    with pytest.raises(ValueError, match="as many seeds"):
        degrade(photo, recipe, [1, 2])
    with pytest.raises(ValueError, match="NaN"):
        degrade(photo * float("nan"), recipe, [1])


def test_json_is_plain(photo):
    content = json.loads(preset("real-world").to_json())
    assert content["name"] == "real-world x4"
    assert {s["step"] for s in content["steps"]} <= {"OneOf", "Jpeg"}
    assert torch.equal(Sequence(())(photo[0], (1, 1)), photo[0])
