from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from dpi_runs import CONFIG, CRT, FEW, VP, picture, tiny_corrector, tiny_prior, watched
from fill import filled

from priorsr.methods.dpi.conditions import RELEASED, Conditions
from priorsr.methods.dpi.corrector import Corrector
from priorsr.methods.dpi.masks import UniformDraws, on_grid
from priorsr.methods.dpi.method import PRESETS, DPISettings, dpi, dpi_upscale, levels_of, preset
from priorsr.methods.imaging.canvas import TileSettings
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.nets.corrector import CorrectorUNet
from priorsr.methods.nets.edm_precond import build_edm
from priorsr.methods.priors.adm import ADMPrior
from priorsr.methods.priors.edm import EDMPrior
from priorsr.samplers.guidance.measurement import MeasurementGuidance
from priorsr.samplers.hooks import ClipX0
from priorsr.samplers.noise import Noise
from priorsr.samplers.run import run
from priorsr.samplers.transition import DDIM, DDPM

EDM = {
    "img_resolution": 16,
    "img_channels": 3,
    "label_dim": 0,
    "model_type": "SongUNet",
    "model_channels": 16,
    "channel_mult": [1, 2],
    "num_blocks": 1,
    "attn_resolutions": [8],
}


@pytest.fixture(scope="module")
def prior():
    return tiny_prior()


@pytest.fixture(scope="module")
def corrector():
    return tiny_corrector()


def test_the_method_translates_settings_for_the_released_convention(prior, corrector):
    settings = dataclasses.replace(PRESETS["dpi20"], respacing="ddim5", convention="released")
    low = picture(1, 3, 8, 8)
    hook = Conditions(
        low,
        corrector,
        350 / 200,
        1.4,
        1500 / 200,
        convention=RELEASED["ddim"],
        uniform=UniformDraws(Noise(3).child("dpi")),
    )
    noise = Noise(3)
    by_hand = run(prior, noise((1, 3, 16, 16)), VP.respace("ddim5").levels(), DDIM(), [hook, ClipX0()], noise)
    assert torch.equal(dpi(prior, corrector, low, (16, 16), settings, Noise(3)), by_hand)


def test_a_corrector_that_knows_the_truth_is_followed(prior):
    truth = picture(1, 3, 16, 16, seed=7).clamp(-1, 1)
    for strength in (FEW, dataclasses.replace(FEW, tau=0.0)):
        result = dpi(prior, lambda x, t, y_T: truth, torch.zeros(1, 3, 8, 8), (16, 16), strength)
        free = dpi(prior, None, torch.zeros(1, 3, 8, 8), (16, 16), strength)
        distance = lambda x: (on_grid(x - truth, 2)).abs().mean().item()  # noqa: E731
        assert distance(result) < (1 if strength.tau else 1e-5) * distance(free)


def edm_prior():
    return EDMPrior(filled(build_edm(EDM)))


def test_the_method_runs_on_adm_and_edm_priors(prior, corrector):
    low = picture(1, 3, 4, 4)
    for one in (prior, edm_prior()):
        for sampler in ("ddpm", "ddim"):
            result = dpi(one, corrector, low, (16, 16), dataclasses.replace(FEW, sampler=sampler))
            assert result.shape == (1, 3, 16, 16)
            assert torch.isfinite(result).all()
    assert len(levels_of(edm_prior(), FEW)) == 7
    with pytest.raises(ValueError, match="set respacing to a number"):
        levels_of(edm_prior(), DPISettings())


def test_a_batch_of_sixteen_equals_sixteen_singles(prior, corrector):
    low, seeds = picture(16, 3, 4, 4), list(range(16))
    low = low * torch.linspace(0.1, 1, 16).view(-1, 1, 1, 1)
    together = dpi(prior, corrector, low, (16, 16), FEW, Noise(seeds))
    for i in (0, 7, 15):
        alone = dpi(prior, corrector, low[i : i + 1], (16, 16), FEW, Noise(seeds[i : i + 1]))
        torch.testing.assert_close(together[i : i + 1], alone, atol=5e-3, rtol=1e-3)
    assert (together[:1] - dpi(prior, corrector, low[:1], (16, 16), FEW, Noise(99))).abs().max() > 0.01


def test_the_mask_draws_from_a_stream_of_its_own(prior):
    """Adding conditions does not change the noise of the run, and a run repeats."""
    noise = Noise(5)
    drawn = []
    dpi(
        prior,
        None,
        picture(1, 3, 4, 4),
        (16, 16),
        FEW,
        noise,
        on_step=lambda step, x: drawn.append(step.noise),
    )
    again = Noise(5)
    start = again((1, 3, 16, 16))
    for got in drawn[:-1]:
        assert torch.equal(got, again(start.shape))
    hook = Conditions(picture(1, 3, 4, 4), None, uniform=5, tau=1000, omega=1000, s=0.2)
    first, second = (torch.cat(watched(hook).masks) for _ in range(2))
    assert torch.equal(first, second)


