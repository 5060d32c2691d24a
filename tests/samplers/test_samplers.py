from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from gaussian_prior import GaussianPrior, MixturePrior

from priorsr.samplers.denoiser import Cond, Prediction, from_eps, from_v, from_x0
from priorsr.samplers.guidance.cfg import CFG
from priorsr.samplers.guidance.classifier import ClassifierGuidance
from priorsr.samplers.guidance.measurement import MeasurementGuidance
from priorsr.samplers.hooks import ClipX0, DynamicThreshold
from priorsr.samplers.karras import DPMpp2M, Euler, Heun
from priorsr.samplers.noise import Noise
from priorsr.samplers.run import Hook, run
from priorsr.samplers.schedule import (
    BETAS,
    CLEAN,
    DiscreteSchedule,
    Level,
    c_noise,
    geometric_sigmas,
    karras_sigmas,
    respaced,
    sigma_levels,
)
from priorsr.samplers.sde import EulerMaruyama, ReverseDiffusion
from priorsr.samplers.tiled import Tiled, starts
from priorsr.samplers.transition import DDIM, DDPM, Posterior, Renoise

PRIOR = GaussianPrior(
    torch.tensor([0.3, -0.5, 1.0]).view(3, 1, 1), torch.tensor([0.2, 0.7, 1.3]).view(3, 1, 1)
)
VP = DiscreteSchedule.named("linear")


def exploding(steps, smallest=0.01, largest=80.0):
    return sigma_levels(karras_sigmas(steps, smallest, largest), c_noise)


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


def test_posterior_is_that_of_the_tables():
    table = VP.respace("50")
    for i in (1, 7, 49):
        q = Posterior.between(table.table[i], table.table[i - 1])
        assert q.on_x0 == pytest.approx(table.posterior_mean_coef1[i].item(), rel=1e-9)
        assert q.on_x == pytest.approx(table.posterior_mean_coef2[i].item(), rel=1e-9)
        assert q.variance == pytest.approx(table.posterior_variance[i].item(), rel=1e-9)
        assert q.beta == pytest.approx(table.betas[i].item(), rel=1e-9)


def test_predictions_agree_however_they_are_made():
    x, level = torch.rand(2, 3, 4, 4, dtype=torch.float64), Level(5, 0.8, 0.6)
    eps = torch.rand_like(x)
    pred = from_eps(x, level, eps)
    torch.testing.assert_close(level.alpha * pred.x0 + level.sigma * pred.eps, x)
    torch.testing.assert_close(from_x0(x, level, pred.x0).eps, eps)
    v = level.alpha * eps - level.sigma * pred.x0
    torch.testing.assert_close(from_v(x, level, v).x0, pred.x0)


@pytest.mark.parametrize("name", sorted(BETAS))
def test_schedules_lose_the_signal_monotonically(name):
    schedule = DiscreteSchedule.named(name)
    sigmas = [level.sigma for level in schedule.table]
    assert sigmas == sorted(sigmas)
    assert 0 < sigmas[0] < 0.2
    assert sigmas[-1] > 0.98
    assert schedule.nearest(sigmas[300] / schedule.table[300].alpha) == 300


def test_respacing_rules():
    assert respaced(1000, "20")[:3] == [0, 53, 105]
    assert respaced(1000, "ddim20")[-1] == 950
    assert respaced(10, "3,2") == [0, 2, 4, 5, 9]
    assert respaced(10, [5]) == [0, 2, 4, 7, 9]
    assert respaced(7, "") == list(range(7))
    for rule in ("abc", "0", "-3", "ddim", "5,,5", "1.5"):
        with pytest.raises(ValueError, match="not understood"):
            respaced(1000, rule)
    with pytest.raises(ValueError, match="no whole stride"):
        respaced(1000, "ddim999")
    with pytest.raises(ValueError, match="at most 500"):
        respaced(1000, "501,10")
    with pytest.raises(ValueError, match="cannot start"):
        VP.levels(1000)


