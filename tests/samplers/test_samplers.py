"""The sampling loop: orders of solvers, moments, batches, hooks and what breaks a run."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from gaussian_prior import PRIOR, GaussianPrior, MixturePrior, exploding

from priorsr.samplers.denoiser import from_eps, from_v, from_x0
from priorsr.samplers.guidance.measurement import MeasurementGuidance
from priorsr.samplers.hooks import ClipX0
from priorsr.samplers.karras import DPMpp2M, Euler, Heun
from priorsr.samplers.noise import Noise
from priorsr.samplers.run import Hook, run
from priorsr.samplers.schedule import CLEAN, DiscreteSchedule, Level, c_noise, geometric_sigmas, sigma_levels
from priorsr.samplers.sde import EulerMaruyama, ReverseDiffusion
from priorsr.samplers.transition import DDIM, DDPM, Renoise

VP = DiscreteSchedule.named("linear")


def double(prior):
    return GaussianPrior(prior.mean.double(), prior.std.double())


@pytest.mark.parametrize(("transition", "order"), [(Euler(), 1), (DDIM(), 1), (Heun(), 2), (DPMpp2M(), 2)])
@pytest.mark.parametrize("family", ["VE", "VP"])
def test_deterministic_solvers_converge_at_their_order(transition, order, family):
    x = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    errors = []
    for steps in (40, 80, 160):
        levels = exploding(steps)[:-1] if family == "VE" else chain(steps)
        start = x * levels[0].sigma
        end = run(double(PRIOR), start, levels, transition)
        exact = double(PRIOR).flow(start, levels[0])
        last = levels[-1]
        spread = (last.alpha**2 * PRIOR.std**2 + last.sigma**2).sqrt().double()
        exact_end = last.alpha * PRIOR.mean.double() + (exact - PRIOR.mean) / PRIOR.std * spread
        errors.append((end - exact_end).abs().max().item())
    rates = [math.log2(a / b) for a, b in pairwise(errors)]
    assert rates[-1] > order - 0.35, (errors, rates)
    assert errors[-1] < 0.05


def chain(steps):
    """Levels of a continuous variance-preserving schedule, evenly spaced in its angle."""
    angles = torch.linspace(1.5, 0.05, steps + 1, dtype=torch.float64).tolist()
    return [Level(a, math.cos(a), math.sin(a)) for a in angles]


STOCHASTIC = [
    (DDPM("small"), lambda n: VP.respace(str(4 * n)).levels()),
    (DDPM("large"), lambda n: VP.respace(str(4 * n)).levels()),
    (DDIM(1.0), lambda n: VP.respace(str(4 * n)).levels()),
    (DDIM(0.5), lambda n: exploding(n)),
    (DDPM("small"), lambda n: exploding(n)),
    (Heun(churn=20.0, s_max=50.0, c_noise=c_noise), lambda n: exploding(n)),
    (ReverseDiffusion(), lambda n: sigma_levels(geometric_sigmas(n, 0.01, 80), float)),
    (ReverseDiffusion(1, 0.1), lambda n: sigma_levels(geometric_sigmas(n, 0.01, 80), float)),
    (EulerMaruyama(), lambda n: sigma_levels(geometric_sigmas(n, 0.01, 80), float)),
]


@pytest.mark.parametrize(
    ("transition", "levels"), STOCHASTIC, ids=lambda v: type(v).__name__ if not callable(v) else ""
)
def test_random_transitions_converge_to_the_moments(transition, levels):
    def error(steps):
        path = levels(steps)
        noise = Noise(0)
        start = noise((1, 3, 160, 160)) * math.hypot(path[0].alpha, path[0].sigma)
        end = run(PRIOR, start, path, transition, noise=noise)
        mean, std = end.mean((0, 2, 3)), end.std((0, 2, 3))
        return max(
            (mean - PRIOR.mean.flatten()).abs().max().item(),
            (std / PRIOR.std.flatten() - 1).abs().max().item(),
        )

    coarse, fine = error(10), error(250)
    assert fine < 0.03, (coarse, fine)
    assert fine < coarse or coarse < 0.02


def test_renoising_is_ddim_at_eta_0_and_draws_near_the_mean_at_eta_1():
    levels = chain(40)
    x = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * levels[0].sigma
    torch.testing.assert_close(run(PRIOR, x, levels, Renoise(0.0)), run(PRIOR, x, levels, DDIM()))
    starts = Noise(range(400)).child("x")((400, 3, 4, 4)) * levels[0].sigma
    ends = run(PRIOR, starts, [*levels, CLEAN], Renoise(1.0), noise=Noise(range(400)))
    mean, std = ends.mean((0, 2, 3)), ends.std((0, 2, 3))
    torch.testing.assert_close(mean, PRIOR.mean.flatten(), atol=0.03, rtol=0)
    variance = 0.0  # of x0: every step shrinks what it sees, x0 of the step before under independent noise
    for level in levels:
        gain = level.alpha * PRIOR.std**2 / (level.alpha**2 * PRIOR.std**2 + level.sigma**2)
        variance = gain**2 * (level.alpha**2 * variance + level.sigma**2)
    torch.testing.assert_close(std, variance.sqrt().flatten(), rtol=0.05, atol=0)


def test_a_mixture_keeps_both_peaks():
    prior = MixturePrior(1.0, 0.1)
    noise = Noise(3)
    end = run(prior, noise((1, 1, 100, 100)) * 80, exploding(60), Heun())
    assert abs((end > 0).float().mean() - 0.5) < 0.03
    assert abs(end.abs().mean() - 1) < 0.02
    assert abs(end.abs().std() - 0.1) < 0.02


@pytest.mark.parametrize("transition", [Euler(), Heun(), DPMpp2M(), DDIM(), DDIM(0.7), DDPM("small")])
def test_parameterisations_of_one_prior_give_the_same_samples(transition):
    table = VP.respace("20").levels()
    twin = [Level(0.0, 1.0, level.sigma / level.alpha) for level in table[:-1]] + [CLEAN]
    x = Noise(1)((1, 3, 8, 8)).double()
    ends = []
    for levels in (table, twin):
        noise = Noise(2)
        start = x * levels[0].alpha / table[0].alpha  # the same point in both
        ends.append(run(double(PRIOR), start, levels, transition, noise=noise))
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-7, atol=1e-7)


def test_network_calls_are_counted():
    levels = exploding(10)
    x = Noise(0)((1, 3, 4, 4)) * 80
    for transition, calls in (
        (Euler(), 10),
        (DDIM(), 10),
        (DPMpp2M(), 10),
        (Heun(), 19),
        (DDPM("small"), 10),
        (ReverseDiffusion(2), 30),
    ):
        prior = GaussianPrior(PRIOR.mean, PRIOR.std)
        run(prior, x, levels, transition, noise=Noise(0))
        assert prior.calls == calls, transition


@pytest.mark.parametrize(
    "transition",
    [
        DDPM("small"),
        DDIM(0.5),
        Renoise(0.7),
        Heun(churn=5, c_noise=c_noise),
        ReverseDiffusion(1),
        EulerMaruyama(),
    ],
)
def test_a_sample_alone_equals_the_sample_in_a_batch(transition):
    levels = exploding(6)
    hooks = [MeasurementGuidance(lambda x0: x0[..., ::2], torch.zeros(1, 3, 6, 3), 0.3), ClipX0(-2, 2)]
    start = Noise([4, 5]).child("x")((2, 3, 6, 6)) * 80
    together = run(PRIOR, start, levels, transition, hooks, Noise([4, 5]))
    alone = run(PRIOR, start[1:], levels, transition, hooks, Noise(5))
    assert torch.equal(together[1:], alone)


def test_predictions_agree_however_they_are_made():
    x, level = torch.rand(2, 3, 4, 4, dtype=torch.float64), Level(5, 0.8, 0.6)
    eps = torch.rand_like(x)
    pred = from_eps(x, level, eps)
    torch.testing.assert_close(level.alpha * pred.x0 + level.sigma * pred.eps, x)
    torch.testing.assert_close(from_x0(x, level, pred.x0).eps, eps)
    v = level.alpha * eps - level.sigma * pred.x0
    torch.testing.assert_close(from_v(x, level, v).x0, pred.x0)


def test_the_step_that_breaks_is_named():
    def breaking(x, level, cond=None):
        return from_x0(x, level, x * (float("inf") if level.sigma < 20 else 0.5))

    with pytest.raises(FloatingPointError, match=r"step 3 of 6, at sigma 7\.332.*full precision"):
        run(breaking, torch.ones(1, 1, 2, 2), exploding(6), Euler())


def test_hooks_run_in_order_at_their_places_and_begin_once():
    seen = []

    class Recorder(Hook):
        def __init__(self, name):
            self.name = name

        def begin(self, x, levels):
            seen.append((self.name, "begin"))

        def predict(self, x, level, pred):
            seen.append((self.name, "predict"))
            return pred

        def mean(self, step):
            seen.append((self.name, "mean"))
            return step.mean

        def state(self, step, x):
            seen.append((self.name, "state"))
            return x

    run(PRIOR, torch.zeros(1, 3, 2, 2), exploding(1), Euler(), [Recorder("a"), Recorder("b")])
    assert seen == [(n, w) for w in ("begin", "predict", "mean", "state") for n in "ab"]


def test_on_step_reports_and_may_cancel():
    reported = []

    def on_step(step, x):
        reported.append(step.i)
        if step.i == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(PRIOR, torch.zeros(1, 3, 2, 2), exploding(5), Euler(), on_step=on_step)
    assert reported == [0, 1, 2]


def test_gradients_work_inside_inference_mode():
    with torch.inference_mode():
        guidance = MeasurementGuidance(lambda x0: x0[..., ::2], torch.zeros(1, 3, 4, 2), 0.3)
        x = torch.ones(1, 3, 4, 4)
        prior = GaussianPrior(PRIOR.mean.clone(), PRIOR.std.clone())
    with torch.inference_mode(False):
        prior = GaussianPrior(prior.mean.clone(), prior.std.clone())
    with torch.inference_mode():
        end = run(prior, x, exploding(3), Heun(), [guidance])
    assert torch.isfinite(end).all()
