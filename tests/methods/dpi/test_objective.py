from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from dpi_runs import CRT, VP, picture
from gaussian_prior import GaussianPrior

from priorsr.methods.dpi.masks import on_grid, sparse
from priorsr.methods.dpi.objective import (
    crt_loss,
    grid_error,
    omega,
    posterior_sample,
    prior_sample,
    released_loss,
)
from priorsr.methods.dpi.timestep import ORIGINAL
from priorsr.methods.nets.corrector import CorrectorUNet
from priorsr.samplers.noise import Noise
from priorsr.samplers.schedule import c_noise, sigma_levels


def test_a_posterior_draw_has_the_moments_of_the_forward_process():
    clean = torch.full((4, 1, 160, 160), 0.6)
    t, noise = torch.tensor([1, 250, 700, 999]), Noise(range(4))
    drawn = posterior_sample(clean, t, noise(clean.shape), noise(clean.shape))
    before = [ORIGINAL.table[i - 1] for i in t.tolist()]
    torch.testing.assert_close(
        drawn.mean((1, 2, 3)), torch.tensor([0.6 * level.alpha for level in before]), atol=0.03, rtol=0
    )
    torch.testing.assert_close(
        drawn.std((1, 2, 3)), torch.tensor([level.sigma for level in before]), atol=0.02, rtol=0.02
    )
    zero = torch.zeros(1, dtype=torch.long)
    torch.testing.assert_close(
        posterior_sample(clean[:1], zero, noise(clean.shape)[:1], noise(clean.shape)[:1]), clean[:1]
    )


@pytest.mark.parametrize("family", ["VP", "VE"])
def test_a_frozen_prior_draws_the_same_as_the_closed_form(family):
    """For a prior that knows every picture is the same, both are the true posterior."""
    clean = torch.full((1, 1, 200, 200), 0.6)
    prior = GaussianPrior(torch.full((1, 1, 1), 0.6), torch.zeros(1, 1, 1))
    chain = (
        VP.table
        if family == "VP"
        else tuple(sigma_levels([level.sigma / level.alpha], c_noise)[0] for level in VP.table)
    )
    drawn = prior_sample(prior, clean, chain[400], chain[399], Noise(0))
    assert drawn.mean().item() == pytest.approx(0.6 * VP.table[399].alpha, abs=0.02)
    assert drawn.std().item() == pytest.approx(VP.table[399].sigma, rel=0.02)


def test_omega_goes_from_the_prior_to_the_gap_along_the_sampling():
    t = torch.tensor([999, 600, 300, 0])
    for form in ("linear", "cosine"):
        weights_ = omega(t, form).tolist()
        assert weights_[0] == pytest.approx(1)
        assert weights_[-1] == 0
        assert all(a > b for a, b in pairwise(weights_))
    assert omega(t, "constant", 0.3).tolist() == pytest.approx([0.3] * 4)
    with pytest.raises(ValueError, match="not one of linear, cosine, constant"):
        omega(t, "steep")


def test_the_loss_weighs_both_errors_on_the_grid_alone():
    network, truth, base = CorrectorUNet(CRT), picture(2, 3, 16, 16), picture(2, 3, 8, 8, seed=1)
    t, noise = torch.tensor([10, 900]), Noise([1, 2])
    noisy = posterior_sample(truth, t, noise(truth.shape), noise(truth.shape))
    loss = crt_loss(network, truth, base, t, noisy, noisy * 0.5, omega(t))
    # a new network adds nothing to y_T, so that both errors are those of the base condition
    expected = (on_grid(truth, 2) - base).square().mean((1, 2, 3))
    torch.testing.assert_close(loss.prior, expected)
    torch.testing.assert_close(loss.total, omega(t) * loss.prior + (1 - omega(t)) * loss.gap)
    torch.testing.assert_close(loss.refined, sparse(base, 2))
    assert not loss.refined.requires_grad
    loss.total.mean().backward()
    assert network.out[2].weight.grad.abs().sum() > 0
    changed = truth.clone()
    changed[..., 1::2, :] += 1
    torch.testing.assert_close(grid_error(noisy, changed, 2), grid_error(noisy, truth, 2))
    single = released_loss(network, truth, base, t, noise(truth.shape), noise(truth.shape))
    torch.testing.assert_close(single, expected / 4)