def test_bad_levels_are_refused():
    for sigmas in ([1.0, 2.0], [1.0, 1.0], [], [0.0], [float("nan")], [-1.0]):
        with pytest.raises(ValueError, match="sigmas must"):
            sigma_levels(sigmas, c_noise)
    with pytest.raises(ValueError, match="at least two levels"):
        run(PRIOR, torch.zeros(1, 3, 2, 2), [CLEAN], Euler())
    with pytest.raises(ValueError, match="give the run a Noise"):
        run(PRIOR, torch.zeros(1, 3, 2, 2), exploding(3), DDPM())
    for transition in (ReverseDiffusion(), EulerMaruyama(), Heun(churn=1.0, c_noise=c_noise)):
        with pytest.raises(ValueError, match="variance-exploding"):
            run(PRIOR, torch.zeros(1, 3, 2, 2), VP.respace("5").levels(), transition, noise=Noise(0))
    with pytest.raises(FloatingPointError, match="step 1 of 3, at sigma 80"):
        run(PRIOR, torch.full((1, 3, 2, 2), float("nan")), exploding(3), Euler())


def test_the_step_that_breaks_is_named():
    def breaking(x, level, cond=None):
        return from_x0(x, level, x * (float("inf") if level.sigma < 20 else 0.5))

    with pytest.raises(FloatingPointError, match=r"step 3 of 6, at sigma 7\.332.*full precision"):
        run(breaking, torch.ones(1, 1, 2, 2), exploding(6), Euler())


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


class Convolving:
    """A prior that sees its neighbours and a spatial condition, to tell tiles apart."""

    def __init__(self, reach):
        self.kernel = torch.ones(1, 1, 2 * reach + 1, 2 * reach + 1) / (2 * reach + 1) ** 2
        self.sizes = []

    def __call__(self, x, level, cond=None):
        self.sizes.append(tuple(x.shape))
        reach = self.kernel.shape[-1] // 2
        x0 = torch.nn.functional.conv2d(
            torch.nn.functional.pad(x + cond.spatial["map"], [reach] * 4, mode="replicate"), self.kernel
        )
        return Prediction(x0, (x - x0) / level.sigma)


@pytest.mark.parametrize("size", [(40, 40), (33, 57), (16, 70), (12, 12)])
@pytest.mark.parametrize("batch", [1, 3, 50])
def test_tiles_blend_without_a_seam_and_whatever_their_batch(size, batch):
    x, spatial = torch.rand(2, 1, *size), torch.rand(2, 1, *size)
    level, cond = Level(0, 1, 1), Cond(spatial={"map": spatial})
    constant = Tiled(Convolving(1), 16, 8, batch)(
        torch.full_like(x, 0.4), level, Cond(spatial={"map": torch.zeros_like(x)})
    )
    torch.testing.assert_close(constant.x0, torch.full_like(x, 0.4))
    whole = Convolving(0)(x, level, cond)
    tiled = Tiled(Convolving(0), 16, 8, batch)(x, level, cond)
    torch.testing.assert_close(tiled.x0, whole.x0)
    torch.testing.assert_close(tiled.x0, Tiled(Convolving(0), 16, 8, 1)(x, level, cond).x0)
    inner = Convolving(0)
    Tiled(inner, 16, 8, batch)(x, level, cond)
    assert all(s[0] <= 2 * batch and max(s[2:]) <= 16 for s in inner.sizes)


def test_gradients_through_tiles_do_not_depend_on_their_batch():
    x, level, cond = (
        torch.rand(1, 1, 40, 33),
        Level(0, 1, 1),
        Cond(spatial={"map": torch.zeros(1, 1, 40, 33)}),
    )
    gradients, calls = [], []
    for batch in (1, 100):
        inner, start = Convolving(2), x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(
            Tiled(inner, 16, 8, batch)(start, level, cond).x0.square().sum(), start
        )
        gradients.append(gradient)
        calls.append(len(inner.sizes))
    torch.testing.assert_close(*gradients)
    assert calls == [2 * len(starts(40, 16, 8)) * len(starts(33, 16, 8)), 1]


def test_tiles_reach_the_end_and_overlap():
    assert starts(100, 40, 10) == [0, 30, 60]
    assert starts(101, 40, 10) == [0, 30, 60, 61]
    assert starts(30, 40, 10) == [0]
    with pytest.raises(ValueError, match="does not fit"):
        starts(100, 40, 40)


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
