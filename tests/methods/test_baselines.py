"""DDNM, ILVR, RePaint, time travel and projection alone, on priors whose answers are known."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from gaussian_prior import GaussianPrior

from priorsr.methods.ddnm.method import DDNMSettings, NullSpace, ddnm
from priorsr.methods.ddrm.method import DDRMSettings, ddrm
from priorsr.methods.ilvr.method import ILVRSettings, ilvr, low_pass
from priorsr.methods.imaging.operators import ReduceTo
from priorsr.methods.imaging.resize import resize, size_of
from priorsr.methods.imaging.svd import SeparableSVD, reduction_matrix
from priorsr.methods.metrics.fidelity import psnr
from priorsr.methods.priors.measured import Measured
from priorsr.methods.registry import method_named
from priorsr.methods.repaint.method import RePaintSettings, repaint, sampled_mask
from priorsr.samplers.denoiser import from_x0
from priorsr.samplers.noise import Noise
from priorsr.samplers.run import run
from priorsr.samplers.schedule import DiscreteSchedule
from priorsr.samplers.transition import DDPM, Posterior
from priorsr.samplers.travel import travel

SIDE, SMALL = (12, 12), (4, 4)


class Spaced(GaussianPrior):
    """With the levels that methods ask a prior for."""

    def spaced_levels(self, rule):
        return DiscreteSchedule.named("linear").respace(rule).levels()


@pytest.fixture
def prior():
    return Spaced(Noise(0)((1, *SIDE)) * 0.2, torch.full((1, *SIDE), 0.15))


def task(count, sides=SIDE, first=0):
    return Measured(sides, sides, Noise(range(first, first + count)))


@pytest.mark.parametrize("operator", ["bicubic", "average"])
@pytest.mark.parametrize(
    ("method", "kind"), [(ddnm, DDNMSettings), (ddrm, DDRMSettings)], ids=["ddnm", "ddrm"]
)
def test_ddnm_and_ddrm_reach_the_posterior_mean(prior, operator, method, kind):
    """Of independent pixels of one spread: the prior's mean where nothing is measured, y where it is."""
    count, matrix = 256, reduction_matrix(operator, 12, 4, 12)
    y = matrix @ (torch.rand(1, 1, *SIDE, generator=torch.Generator().manual_seed(1)) - 0.5) @ matrix.mT
    svd = SeparableSVD.of(matrix, matrix, y)
    mean = prior.mean[None]
    seen = svd.values > 0
    expected = svd.pixels(torch.where(seen, svd.measured(y), svd.spectral(mean)))
    done = method(prior, y.expand(count, -1, -1, -1), task(count), kind(operator, respacing="40"))
    torch.testing.assert_close(matrix @ done @ matrix.mT, y.expand(count, -1, -1, -1), rtol=0, atol=2e-3)
    apart = done.mean(0, keepdim=True) - expected
    # five standard errors of the mean, and what rounding leaves where nothing varies
    assert (apart.abs() <= 5 * done.std(0) / count**0.5 + 2e-3).all()


@pytest.mark.parametrize(("noise", "eta"), [(0.0, 0.85), (0.1, 1.0), (2.0, 1.0)])
def test_states_of_ddnm_are_the_clean_picture_plus_the_noise_of_their_level(noise, eta):
    """For a prior that knows the picture the noise of the measurement is part of the step's (Eq. 19); exactly
    where nothing of the state's own noise is kept, which holds some of the measurement's already.
    """
    count, x0 = 4096, torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    matrix = reduction_matrix("average", 4, 2, 4)
    svd = SeparableSVD.of(matrix, matrix, matrix)
    draw = Noise(range(count))
    y = matrix @ x0 @ matrix.mT + noise * draw((count, 1, 2, 2))
    levels = DiscreteSchedule.named("linear").respace("12").levels()
    states = []
    run(
        lambda x, level, cond: from_x0(x, level, x0.expand_as(x)),
        levels[0].alpha * x0 + levels[0].sigma * draw((count, 1, 4, 4)),
        levels,
        NullSpace(svd, y, noise, eta),
        noise=draw,
        on_step=lambda step, x: states.append((step.nxt, x)),
    )
    for level, x in states[:-1]:
        off = svd.spectral(x - level.alpha * x0) / level.sigma
        torch.testing.assert_close(off.std(0), torch.ones(1, 4, 4), rtol=0, atol=0.06)
        torch.testing.assert_close(off.mean(0), torch.zeros(1, 4, 4), rtol=0, atol=0.08)
    if noise:  # at the end nothing of it is left
        torch.testing.assert_close(states[-1][1], x0.expand(count, -1, -1, -1), rtol=0, atol=1e-5)


