"""What a prior recovers: its measured errors, the losses, and the field of levels where it is reliable."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from gaussian_prior import COSINE, STD, GaussianPrior, gaussian_errors

from priorsr.methods.diffsr.plot import field_plot
from priorsr.methods.diffsr.prf import fidelity_loss, recoverable_field, signature_loss
from priorsr.methods.priors.calibration import Calibration, eps_mse
from priorsr.samplers.noise import Noise
from priorsr.samplers.schedule import DiscreteSchedule


def test_measured_errors_of_an_exact_prior_are_the_known_ones():
    x = STD * Noise(range(64)).child("pictures")((64, 1, 16, 16))
    levels = [COSINE.table[i] for i in (50, 400, 800)]
    measured = eps_mse(
        GaussianPrior(torch.zeros(1, 16, 16), torch.full((1, 16, 16), STD)), x, levels, batch=24
    )
    expected = [gaussian_errors(COSINE)[i] for i in (50, 400, 800)]
    assert measured == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("name", ["cosine", "linear", "scaled-linear"])
def test_signature_loss_is_lemma_1_with_the_posterior_variance(name):
    schedule = DiscreteSchedule.named(name)
    errors = {0: 0.9, 500: 0.2, 999: 0.01}
    beta, abar, tilde = (
        t.numpy() for t in (schedule.betas, schedule.alphas_cumprod, schedule.posterior_variance)
    )
    error = np.interp(np.arange(1000), [0, 500, 999], [0.9, 0.2, 0.01])
    terms = beta[1:] ** 2 / (2 * (1 - beta[1:]) * (1 - abar[1:]) * tilde[1:]) * error[1:]
    np.testing.assert_allclose(signature_loss(schedule.table, errors)[1:], np.cumsum(terms), rtol=1e-6)


def test_fidelity_loss_is_the_divergence_of_the_two_noisy_pictures():
    generator = torch.Generator().manual_seed(0)
    truth, enlarged = torch.randn(2, 1, 3, 4, dtype=torch.float64, generator=generator)
    level = COSINE.table[300]
    one, other = (torch.distributions.Normal(level.alpha * x, level.sigma) for x in (truth, enlarged))
    expected = torch.distributions.kl_divergence(one, other).mean()
    assert fidelity_loss([level], float((truth - enlarged).square().mean()))[0] == pytest.approx(
        float(expected), rel=1e-10
    )


@pytest.mark.parametrize("omega", [0.25, 1.0, 3.0])
def test_without_limits_the_chosen_level_has_as_much_prior_error_as_the_enlargement_lost(omega):
    errors, distance = gaussian_errors(COSINE), 0.01
    chosen = recoverable_field(COSINE.table, Calibration(errors, omega), distance).chosen
    level = COSINE.table[chosen]
    assert errors[chosen] * (level.sigma / level.alpha) ** 2 == pytest.approx(omega * distance, rel=0.02)


def test_the_field_narrows_and_moves_to_more_noise_the_more_was_lost_until_it_is_empty():
    measured = Calibration(gaussian_errors(COSINE), max_signature=4.5, max_fidelity=0.2)
    fields = [recoverable_field(COSINE.table, measured, d) for d in (0.001, 0.01, 0.03, 10.0)]
    widths = [int(f.inside.sum()) for f in fields]
    assert widths == sorted(widths, reverse=True)
    assert widths[2] > 0
    assert widths[3] == 0
    assert [f.empty for f in fields] == [False, False, False, True]
    assert [f.chosen for f in fields] == sorted(f.chosen for f in fields)
    assert all(f.inside[f.chosen] for f in fields[:3])


def test_measurements_survive_their_file():
    for measured in (Calibration({3: 0.5, 1: 0.25}), Calibration({1: 0.125}, 0.5, 2.0, 0.125)):
        assert Calibration.from_json(measured.to_json()) == measured


def test_the_plot_shows_the_chosen_level():
    field = recoverable_field(COSINE.table, Calibration(gaussian_errors(COSINE), 1.0, 2.0, 0.05), 0.01)
    picture = field_plot(field, "x2")
    assert picture.shape == (1, 3, 480, 640)
    assert picture.std() > 0.05
    other = field_plot(dataclasses.replace(field, chosen=900), "x2")
    assert not torch.equal(picture, other)
