"""Guidance of the loop: measurements, classifiers, CFG, and all of them in tiles."""

from __future__ import annotations

import math

import pytest
import torch
from gaussian_prior import PRIOR, GaussianPrior, exploding

from priorsr.samplers.denoiser import Cond, from_x0
from priorsr.samplers.guidance.cfg import CFG
from priorsr.samplers.guidance.classifier import ClassifierGuidance
from priorsr.samplers.guidance.measurement import MeasurementGuidance
from priorsr.samplers.hooks import ClipX0, DynamicThreshold
from priorsr.samplers.karras import Euler
from priorsr.samplers.noise import Noise
from priorsr.samplers.run import run
from priorsr.samplers.schedule import DiscreteSchedule, Level
from priorsr.samplers.tiled import Tiled
from priorsr.samplers.transition import DDIM, DDPM

VP = DiscreteSchedule.named("linear")


def test_measurement_guidance_lowers_the_residual_and_leaves_the_rest_at_the_prior():
    prior = GaussianPrior(torch.zeros(1, 1, 1), torch.ones(1, 1, 1))
    y = torch.full((1, 1, 64, 32), 1.5)
    guidance = MeasurementGuidance(lambda x0: x0[..., :32], y, scale=6.0)
    noise = Noise(0)
    end = run(prior, noise((1, 1, 64, 64)) * 80, exploding(100), DDIM(1.0), [guidance], noise)
    free = run(prior, Noise(0)((1, 1, 64, 64)) * 80, exploding(100), DDIM(1.0), noise=Noise(7))
    assert guidance.residuals[-1] < 0.35 * (free[..., :32] - y).norm()
    assert abs(end[..., 32:].mean()) < 0.06
    assert abs(end[..., 32:].std() - 1) < 0.06


def test_measurements_that_do_not_fit_are_refused():
    for y in (torch.zeros(1, 3, 5, 5), torch.zeros(3, 3, 4, 2)):
        with pytest.raises(ValueError, match="must agree"):
            run(
                PRIOR,
                torch.zeros(2, 3, 4, 4),
                exploding(3),
                Euler(),
                [MeasurementGuidance(lambda x0: x0[..., ::2], y)],
            )


@pytest.mark.parametrize(
    ("form", "transition"), [("score", DDIM()), ("score", DDPM("small")), ("mean", DDPM("small"))]
)
def test_a_classifier_moves_the_mean_as_bayes_says(form, transition):
    prior = GaussianPrior(torch.zeros(1, 1, 1), torch.ones(1, 1, 1))

    def log_prob(x, level):
        """log N(1; E[x0 | x], Var[x0 | x] + 1): the exact likelihood of a noisy observation of x0 at 1."""
        spread = level.alpha**2 + level.sigma**2
        mean, variance = level.alpha * x / spread, level.sigma**2 / spread + 1
        return -((1 - mean) ** 2 / (2 * variance)).flatten(1).sum(1)

    noise = Noise(0)
    levels = VP.respace("250").levels()
    end = run(
        prior, noise((1, 1, 64, 64)), levels, transition, [ClassifierGuidance(log_prob, 1.0, form)], noise
    )
    assert abs(end.mean() - 0.5) < 0.05
    assert abs(end.std() - math.sqrt(0.5)) < 0.05


def test_cfg_is_one_call_and_linear():
    class Shifted:
        calls = 0

        def __call__(self, x, level, cond=None):
            self.calls += 1
            return from_x0(x, level, cond.flat["mean"].view(-1, 1, 1, 1).expand_as(x))

    den = Shifted()
    guided = CFG(den, Cond(flat={"mean": torch.tensor([1.0])}), 3.0)
    pred = guided(torch.zeros(1, 1, 2, 2), Level(0, 1, 2), Cond(flat={"mean": torch.tensor([2.0])}))
    assert den.calls == 1
    torch.testing.assert_close(pred.x0, torch.full((1, 1, 2, 2), 4.0))
    torch.testing.assert_close(pred.eps, torch.full((1, 1, 2, 2), -2.0))
    with pytest.raises(ValueError, match="positive condition"):
        guided(torch.zeros(1, 1, 2, 2), Level(0, 1, 2))


def test_clipping_and_thresholding_keep_the_identity():
    x, level = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 3, Level(0, 0.9, 0.4)
    for hook in (ClipX0(), DynamicThreshold(0.9)):
        pred = hook.predict(x, level, from_x0(x, level, x * 1.5))
        assert pred.x0.abs().max() <= 1
        torch.testing.assert_close(level.alpha * pred.x0 + level.sigma * pred.eps, x)


@pytest.mark.parametrize("levels", [exploding(8), VP.respace("8").levels()], ids=["VE", "VP"])
def test_guidance_tiling_and_cfg_work_together(levels):
    """DPS, a classifier, CFG and tiles in one run; every gradient passes through the tiles."""

    class Labelled:
        def __call__(self, x, level, cond=None):
            return from_x0(
                x,
                level,
                cond.flat["mean"].view(-1, 1, 1, 1) * 0.5 + 0.3 * x / math.hypot(level.alpha, level.sigma),
            )

    positive, negative = Cond(flat={"mean": torch.tensor([1.0])}), Cond(flat={"mean": torch.tensor([-1.0])})
    y = torch.full((1, 1, 12, 12), 0.7)
    dps = MeasurementGuidance(lambda x0: x0[..., ::2, ::2], y, 0.5)
    hooks = [ClipX0(), ClassifierGuidance(lambda x, level: -(x**2).flatten(1).sum(1), 0.01), dps]
    den = Tiled(CFG(Labelled(), negative, 2.0), 16, 8, 1)
    start = Noise(0)((1, 1, 24, 24)) * math.hypot(levels[0].alpha, levels[0].sigma)
    end = run(den, start, levels, DDIM(), hooks, cond=positive)
    assert torch.isfinite(end).all()
    assert dps.residuals[-1] < dps.residuals[0]
