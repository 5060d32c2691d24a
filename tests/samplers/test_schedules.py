"""Schedules and levels: tables, respacing, and what is no ladder."""

from __future__ import annotations

import pytest
import torch
from gaussian_prior import PRIOR, exploding

from priorsr.samplers.karras import Euler, Heun
from priorsr.samplers.noise import Noise
from priorsr.samplers.run import run
from priorsr.samplers.schedule import BETAS, CLEAN, DiscreteSchedule, c_noise, respaced, sigma_levels
from priorsr.samplers.sde import EulerMaruyama, ReverseDiffusion
from priorsr.samplers.transition import DDPM, Posterior

VP = DiscreteSchedule.named("linear")


def test_posterior_is_that_of_the_tables():
    table = VP.respace("50")
    for i in (1, 7, 49):
        q = Posterior.between(table.table[i], table.table[i - 1])
        assert q.on_x0 == pytest.approx(table.posterior_mean_coef1[i].item(), rel=1e-9)
        assert q.on_x == pytest.approx(table.posterior_mean_coef2[i].item(), rel=1e-9)
        assert q.variance == pytest.approx(table.posterior_variance[i].item(), rel=1e-9)
        assert q.beta == pytest.approx(table.betas[i].item(), rel=1e-9)


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