def test_nothing_is_differentiated(prior, corrector):
    low = picture(1, 3, 4, 4)
    assert not Conditions(low).needs_grad
    grad = []
    record = lambda x, t, y_T: grad.append(torch.is_grad_enabled()) or corrector(x, t, y_T)  # noqa: E731
    guidance = MeasurementGuidance(lambda x0: x0.mean((2, 3)), torch.zeros(1, 3), 0.1)
    end = dpi(prior, record, low, (16, 16), FEW, hooks=(guidance,))  # composes with what needs a gradient
    assert torch.isfinite(end).all()
    assert grad
    assert not any(grad)
    assert not end.requires_grad


# pictures


@pytest.mark.parametrize(
    ("shape", "scale"), [((1, 3, 8, 8), 2), ((2, 3, 5, 7), 4), ((1, 1, 6, 3), 2.7), ((1, 3, 1, 2), 8)]
)
def test_any_picture_and_scale(prior, corrector, shape, scale):
    low = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    result = dpi_upscale(prior, corrector, low, scale, FEW, TileSettings(16, 6))
    assert result.shape == (*shape[:2], *[math.ceil(round(n * scale, 6)) for n in shape[2:]])
    assert 0 <= result.min() <= result.max() <= 1


def test_a_luma_prior_restores_luma_and_keeps_the_colours(photo):
    grey = ADMPrior(filled(build_adm(dataclasses.replace(CONFIG, in_channels=1, out_channels=2))))
    small = Corrector(
        filled(CorrectorUNet(dataclasses.replace(CRT, in_channels=1, out_channels=1, unshuffle=2)))
    )
    low = photo[..., :8, :8]
    result = dpi_upscale(grey, small, low, 2, FEW, seeds=[1])
    difference = result - torch.nn.functional.interpolate(low, scale_factor=2, mode="bicubic", antialias=True)
    inside = ((result > 0) & (result < 1)).all(1)[0]
    torch.testing.assert_close(
        (difference[:, 0] - difference[:, 1])[0][inside], torch.zeros(int(inside.sum())), atol=0.02, rtol=0
    )


def test_presets_are_the_papers():
    found = {name: (p.tau, p.s, p.omega) for name, p in PRESETS.items()}
    assert found == {
        "x4": (100, 1.4, 500),
        "x8": (300, 1.2, 750),
        "x16": (500, 1.0, 1000),
        "real": (500, 1.0, 1000),
        "dpi20": (350, 1.4, 1500),
    }
    assert {scale: preset(scale) for scale in (2, 4, 8, 16)} == {
        2: PRESETS["x4"],
        4: PRESETS["x4"],
        8: PRESETS["x8"],
        16: PRESETS["x16"],
    }
    assert DPISettings() == PRESETS["x8"]
    assert all(p.k == 2 and p.convention == "paper" for p in PRESETS.values())


# bad input


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"tau": 1200.0}, "tau 1200"),
        ({"tau": -1.0}, "tau"),
        ({"omega": 200.0}, "at least tau"),
        ({"omega": math.inf}, "omega"),
        ({"s": 0.0}, "positive number"),
        ({"s": -1.0}, "s -1"),
        ({"k": 1}, "k 1"),
        ({"sampler": "euler"}, "not one of ddpm, ddim"),
        ({"convention": "mine"}, "not one of paper, released"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        DPISettings(**wrong)


def test_mistakes_are_explained_before_the_first_step(prior, corrector):
    low, calls = picture(1, 3, 8, 8), []
    counted = lambda *a: calls.append(1) or prior(*a)  # noqa: E731
    grey = Corrector(filled(CorrectorUNet(dataclasses.replace(CRT, in_channels=1, out_channels=1))))
    other, scaled = dataclasses.replace(corrector, k=4), dataclasses.replace(corrector, scale=8)
    for one, size, words in (
        (grey, (16, 16), "for 1 channels"),
        (other, (16, 16), "trained with k 4"),
        (None, (17, 16), "does not divide"),
    ):
        with pytest.raises(ValueError, match=words):
            dpi(prior, one, low, size, FEW, denoiser=counted)
    with pytest.raises(ValueError, match="larger than the grid"):
        dpi(prior, None, low, (8, 8), FEW, denoiser=counted)
    with pytest.raises(ValueError, match="they must agree"):
        run(
            counted,
            picture(3, 3, 16, 16),
            VP.respace("2").levels(),
            DDPM(),
            [Conditions(picture(2, 3, 8, 8))],
            Noise(range(3)),
        )
    for one, scale, words in (
        (scaled, 4, "trained for x8, not x4"),
        (corrector, 1.5, "give 2 or more"),
        (grey, 2, "for 1 channels"),
    ):
        with pytest.raises(ValueError, match=words):
            dpi_upscale(prior, one, low.abs(), scale, FEW)
    with pytest.raises(ValueError, match="tile of 8 is smaller"):
        dpi_upscale(
            prior,
            Corrector(filled(CorrectorUNet(dataclasses.replace(CRT, unshuffle=8)))),
            low.abs(),
            2,
            FEW,
            TileSettings(8, 0),
        )
    assert not calls
