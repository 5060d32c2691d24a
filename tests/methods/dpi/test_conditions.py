from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from dpi_runs import VP, Watch, constant, picture, watched
from gaussian_prior import GaussianPrior

from priorsr.methods.dpi.conditions import PAPER, RELEASED, Conditions
from priorsr.methods.dpi.masks import base_condition, fixed_mask, on_grid
from priorsr.methods.dpi.timestep import corrector_time, original_step
from priorsr.samplers.karras import DPMpp2M, Euler, Heun
from priorsr.samplers.noise import Noise
from priorsr.samplers.run import run
from priorsr.samplers.schedule import CLEAN, DiscreteSchedule, c_noise, geometric_sigmas, sigma_levels
from priorsr.samplers.sde import EulerMaruyama, ReverseDiffusion
from priorsr.samplers.transition import DDIM, DDPM, Posterior

# the clock


def test_steps_mean_the_same_under_any_respacing():
    for rule in ("", "20", "ddim25", "250"):
        chain = VP.respace(rule)
        assert [original_step(level) for level in chain.table] == list(chain.timesteps)
    fine = DiscreteSchedule.named("linear", 4000).table
    assert original_step(fine[-1]) == pytest.approx(999, abs=5)
    exploding = sigma_levels([level.sigma / level.alpha for level in reversed(VP.table)], c_noise)[:-1]
    assert [original_step(level) for level in exploding] == list(range(999, -1, -1))
    assert original_step(sigma_levels([1e4], float)[0]) == 999
    assert corrector_time(VP.table[0]) == 1
    assert corrector_time(VP.table[999]) == 999


@pytest.mark.parametrize("rule", ["10", "50", "ddim20", "200"])
def test_stages_and_weights_do_not_move_with_the_number_of_steps(rule):
    levels, tau = VP.respace(rule).levels(), 400
    watch = watched(Conditions(picture(1, 3, 4, 4), constant(0.3), tau=tau, omega=800), levels=levels)
    seconds = [mask is not None for mask in watch.masks]
    assert seconds == [level.t + 1 <= tau for level in levels[:-1]]
    assert any(seconds)
    assert not all(seconds)
    for (step, before), after, mask, y in zip(watch.before, watch.after, watch.masks, watch.y, strict=True):
        if mask is None or not mask.any():
            continue
        pull = (on_grid(after, 2) - on_grid(before, 2)) / (step.nxt.alpha * (y - on_grid(step.pred.x0, 2)))
        assert pull[mask.expand_as(pull)].median().item() == pytest.approx((step.cur.t + 1) / 800, rel=1e-3)


# fusion


def test_a_tau_of_zero_has_no_second_stage_and_one_beyond_all_no_first():
    low = picture(1, 3, 4, 4)
    assert all(m is None for m in watched(Conditions(low, None, tau=0)).masks)
    assert all(m is not None for m in watched(Conditions(low, None, tau=1000, omega=1000)).masks)


@pytest.mark.parametrize("k", [2, 4])
def test_the_first_stage_sets_the_grid_and_nothing_else(k):
    low = picture(1, 3, 2, 3)
    watch = watched(Conditions(low, None, tau=0, k=k), size=(8, 12))
    base, mask = base_condition(low, (8, 12), k), fixed_mask((8, 12), k)
    for (step, before), after in zip(watch.before, watch.after, strict=True):
        noisy = on_grid(before - step.nxt.alpha * step.pred.x0, k)
        torch.testing.assert_close(on_grid(after, k), step.nxt.alpha * base + noisy)
        assert torch.equal(after[~mask.expand_as(after)], before[~mask.expand_as(after)])
    torch.testing.assert_close(on_grid(watch.after[-1], k), base)


def test_the_second_stage_moves_chosen_pixels_only_and_less_and_less():
    watch = watched(
        Conditions(picture(1, 3, 8, 8), constant(0.4), tau=1000, omega=1000, s=0.3), size=(16, 16)
    )
    assert torch.equal(watch.after[0][..., 1::2, :], watch.before[0][1][..., 1::2, :])
    for (_, before), after, mask in list(zip(watch.before, watch.after, watch.masks, strict=True))[1:]:
        moved = (on_grid(after, 2) != on_grid(before, 2)).any(1, keepdim=True)
        assert not (moved & ~mask).any()


