"""The variance-exploding schedule and its published Euler-Maruyama steps; the push of classifiers: many,
limited, for a time.
"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from gaussian_prior import GaussianPrior

from priorsr.samplers.denoiser import from_eps
from priorsr.samplers.guidance.classifier import ClassifierGuidance, weighted
from priorsr.samplers.noise import Noise
from priorsr.samplers.run import run
from priorsr.samplers.schedule import CLEAN, DiscreteSchedule, ExplodingSchedule, Level
from priorsr.samplers.sde import EulerMaruyama, ReverseDiffusion, taken
from priorsr.samplers.transition import DDPM

VE = ExplodingSchedule()
AT = Level(0.5, 1.0, 0.5)


class Asked:
    """log p = slope * the sum of x, counting how often it is asked."""

    def __init__(self, slope=1.0):
        self.slope, self.levels = slope, []

    def __call__(self, x, level):
        self.levels.append(level)
        return self.slope * x.flatten(1).sum(1)


@pytest.mark.parametrize("steps", [2, 7, 1000])
def test_levels_walk_the_table_while_the_network_hears_the_time(steps):
    levels = VE.levels(steps)
    assert levels[-1] == CLEAN
    assert [level.sigma for level in levels[:1]] == pytest.approx([348])
    assert levels[-2].sigma == pytest.approx(0.01)
    assert levels[-2].t == pytest.approx(0.01 * 34800**1e-5)
    assert [VE.entry(t, steps) for t in VE.times(steps)] == list(range(steps - 1, -1, -1))
    assert sum(taken(a, b) for a, b in pairwise(levels)) == pytest.approx(348**2)
    assert all(level.sigma == level.t for level in VE.levels(steps, continuous=True))


def test_the_diffusion_is_the_growth_of_the_variance():
    t, dt = 0.4, 1e-6
    assert VE.diffusion(t) ** 2 == pytest.approx(
        (VE.sigma(t + dt) ** 2 - VE.sigma(t - dt) ** 2) / (2 * dt), rel=1e-6
    )


@pytest.mark.parametrize("ends", [(0, 1), (2, 1), (1, math.inf)])
def test_noise_must_ascend(ends):
    with pytest.raises(ValueError, match="does not ascend"):
        ExplodingSchedule(*ends)


@pytest.mark.parametrize("transition", ["euler", "langevin"])
def test_published_steps_reach_the_moments_of_a_gaussian(transition):
    steps, noise = 300, Noise(0)
    sde = ExplodingSchedule(0.01, 50.0)
    prior = GaussianPrior(torch.tensor([[[0.3]]]), torch.tensor([[[0.2]]]))
    chosen = EulerMaruyama(sde.span / steps) if transition == "euler" else ReverseDiffusion(1)
    levels = sde.levels(steps, continuous=transition == "euler")
    end = run(prior, noise((1, 1, 80, 80)) * sde.largest, levels, chosen, noise=noise)
    assert float(end.mean()) == pytest.approx(0.3, abs=0.02)
    assert float(end.std()) == pytest.approx(0.2, abs=0.02)


def test_a_fixed_stride_makes_the_last_step_like_the_others():
    levels = ExplodingSchedule(0.1, 10.0).levels(4, continuous=True)
    prior, steps = GaussianPrior(torch.tensor([[[0.0]]]), torch.tensor([[[1.0]]])), []
    run(
        prior,
        Noise(0)((1, 1, 2, 2)) * 10,
        levels,
        EulerMaruyama(0.25),
        noise=Noise(1),
        on_step=lambda step, x: steps.append(step),
    )
    assert [step.variance / step.cur.sigma**2 for step in steps] == pytest.approx([0.5] * 4)
    assert steps[-1].noise is None
    assert not torch.allclose(steps[-1].mean, steps[-1].pred.x0)


def test_several_classifiers_push_with_their_weights():
    parts = [Asked(1.0), Asked(10.0), Asked(100.0)]
    x = Noise([0, 1])((2, 3, 4, 4))
    guidance = ClassifierGuidance(weighted([(parts[0], 2.0), (parts[1], 0.5), (parts[2], 0.0)]), scale=3.0)
    torch.testing.assert_close(guidance.gradient(x, AT), torch.full_like(x, 3 * (2 + 5)))
    assert [len(p.levels) for p in parts] == [1, 1, 0]
    with pytest.raises(ValueError, match="no classifier has a weight"):
        weighted([(parts[0], 0.0)])


@pytest.mark.parametrize("form", ["score", "mean"])
@pytest.mark.parametrize("sampler", ["vp", "ve"])
def test_outside_the_window_no_classifier_is_asked(form, sampler):
    levels = (
        DiscreteSchedule.named("linear").respace("8").levels()
        if sampler == "vp"
        else ExplodingSchedule(0.05, 20.0).levels(8)
    )
    asked, prior = Asked(), GaussianPrior(torch.zeros(1, 1, 1), torch.ones(1, 1, 1))
    inside = [level for level in levels[:-1] if 0.2 <= level.sigma / level.alpha <= 2.0]
    transition = DDPM("small") if sampler == "vp" else ReverseDiffusion(0)
    start = Noise(0)((1, 1, 4, 4))
    run(prior, start, levels, transition, [ClassifierGuidance(asked, 1.0, form, window=(0.2, 2.0))], Noise(0))
    assert asked.levels == inside
    assert 0 < len(inside) < 8
    never = run(
        prior, start, levels, transition, [ClassifierGuidance(asked, 1.0, form, window=(1e6, 2e6))], Noise(0)
    )
    assert torch.equal(never, run(prior, start, levels, transition, [], Noise(0)))


def test_a_limit_shortens_strong_pushes_of_each_sample_and_keeps_their_direction():
    x = torch.ones(3, 1, 2, 2)
    pred = from_eps(
        x, AT, torch.tensor([1.0, 1.0, 0.0]).view(3, 1, 1, 1) * torch.ones_like(x)
    )  # scores of norm 4, 4 and 0
    slopes = torch.tensor([100.0, 0.001, 0.0])
    guidance = ClassifierGuidance(lambda x, level: (x.flatten(1).sum(1)) * slopes, 1.0, limit=0.25)
    pushed = (pred.eps - guidance.predict(x, AT, pred).eps) / AT.sigma
    torch.testing.assert_close(
        pushed.flatten(1).norm(dim=1), torch.tensor([1.0, 0.002, 0.0]), atol=1e-6, rtol=1e-4
    )
    assert (pushed[0] > 0).all()
    free = ClassifierGuidance(lambda x, level: x.flatten(1).sum(1) * slopes, 1.0)
    torch.testing.assert_close(guidance.predict(x, AT, pred).eps[1], free.predict(x, AT, pred).eps[1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"limit": 0.0}, "lets no push"),
        ({"limit": math.inf}, "limit"),
        ({"window": (2, 1)}, "no noise level"),
    ],
)
def test_impossible_limits_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        ClassifierGuidance(Asked(), **options)