def test_time_travel_keeps_the_distribution_and_counts_its_calls(prior):
    """Of unit variance, which ancestral steps of the large variance keep exactly."""
    prior.std = torch.ones(1, *SIDE)
    levels, count = prior.spaced_levels("40"), 400
    noise = Noise(range(count))
    start = levels[0].sigma * noise((count, 1, *SIDE))
    plain = travel(prior, start, levels, DDPM("large"), [], noise)
    assert prior.calls == 40
    done = travel(prior, start, levels, DDPM("large"), [], noise, length=7, repeats=2)
    assert prior.calls == 120
    for x in (plain, done):
        torch.testing.assert_close(x.mean(0), prior.mean, rtol=0, atol=0.25)  # five standard errors
        assert x.std(0).mean().item() == pytest.approx(1, rel=0.02)
    with pytest.raises(ValueError, match="none"):
        travel(prior, start, levels, DDPM(), [], noise, repeats=0)
    with pytest.raises(ValueError, match="goes nowhere"):
        travel(prior, start, levels, DDPM(), [], noise, length=0, repeats=2)


def test_low_frequencies_of_ilvr_are_the_pictures(prior):
    """For means the filter is a projection, and what it takes of the result is exactly the picture."""
    y = torch.rand(1, 1, *SMALL, generator=torch.Generator().manual_seed(1)) - 0.5
    phi, count = low_pass("average", SMALL, SIDE), 256
    many = y.expand(count, -1, -1, -1)
    done = ilvr(prior, many, task(count), ILVRSettings("average", "40"))
    up = resize(y, SIDE, method="nearest")
    torch.testing.assert_close(phi(done), up.expand_as(done), rtol=0, atol=1e-5)
    expected = up + prior.mean - phi(prior.mean[None])
    torch.testing.assert_close(done.mean(0, keepdim=True), expected, rtol=0, atol=0.05)
    released = ilvr(prior, many, task(count), ILVRSettings("average", "40", free=100))
    torch.testing.assert_close(released.mean(0), prior.mean, rtol=0, atol=0.05)
    half = ilvr(prior, many, task(count), ILVRSettings("average", "40", free=50))
    assert (phi(released) - up).abs().mean() > (phi(half) - up).abs().mean() > 1e-3


@dataclass
class PairPrior:
    """Two pixels beside each other, x0 ~ N(0, covariance)."""

    covariance: torch.Tensor

    def spaced_levels(self, rule):
        return DiscreteSchedule.named("linear").respace(rule).levels()

    def __call__(self, x, level, cond=None):
        inner = level.alpha**2 * self.covariance + level.sigma**2 * torch.eye(2)
        return from_x0(x, level, x @ torch.linalg.solve(inner, level.alpha * self.covariance))


def test_repaint_keeps_what_is_known_and_walks_bring_the_rest_to_agree():
    """The unknown pixel's mean given the other is their correlation times it."""
    rho, s, count = 0.9, 0.2, 200
    prior = PairPrior(s**2 * torch.tensor([[1.0, rho], [rho, 1.0]]))
    y = torch.full((count, 1, 1, 1), 0.3)
    mask = sampled_mask((1, 1), (1, 2), (1, 2))
    assert mask.tolist() == [[False, True]]
    means = []
    for repeats in (1, 12):
        settings = RePaintSettings("40", length=2, repeats=repeats)
        done = repaint(prior, y, task(count, (1, 2)), settings)
        assert torch.equal(done[..., 1], y[..., 0])
        means.append(done[..., 0].mean().item())
    assert abs(means[1] - rho * 0.3) < 0.5 * abs(means[0] - rho * 0.3)
    assert means[1] == pytest.approx(rho * 0.3, abs=0.06)


def test_places_of_left_out_pixels_lie_in_the_middle_of_theirs():
    assert sampled_mask((2, 3), (6, 9), (8, 9)).nonzero().tolist() == [
        [row, column] for row in (1, 4) for column in (1, 4, 7)
    ]


def test_projection_alone_agrees_with_the_picture_and_gains(photo):
    high = photo[..., :52, :68]
    low = resize(high, scale=0.25, border="mirror")
    done = method_named("no-prior").prepare()(low.clamp(0, 1), 4.0)
    plain = method_named("bicubic").prepare()(low.clamp(0, 1), 4.0)
    reduce = ReduceTo(size_of(low))
    assert psnr(reduce(done), low) > psnr(reduce(plain), low) + 10
    assert psnr(done, high) > psnr(plain, high)


@pytest.mark.parametrize("name", ["ddnm", "ilvr", "repaint"])
def test_calls_are_as_planned(name):
    travelling = {} if name == "ilvr" else {"length": 3, "repeats": 2}
    upscaler = method_named(name).prepare({"prior": "face64"}, values={"respacing": "4", **travelling})
    calls, low = [], torch.rand(2, 3, 9, 16, generator=torch.Generator().manual_seed(0))
    done = upscaler(low, 4.0, [1, 2], lambda *told: calls.append(told[:2]))
    assert tuple(done.shape) == (2, 3, 36, 64)
    expected = 4 if name == "ilvr" else 8
    assert calls[-1] == (expected, expected)
    assert upscaler.plan((9, 16), 4.0).calls == expected


def test_diffusing_back_is_the_inverse_of_the_posteriors_step():
    a, b = DiscreteSchedule.named("linear").respace("10").levels()[3:5]
    ratio = a.alpha / b.alpha
    assert ratio**2 * b.sigma**2 + Posterior.between(a, b).beta == pytest.approx(a.sigma**2)