def test_noising_is_the_papers_equations_whatever_the_transition():
    """Where x0 is not clipped, Eq. 6 and 7 written out and the transition-agnostic form agree."""
    cur, nxt = VP.table[500], VP.table[450]
    prior = GaussianPrior(torch.zeros(3, 1, 1), torch.full((3, 1, 1), 0.3))
    conditions = Conditions(picture(1, 3, 4, 4), None, tau=0)
    watch, x = Watch(conditions), picture(1, 3, 8, 8, seed=4)
    run(prior, x, [cur, nxt], DDPM(), [watch], Noise(3))
    ((step, _),), q, y = watch.before, Posterior.between(cur, nxt), watch.y[0]
    noisy = cur.alpha * y + cur.sigma * on_grid(step.pred.eps, 2)
    expected = q.on_x0 * y + q.on_x * noisy + math.sqrt(q.variance) * on_grid(step.noise, 2)
    torch.testing.assert_close(on_grid(watch.after[0], 2), expected)
    literal = dataclasses.replace(conditions, convention=dataclasses.replace(PAPER, raw_noise=True))
    torch.testing.assert_close(run(prior, x, [cur, nxt], DDPM(), [literal], Noise(3)), watch.after[0])


def test_the_corrector_sees_the_fused_state_at_unit_variance_and_is_told_its_step():
    calls = []

    def record(x, t, y_T):
        calls.append((x.clone(), t, y_T))
        return y_T

    sigmas = [level.sigma / level.alpha for level in reversed(VP.respace("8").table)]
    low, mask = picture(1, 3, 4, 4), fixed_mask((8, 8), 2).expand(1, 3, 8, 8)
    for levels, transition in (
        (VP.respace("8").levels(), DDPM()),
        (sigma_levels(sigmas, c_noise), DDIM(0.5)),
    ):
        calls.clear()
        watch = watched(Conditions(low, record, tau=500), levels=levels, transition=transition)
        assert len(calls) == len(levels) - 2  # what would be refined after the last step is never used
        for (x, t, y_T), after, (step, _) in zip(calls, watch.after, watch.before, strict=False):
            torch.testing.assert_close(
                on_grid(x, 2), on_grid(after, 2) / math.hypot(step.nxt.alpha, step.nxt.sigma)
            )
            assert not x[~mask].any()
            assert torch.equal(on_grid(y_T, 2), low)
            assert t == corrector_time(step.nxt)
    times = []
    watched(Conditions(low, lambda x, t, y_T: times.append(t) or y_T, tau=500), levels=VP.levels(20))
    assert times == list(range(20, 0, -1))  # with no step left out, the paper's t


@pytest.mark.parametrize(("refine", "tau"), [(True, 1000), (False, 1000), (False, 0)])
def test_without_refinement_the_corrector_answers_for_the_base_condition_at_every_step(refine, tau):
    """Its answer is what holds the picture next, and nothing that it said is shown to it again (Table 4)."""
    seen, low = [], picture(1, 3, 8, 8)
    record = lambda x, t, y_T: seen.append(on_grid(x, 2).clone()) or torch.full_like(x, 0.2)  # noqa: E731
    conditions = Conditions(low, record, tau=tau, omega=1000, refine=refine)
    watch = watched(conditions, size=(16, 16), levels=VP.levels(3))
    assert len(seen) == 3
    for i, (x, (step, before), after, y) in enumerate(
        zip(seen, watch.before, watch.after, watch.y, strict=False)
    ):
        assert torch.equal(y, torch.full_like(y, 0.2) if i else low)  # its answers are used all the same
        alone = on_grid(before - step.nxt.alpha * step.pred.x0, 2) + step.nxt.alpha * low
        torch.testing.assert_close(x, on_grid(after, 2) if refine else alone)
        assert refine or i == 0 or not torch.allclose(x, on_grid(after, 2))


