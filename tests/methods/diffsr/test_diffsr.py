"""Diff-SR: how a descent starts, keeps the input and is consistent with it; any size, and what is told."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import pytest
import torch
from gaussian_prior import COSINE, STD, GaussianPrior, gaussian_errors

from priorsr.methods.diffsr.lost_energy import lost_energy
from priorsr.methods.diffsr.method import (
    DiffSRSettings,
    choose_level,
    diffsr,
    diffsr_upscale,
    spaced_levels,
    start_of,
)
from priorsr.methods.imaging.canvas import TileSettings
from priorsr.methods.imaging.operators import ReduceTo
from priorsr.methods.imaging.resize import Resampler, resize
from priorsr.methods.nets.adm_config import ADMConfig
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.priors.adm import ADMPrior
from priorsr.methods.priors.calibration import Calibration
from priorsr.methods.priors.typicality import denoising_error_ratio, ood_warnings
from priorsr.samplers.guidance.consistency import Consistency
from priorsr.samplers.noise import Noise
from priorsr.samplers.schedule import CLEAN, DiscreteSchedule
from priorsr.samplers.transition import DDIM

CONFIG = ADMConfig(
    image_size=16,
    in_channels=1,
    out_channels=1,
    model_channels=32,
    num_res_blocks=1,
    channel_mult=(1, 2),
    num_head_channels=32,
    unshuffle=2,
)


@pytest.fixture(scope="module")
def prior():
    network = build_adm(CONFIG)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.empty_like(p).normal_(0, 0.05, generator=generator))
    return ADMPrior(
        network.eval().requires_grad_(False),
        COSINE,
        "v",
        Calibration(gaussian_errors(COSINE), max_signature=3.0, max_fidelity=0.05),
    )


def test_surprise_is_one_for_the_priors_own_pictures_and_grows_with_what_it_does_not_expect():
    prior = Exact(torch.nn.Identity(), COSINE, "eps", Calibration(gaussian_errors(COSINE)))
    own = STD * Noise(range(40)).child("pictures")((40, 1, 16, 16))
    found = denoising_error_ratio(prior, own)
    assert sum(found) / len(found) == pytest.approx(1, abs=0.03)
    assert denoising_error_ratio(prior, own[:1]) == found[:1]  # alone as in the batch
    assert min(denoising_error_ratio(prior, 2 * own)) > max(found)


class Exact(ADMPrior):
    """The exact prior of Gaussian pictures, on a schedule."""

    def __call__(self, x, level, cond=None):
        return GaussianPrior(torch.zeros(1, 16, 16), torch.full((1, 16, 16), STD))(x, level)


def test_untypical_pictures_are_told_and_unmeasured_priors_say_nothing(prior):
    low = Noise([0, 1]).child("low")((2, 1, 8, 8)).mul(0.1).add(0.5).clamp(0, 1)
    ratios = denoising_error_ratio(prior, resize(low, (16, 16)).clamp(0, 1) * 2 - 1)
    between = sum(ratios) / 2
    measured = dataclasses.replace(
        prior, measured=dataclasses.replace(prior.measured, typical={1.0: between, 8.0: between})
    )
    told = ood_warnings(measured, low, 2)
    assert [bool(text) for text in told] == [ratio > between for ratio in ratios] != [False, False]
    assert "does not look like" in next(filter(None, told))
    assert ood_warnings(prior, low, 2) == [None, None]
    said = []
    diffsr_upscale(
        measured, low, 2, DiffSRSettings(level=10, steps=1), report=lambda i, text: said.append((i, text))
    )
    assert [i for i, _ in said] == [i for i, text in enumerate(told) if text]


def test_an_edm_prior_borrows_the_ladder_of_the_linear_schedule():
    from priorsr.methods.nets.edm_precond import build_edm
    from priorsr.methods.priors.edm import EDMPrior

    edm = EDMPrior(
        build_edm(
            {
                "img_resolution": 16,
                "img_channels": 1,
                "model_type": "SongUNet",
                "model_channels": 16,
                "channel_mult": [1, 2],
            }
        )
    )
    levels = edm.noise_levels()
    assert all(a.sigma < b.sigma for a, b in pairwise(levels))
    assert {level.alpha for level in levels} == {1.0}
    ratio = DiscreteSchedule.named("linear").table[-1]
    assert levels[-1].sigma == pytest.approx(ratio.sigma / ratio.alpha)
    result = diffsr_upscale(edm, torch.rand(1, 1, 8, 8), 2.0, DiffSRSettings(level=30, steps=2))
    assert result.shape == (1, 1, 16, 16)


def test_a_descent_starts_where_it_is_told_and_takes_as_many_steps():
    levels = spaced_levels(COSINE.table, 399, 20)
    assert [lv.t for lv in levels[:3]] == [399, 379, 359]
    assert len(levels) == 21
    assert levels[-1] == CLEAN
    assert len(spaced_levels(COSINE.table, 4, 20)) == 6
    assert (start_of(COSINE.table, 40), start_of(COSINE.table, 0.001), start_of(COSINE.table, 100)) == (
        399,
        0,
        999,
    )
    with pytest.raises(ValueError, match="between 1 and 1000"):
        spaced_levels(COSINE.table, 1000, 5)


def test_the_level_decides_how_much_of_the_input_stays():
    """Two inputs with the same noise: a gentle run keeps their difference, a strong one forgets it."""
    exact = GaussianPrior(torch.zeros(1, 8, 8), torch.full((1, 8, 8), 0.5))
    x = torch.full((2, 1, 8, 8), 0.1)
    x[1] += 0.5
    left = [
        float((r[1] - r[0]).mean())
        for r in (
            diffsr(exact, x, spaced_levels(COSINE.table, s, 50), noise=Noise([1, 1])) for s in (20, 400, 990)
        )
    ]
    assert left[0] == pytest.approx(0.5, abs=0.02)
    assert left[0] > left[1] > left[2]
    assert abs(left[2]) < 0.01


def test_the_pseudo_inverse_agrees_with_the_measurement_and_changes_nothing_else():
    for size, out in (((24, 18), (6, 9)), ((23, 31), (9, 8))):
        reduction = Resampler(size, out, border="mirror")
        y = torch.rand(2, 1, *out, dtype=torch.float64)
        x = reduction.pseudo_inverse(y)
        torch.testing.assert_close(reduction(x), y)
        dense = reduction(torch.eye(size[0] * size[1], dtype=torch.float64).view(-1, *size)).flatten(1).T
        torch.testing.assert_close(x.flatten(1), (torch.linalg.pinv(dense) @ y.flatten(1).T).T)
    with pytest.raises(ValueError, match="only reductions"):
        Resampler((6, 6), (24, 24), border="mirror").pseudo_inverse(torch.rand(1, 1, 24, 24))


def test_consistency_makes_every_prediction_agree():
    reduction = ReduceTo((4, 4))
    y = torch.rand(1, 1, 4, 4) - 0.5
    exact = GaussianPrior(torch.zeros(1, 16, 16), torch.full((1, 16, 16), STD))
    seen = []
    hook = Consistency(reduction, y)
    start = torch.zeros(1, 1, 16, 16)
    diffsr(
        exact,
        start,
        spaced_levels(COSINE.table, 500, 5),
        DDIM(),
        [hook],
        Noise([0]),
        lambda step, x: seen.append(reduction(step.pred.x0)),
    )
    for reduced in seen:
        torch.testing.assert_close(reduced, y, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [1.6, 2.0, 2.7, 4.0])
def test_the_energy_an_enlargement_misses_is_guessed_from_a_power_law(scale):
    """On pictures that follow one exactly, composed of random phases."""
    size, low = 128, round(128 / scale)
    frequency = torch.fft.fftfreq(size)
    radius = torch.hypot(frequency[:, None], frequency[None]).clamp(min=1 / size)
    noise = Noise(range(20))((20, 1, size, size))
    x = torch.fft.ifft2(torch.fft.fft2(noise) * radius**-1.5).real
    x = x / x.std() * 0.4
    small = resize(x, (low, low))
    true = (resize(small, (size, size)) - x).square().mean((1, 2, 3))
    error = (10 * (lost_energy(small, size / low) / true).log10()).mean()
    assert abs(error) < 2.0, f"{error} dB"


def test_a_scale_of_one_loses_nothing():
    assert lost_energy(torch.rand(2, 1, 16, 16), 1.0).tolist() == [0, 0]


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (2, 1, 7, 5), (1, 3, 13, 9)])
@pytest.mark.parametrize("scale", [2, 2.7])
def test_any_size_and_scale(prior, shape, scale):
    low = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    result = diffsr_upscale(prior, low, scale, DiffSRSettings(steps=3), TileSettings(tile=16, tile_batch=2))
    assert result.shape == (*shape[:2], *(math.ceil(n * scale) for n in shape[-2:]))
    assert torch.isfinite(result).all()


def test_an_image_in_a_batch_is_the_image_alone(prior):
    low = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    low[1] = low[1] * 0.05 + 0.5  # chooses another level
    settings = DiffSRSettings(steps=3, eta=1.0)
    together = diffsr_upscale(prior, low, 2.0, settings, seeds=[5, 6, 7])
    for i in range(3):
        alone = diffsr_upscale(prior, low[i : i + 1], 2.0, settings, seeds=[5 + i])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-5)


def test_full_consistency_gives_back_the_input(prior):
    low = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(3)) * 0.2 + 0.4
    result = diffsr_upscale(prior, low, 2.0, DiffSRSettings(level=20, steps=3, consistency=1.0))
    loose = diffsr_upscale(prior, low, 2.0, DiffSRSettings(level=20, steps=3, consistency=0.0))
    error, before = (
        (Resampler((16, 16), (8, 8), border="mirror")(x) - low).abs().max() for x in (result, loose)
    )
    assert error < 1e-3 < before


def test_the_report_tells_the_level_and_warns_where_none_fits(prior):
    low = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    low[0] = 0.5 + 0.05 * (low[0] - 0.5)
    said = []
    diffsr_upscale(prior, low, 2.0, DiffSRSettings(steps=1), report=lambda i, text: said.append((i, text)))
    assert said[0][0] == 0
    assert "noise level" in said[0][1]
    strict = dataclasses.replace(prior, measured=dataclasses.replace(prior.measured, max_signature=1e-6))
    diffsr_upscale(
        strict, low[1:], 2.0, DiffSRSettings(steps=1), report=lambda i, text: said.append((i, text))
    )
    assert "least bad" in said[-1][1]


def test_wrong_use_is_explained(prior):
    low = torch.rand(1, 1, 8, 8)
    with pytest.raises(ValueError, match="would shrink"):
        diffsr_upscale(prior, low, 0.5)
    with pytest.raises(ValueError, match="never measured"):
        diffsr_upscale(dataclasses.replace(prior, measured=None), low, 2.0)
    with pytest.raises(ValueError, match="level"):
        DiffSRSettings(level=101)
    with pytest.raises(ValueError, match="too small to guess"):
        choose_level(prior, torch.rand(1, 1, 1, 1), 2.0)
    assert (
        diffsr_upscale(
            dataclasses.replace(prior, measured=None), low, 2.0, DiffSRSettings(level=30, steps=1)
        ).shape[-1]
        == 16
    )
