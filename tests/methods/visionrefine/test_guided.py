"""Classifier guidance on any prior's levels, and the guided upsampler on pictures of any size."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from tiny_checkpoints import ADM, randomised, tiny

from priorsr.methods.imaging.canvas import TileSettings
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.priors.adm import ADMPrior
from priorsr.methods.priors.classifier import LabelGuidance, NoiseClassifier
from priorsr.methods.visionrefine.guided import (
    NATIVE,
    GuidedSettings,
    class_log_prob,
    guided_upsample,
    guided_upscale,
)
from priorsr.methods.visionrefine.upscalers import GuidedUpscaler
from priorsr.samplers.guidance.classifier import ClassifierGuidance
from priorsr.samplers.karras import Euler
from priorsr.samplers.noise import Noise
from priorsr.samplers.run import run
from priorsr.samplers.schedule import DiscreteSchedule, Level
from priorsr.samplers.transition import DDIM, DDPM

SCHEDULE = DiscreteSchedule.named("linear")
QUICK = GuidedSettings("ddim", "3", classifier_scale=5.0)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def classifier():
    return NoiseClassifier(tiny("tiny_classifier"), SCHEDULE)


@pytest.fixture(scope="module")
def upsampler():
    return ADMPrior(tiny("tiny_upsampler"))


@pytest.mark.parametrize("index", [0, 3, 500, 999])
def test_a_classifier_finds_its_step_on_the_levels_of_any_prior(classifier, index):
    vp, labels = SCHEDULE.table[index], torch.tensor([2, 4])
    ve = Level(vp.sigma / vp.alpha, 1.0, vp.sigma / vp.alpha)
    x = Noise([0, 1])((2, 3, 16, 16))
    published = class_log_prob(classifier.network, labels)(x, vp)
    assert torch.equal(classifier.log_prob(x, vp, labels), published)
    torch.testing.assert_close(classifier.log_prob(x / vp.alpha, ve, labels), published)
    # what the score form adds to eps is the same in both parameterisations
    shift = vp.sigma * ClassifierGuidance(class_log_prob(classifier.network, labels), 7.0).gradient(x, vp)
    guidance = LabelGuidance(classifier, labels, 7.0)
    guidance.begin(x, [])
    torch.testing.assert_close(ve.sigma * guidance.gradient(x / vp.alpha, ve), shift, atol=1e-5, rtol=1e-4)


def test_larger_pictures_are_judged_in_tiles_whatever_their_batch(classifier):
    x, level = Noise([0, 1])((2, 3, 21, 27)), SCHEDULE.table[300]
    gradients = []
    for batch in (1, 3):
        guidance = LabelGuidance(classifier, torch.tensor([1, 3]), 5.0, batch=batch)
        guidance.begin(x, [])
        gradients.append(guidance.gradient(x, level))
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)
    alone = LabelGuidance(classifier, torch.tensor([3]), 5.0)
    alone.begin(x[1:], [])
    torch.testing.assert_close(alone.gradient(x[1:], level), gradients[0][1:], atol=1e-5, rtol=1e-4)
    assert (gradients[0].abs().sum(1) > 0).all()  # every pixel is in a tile
    corner = LabelGuidance(classifier, torch.tensor([1]), 5.0)
    corner.begin(x[:1, :, :16, :16], [])
    assert torch.allclose(
        corner.gradient(x[:1, :, :16, :16], level)[..., :5, :11], gradients[0][:1, :, :5, :11], atol=1e-6
    )  # seen by one tile only


@pytest.mark.parametrize(
    ("shape", "labels", "words"),
    [
        ((1, 4, 16, 16), [0], "pictures of 3 channels"),
        ((1, 3, 8, 16), [0], "tied to 16 x 16"),
        ((3, 3, 16, 16), [0, 1], "one label or as many"),
    ],
)
def test_what_a_classifier_cannot_judge_is_refused_before_the_first_step(classifier, shape, labels, words):
    with pytest.raises(ValueError, match=words):
        LabelGuidance(classifier, torch.tensor(labels)).begin(torch.zeros(shape), [])


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (2, 1, 3, 7), (1, 3, 1, 1)])
@pytest.mark.parametrize("scale", [4, 2.5])
def test_any_picture_is_enlarged(upsampler, classifier, shape, scale):
    result = guided_upscale(upsampler, classifier.network, torch.rand(shape), 1, scale, QUICK)
    assert result.shape == (*shape[:2], *[math.ceil(n * scale) for n in shape[2:]])
    assert 0 <= result.min() <= result.max() <= 1


def test_a_picture_of_the_trained_size_is_what_the_published_method_makes(upsampler, classifier):
    low = torch.rand(2, 3, 4, 4)
    straight = guided_upsample(
        upsampler, classifier.network, low * 2 - 1, torch.tensor([3, 3]), (16, 16), QUICK, Noise([5, 6])
    )
    whole = guided_upscale(upsampler, classifier.network, low, 3, NATIVE, QUICK, seeds=[5, 6])
    torch.testing.assert_close(whole, ((straight + 1) / 2).clamp(0, 1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("batch", [1, 3])
def test_larger_pictures_are_enlarged_in_tiles(upsampler, classifier, batch):
    low, sizes = torch.rand(1, 3, 6, 9), set()
    seen = [
        n.register_forward_pre_hook(lambda _, given: sizes.add(tuple(given[0].shape)))
        for n in (upsampler.network, classifier.network)
    ]
    result = guided_upscale(
        upsampler, classifier.network, low, 2, settings=QUICK, canvas=TileSettings(16, 4, batch)
    )
    for hook in seen:
        hook.remove()
    assert {s[2:] for s in sizes} == {(16, 16)}
    assert max(s[0] for s in sizes) == batch
    assert result.shape == (1, 3, 24, 36)
    single = guided_upscale(
        upsampler, classifier.network, low, 2, settings=QUICK, canvas=TileSettings(16, 4, 1)
    )
    torch.testing.assert_close(result, single, atol=1e-4, rtol=0)


@pytest.mark.parametrize("scale", [NATIVE, 2.5])
def test_pictures_that_are_not_of_the_trained_size_are_warned_of(upsampler, scale):
    """The network sees them enlarged by 4, whatever scale is asked for."""
    upscaler = GuidedUpscaler(upsampler, None, 2, QUICK, TileSettings(16, 4))
    assert upscaler.plan((4, 4), scale).warnings == ()
    (warning,) = upscaler.plan((6, 9), scale).warnings
    assert "36 x 24 is not one picture of 16 x 16" in warning
    assert "in pieces" in warning


def test_mistakes_are_explained(upsampler, classifier):
    low = torch.rand(1, 3, 4, 4)
    with pytest.raises(ValueError, match=r"a class label is needed here: give one of 0\.\.4"):
        guided_upscale(upsampler, classifier.network, low)
    with pytest.raises(ValueError, match=r"outside 0\.\.4"):
        guided_upscale(upsampler, classifier.network, low, 5)
    with pytest.raises(ValueError, match="choose an ADM upsampler"):
        guided_upscale(ADMPrior(build_adm(ADM)), None, low)
    with pytest.raises(ValueError, match="would shrink"):
        guided_upscale(upsampler, None, low, 0, 0.5)
    free = ADMPrior(randomised(build_adm(dataclasses.replace(ADM, superres=True))))
    assert guided_upscale(free, None, low, settings=QUICK).shape == (1, 3, 16, 16)  # nothing needs a label


def test_the_mean_form_refuses_steps_without_noise(classifier):
    x, levels = torch.zeros(1, 3, 16, 16), SCHEDULE.respace("2").levels()
    prior, guidance = ADMPrior(tiny("tiny_adm")), LabelGuidance(classifier, torch.tensor([1]), form="mean")
    for transition in (DDIM(), Euler()):
        with pytest.raises(ValueError, match="draws no noise"):
            run(prior, x, levels, transition, [guidance], Noise(0))
    for transition in (DDIM(1.0), DDPM()):
        assert run(prior, x, levels, transition, [guidance], Noise(0)).isfinite().all()