def test_weights_may_be_switched_off():
    watch = watched(
        Conditions(picture(1, 3, 8, 8), constant(0.4), tau=1000, omega=1000, s=0.2, weighted=False),
        size=(16, 16),
    )
    (step, _), after, mask, y = watch.before[-1], watch.after[-1], watch.masks[-1], watch.y[-1]
    assert step.nxt == CLEAN
    chosen = mask.expand(-1, 3, -1, -1)
    torch.testing.assert_close(on_grid(after, 2)[chosen], y[chosen])


def test_the_released_convention_leaves_the_last_step_alone_and_counts_from_zero():
    low = picture(1, 3, 4, 4)
    released = watched(Conditions(low, None, tau=3, omega=10, convention=RELEASED["ddim"]), transition=DDIM())
    assert [m is not None for m in released.masks] == [False] * 4 + [True] * 3 + [
        False
    ]  # indices 3, 2, 1; nothing at 0
    assert released.after[-1] is released.before[-1][1]
    paper = watched(
        Conditions(low, None, tau=300, omega=1000), transition=DDIM(), levels=VP.respace("10").levels()
    )
    assert [m is not None for m in paper.masks] == [False] * 7 + [True] * 3


def test_second_stages_of_few_and_many_steps_hold_alike():
    """A prior that always answers 0.5: how far the conditions pull the picture towards 0.25 does not depend
    on the respacing.
    """
    prior = GaussianPrior(torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 1e-4))
    ends = {}
    for steps, compound in ((1000, True), (100, True), (100, False)):
        watch = watched(
            Conditions(picture(1, 3, 16, 16), None, tau=300, omega=3000, s=0.5, compound=compound),
            prior,
            (32, 32),
            VP.respace(str(steps)).levels(),
            DDIM(),
        )
        ends[steps, compound] = watch
    density = {
        key: torch.stack([m.float() for m in watch.masks if m is not None]).mean()
        for key, watch in ends.items()
    }
    assert density[100, True] > 1.5 * density[100, False]
    assert density[100, False] == pytest.approx(float(density[1000, True]), rel=0.1)


# any prior, any transition, any batch


def exploding(steps=8):
    return sigma_levels(geometric_sigmas(steps, 0.02, 50.0), c_noise)


@pytest.mark.parametrize(
    "transition", [DDPM(), DDIM(), DDIM(0.7), Euler(), Heun(), DPMpp2M()], ids=lambda t: str(t)
)
@pytest.mark.parametrize("family", ["VP", "VE"])
def test_every_transition_of_the_core_carries_conditions(transition, family):
    prior = GaussianPrior(torch.zeros(3, 1, 1), torch.full((3, 1, 1), 0.5))
    levels = VP.respace("8").levels() if family == "VP" else exploding()
    low = picture(2, 3, 4, 5)
    for tau in (0, 400):
        end = watched(
            Conditions(low, constant(0.25), tau=tau), prior, (8, 10), levels, transition, batch=2
        ).after[-1]
        assert torch.isfinite(end).all()
        if tau == 0:
            torch.testing.assert_close(on_grid(end, 2), torch.full((2, 3, 4, 5), 0.25), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "transition", [EulerMaruyama(), ReverseDiffusion(1)], ids=["Euler-Maruyama", "Langevin"]
)
def test_the_transitions_of_exploding_priors_carry_conditions(transition):
    prior = GaussianPrior(torch.zeros(3, 1, 1), torch.full((3, 1, 1), 0.5))
    end = watched(
        Conditions(picture(1, 3, 4, 4), constant(0.25), tau=0),
        prior,
        levels=exploding(),
        transition=transition,
    ).after[-1]
    torch.testing.assert_close(on_grid(end, 2), torch.full((1, 3, 4, 4), 0.25), atol=1e-4, rtol=0)


@pytest.mark.parametrize("wrong", [{"tau": 1001}, {"s": 0}, {"omega": 100}])
def test_the_hook_refuses_them_too(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Conditions(torch.zeros(1, 3, 4, 4), **wrong)
