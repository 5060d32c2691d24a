"""Priors judged by what they restore and draw, and the limits of their fields."""

from __future__ import annotations

import pytest
import torch
from prior_trainings import COSINE, RECIPE, ramps

from priorsr.methods.diffsr.prf import recoverable_field
from priorsr.methods.evaluate.calibrate import faithful_omega, limits, lost
from priorsr.methods.evaluate.diffsr_study import Sweep
from priorsr.methods.evaluate.prior import collapsed, restoration, step_distance
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.priors.adm import ADMPrior
from priorsr.methods.priors.calibration import Calibration
from priorsr.methods.priors.unconditional import samples
from priorsr.methods.train.prior import grid


def test_samples_do_not_depend_on_their_number():
    torch.manual_seed(0)
    prior = ADMPrior(build_adm(RECIPE.config()).eval(), COSINE, "v")
    torch.testing.assert_close(samples(prior, 3, 4)[:1], samples(prior, 1, 4), rtol=0, atol=1e-5)
    assert grid(torch.rand(5, 1, 8, 8)).shape == (1, 1, 24, 16)


@pytest.mark.slow
def test_a_prior_is_judged_by_what_it_restores_and_draws():
    prior = ADMPrior(build_adm(RECIPE.config()).eval(), COSINE, "v", Calibration(errors_of(0.2)))
    truth = ramps(2).float() / 255
    rows = restoration(prior, truth, [2])
    assert [(r["scale"], r["method"]) for r in rows] == [(2, "bicubic"), (2, "one sample"), (2, "mean of 4")]
    assert rows[0]["psnr"] > 25  # ramps survive reduction
    apart = step_distance(prior, truth, 2, 2, 3)
    assert apart.keys() == {"restored", "sampled"}
    assert apart["sampled"] > 0
    faces = torch.rand(4, 1, 8, 8) * 0.5 + 0.25
    odd = torch.cat([torch.zeros(1, 1, 8, 8), faces[:1], torch.ones(1, 1, 8, 8), faces[:1] * 0.1 + 0.4])
    assert collapsed(odd) == [0, 2, 3]


def errors_of(std):
    return {
        i: lv.alpha**2 * std**2 / (lv.alpha**2 * std**2 + lv.sigma**2) for i, lv in enumerate(COSINE.table)
    }


def test_limits_put_the_field_where_the_paper_found_it():
    distances = {2.0: 0.003, 4.0: 0.012, 8.0: 0.031}
    measured = limits(COSINE.table, errors_of(0.2), distances)
    fields = [recoverable_field(COSINE.table, measured, d) for d in distances.values()]
    assert fields[0].inside.sum() > fields[1].inside.sum() > 0
    assert fields[1].inside[399]
    assert fields[2].empty
    with pytest.raises(ValueError, match="no limits give"):
        limits(COSINE.table, errors_of(0.2), {2.0: 0.02, 4.0: 0.02, 8.0: 0.02})


def test_what_is_lost_grows_with_the_scale():
    truth = torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    assert 0 < lost(truth, 2.0) < lost(truth, 4.0) < lost(truth, 8.0)


def test_the_faithful_omega_meets_the_measured_optimum():
    truth = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    prior = type("P", (), {})

    from priorsr.methods.nets.adm_config import ADMConfig

    with torch.device("meta"):
        network = build_adm(
            ADMConfig(
                in_channels=1, out_channels=1, model_channels=32, channel_mult=(1,), num_head_channels=32
            )
        )
    prior = ADMPrior(network, COSINE, "v", Calibration(errors_of(0.2)))
    peaks = [
        Sweep(s, {lv: {"psnr": -abs(lv - best)} for lv in range(5, 60, 5)}, {})
        for s, best in ((2.0, 20), (4.0, 20))
    ]
    low, high = (
        faithful_omega(prior, truth, [Sweep(p.scale, _peak(best), {}) for p in peaks]) for best in (45, 10)
    )
    assert low > high > 0


def _peak(best):
    return {level: {"psnr": -abs(level - best)} for level in range(5, 60, 5)}
