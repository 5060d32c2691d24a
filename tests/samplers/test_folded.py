"""Guidance folded into predictions leads samplers that know no hooks where `run` goes with them."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from fill import tensor
from gaussian_prior import MixturePrior

from priorsr.methods.dpi.conditions import Conditions
from priorsr.methods.imaging.operators import ReduceTo
from priorsr.samplers.denoiser import from_x0
from priorsr.samplers.guidance.classifier import ClassifierGuidance
from priorsr.samplers.guidance.consistency import Consistency
from priorsr.samplers.guidance.folded import Folded
from priorsr.samplers.guidance.measurement import MeasurementGuidance
from priorsr.samplers.hooks import ClipX0
from priorsr.samplers.karras import DPMpp2M, Euler, Heun
from priorsr.samplers.noise import Noise
from priorsr.samplers.run import run
from priorsr.samplers.schedule import CLEAN, Level, karras_sigmas, sigma_levels
from priorsr.samplers.transition import DDIM

PRIOR = MixturePrior(0.5, 0.2)
LEVELS = sigma_levels(karras_sigmas(12, 0.05, 20.0), float)
Y = 0.3 * tensor("measurement", (1, 3, 3, 3))
REDUCE = ReduceTo((3, 3))


def pull(x, level):
    return -((x / level.alpha - 0.2) ** 2).flatten(1).sum(1)


HOOKS = {
    "clip": lambda: [ClipX0(-0.4, 0.3)],
    "consistency": lambda: [Consistency(REDUCE, Y, 0.8)],
    "classifier": lambda: [ClassifierGuidance(pull, 0.3)],
    "measurement": lambda: [MeasurementGuidance(REDUCE, Y, 0.4)],
    "conditions": lambda: [Conditions(0.3 * tensor("low", (1, 3, 6, 6)), tau=400, uniform=3)],
    "two gradients": lambda: [MeasurementGuidance(REDUCE, Y, 0.2), MeasurementGuidance(REDUCE, -Y, 0.1)],
    "all": lambda: [ClipX0(), *HOOKS["classifier"](), *HOOKS["consistency"](), *HOOKS["measurement"]()],
}


def start():
    return 20 * Noise([1, 2])((2, 3, 12, 12))


def native(folded, x, levels, transition):
    """A sampler that only asks for predictions."""
    with torch.no_grad():
        folded.begin(x)
        return run(folded, x, levels, transition)


@pytest.mark.parametrize("transition", [Euler(), DDIM()], ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("name", HOOKS)
def test_euler_and_ddim_arrive_where_hooks_lead(name, transition):
    x = start()
    wanted = run(PRIOR, x, LEVELS, transition, HOOKS[name]())
    found = native(Folded(PRIOR, HOOKS[name](), LEVELS), x, LEVELS, transition)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert (found - run(PRIOR, x, LEVELS, transition)).abs().max() > 0.02


@pytest.mark.parametrize("transition", [DPMpp2M(), Heun()], ids=lambda t: type(t).__name__)
def test_second_order_solvers_agree_with_the_measurement_as_much_as_with_hooks(transition):
    def residual(x):
        return (REDUCE(x) - Y).square().mean().sqrt()

    x, hooks = start(), [MeasurementGuidance(REDUCE, Y, 3.0)]
    levels = sigma_levels(karras_sigmas(40, 0.05, 20.0), float)
    free, hooked = run(PRIOR, x, levels, transition), run(PRIOR, x, levels, transition, hooks)
    found = native(Folded(PRIOR, hooks, levels), x, levels, transition)
    assert residual(found) < 1.3 * residual(hooked)
    assert residual(hooked) < 0.7 * residual(free)


@pytest.mark.parametrize("name", ["clip", "consistency", "measurement", "all"])
def test_a_flow_is_led_as_euler_leads_it(name):
    """The same hooks in a run of ours, whose Euler takes any alpha, against a native step in sigma."""
    hooks = [hook for hook in HOOKS[name]() if not isinstance(hook, ClassifierGuidance)]
    sigmas = torch.linspace(0.98, 0.1, 10).tolist()
    levels = [*(Level(s, 1 - s, s) for s in sigmas), CLEAN]
    x = start() / 20
    wanted = run(PRIOR, x, levels, Euler(), hooks)
    folded = Folded(PRIOR, hooks, levels)
    with torch.no_grad():
        folded.begin(x)
        for now, after in pairwise(levels):
            x = x + (after.sigma - now.sigma) * (x - folded(x, now).x0) / now.sigma
    torch.testing.assert_close(x, wanted, rtol=1e-4, atol=1e-4)


def test_a_call_between_two_levels_moves_the_state_as_far():
    """What a midpoint rule asks: its change of x0 moves Euler over the whole interval by the hook's."""

    class Shift(ClipX0):
        def predict(self, x, level, pred):
            return pred

        def state(self, step, x):
            return x + 0.01

    folded = Folded(PRIOR, [Shift()], LEVELS)
    high, low = LEVELS[3], LEVELS[4]
    for sigma in (high.sigma, (high.sigma + low.sigma) / 2, low.sigma * 1.1):
        level, x = Level(sigma, 1.0, sigma), start()
        change = folded(x, level).x0 - PRIOR(x, level).x0
        assert (change * (high.sigma - low.sigma) / sigma).mean().item() == pytest.approx(0.01, rel=1e-3)


def test_a_gradient_may_go_on_through_what_is_folded():
    """One folded guidance around another, and around a run with hooks of its own."""
    x, outer = start(), MeasurementGuidance(REDUCE, -Y, 0.2)
    inner = Folded(PRIOR, [MeasurementGuidance(REDUCE, Y, 0.3)], LEVELS)
    inner.begin(x)
    hooked = run(inner, x, LEVELS, Euler(), [outer])
    twice = native(Folded(inner, [outer], LEVELS), x, LEVELS, Euler())
    torch.testing.assert_close(twice, hooked, rtol=1e-4, atol=1e-4)
    assert not inner(x, LEVELS[0]).x0.requires_grad


def test_the_mean_of_random_steps_is_refused():
    folded = Folded(PRIOR, [ClassifierGuidance(pull, 1.0, form="mean")], LEVELS)
    with pytest.raises(ValueError, match="choose score, or give this guidance to Sampler"):
        folded.begin(start())


def test_an_empty_chain_changes_nothing():
    x, level = start(), LEVELS[2]
    torch.testing.assert_close(Folded(PRIOR, [], LEVELS)(x, level).x0, PRIOR(x, level).x0)
    torch.testing.assert_close(from_x0(x, level, PRIOR(x, level).x0).eps, PRIOR(x, level).eps)
