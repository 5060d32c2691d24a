"""DDRM: its basis, the marginals that its steps keep, and what it holds of a picture."""

from __future__ import annotations

import pytest
import torch
from gaussian_prior import GaussianPrior

from priorsr.methods.ddrm.method import DDRMSettings, Restoration, ddrm
from priorsr.methods.imaging.operators import ReduceTo
from priorsr.methods.imaging.svd import SeparableSVD, reduction_matrix
from priorsr.methods.priors.measured import Measured
from priorsr.methods.registry import method_named
from priorsr.samplers.denoiser import from_x0
from priorsr.samplers.noise import Noise
from priorsr.samplers.run import run
from priorsr.samplers.schedule import DiscreteSchedule

LEVELS = DiscreteSchedule.named("linear").respace("12").levels()


class Spaced(GaussianPrior):
    """With the levels that methods ask a prior for."""

    def spaced_levels(self, rule):
        return DiscreteSchedule.named("linear").respace(rule).levels()


def basis(operator: str, out: int = 4, size: int = 12, side: int = 12) -> SeparableSVD:
    matrix = reduction_matrix(operator, size, out, side)
    return SeparableSVD.of(matrix, matrix, matrix)


@pytest.mark.parametrize("operator", ["bicubic", "average"])
def test_the_basis_is_orthonormal_and_spans_the_reduction(operator):
    svd, x = basis(operator), torch.rand(2, 3, 12, 12)
    matrix = reduction_matrix(operator, 12, 4, 12)
    torch.testing.assert_close(svd.pixels(svd.spectral(x)), x, rtol=0, atol=1e-5)
    y = matrix @ x @ matrix.mT
    told = svd.measured(y)
    seen = svd.values > 0
    torch.testing.assert_close(told[..., seen], svd.spectral(x)[..., seen], rtol=0, atol=1e-4)
    assert not told[..., ~seen].any()
    assert int(seen.sum()) == 16


def test_the_matrices_are_the_reductions_of_the_package():
    x = torch.rand(1, 1, 12, 12)
    bicubic, average = (reduction_matrix(name, 12, 4, 12) for name in ("bicubic", "average"))
    torch.testing.assert_close(bicubic @ x @ bicubic.mT, ReduceTo((4, 4))(x), rtol=0, atol=1e-5)
    means = torch.nn.functional.avg_pool2d(x, 3)
    torch.testing.assert_close(average @ x @ average.mT, means, rtol=0, atol=1e-6)
    torch.testing.assert_close(basis("average").values.max(), torch.tensor(1 / 3), rtol=0, atol=1e-6)
    uneven = reduction_matrix("average", 7, 3, 9)
    torch.testing.assert_close(uneven.sum(1), torch.ones(3), rtol=0, atol=1e-6)
    assert not uneven[:, 7:].any()


@pytest.mark.parametrize("noise", [0.0, 0.1, 2.0])
@pytest.mark.parametrize("eta_b", [1.0, 0.6])
def test_every_state_is_the_clean_picture_plus_the_noise_of_its_level(noise, eta_b):
    """Theorem 3.1's marginals, for a prior that knows the picture: q(x_t | x0) = N(x0, sigma_t^2), in each of
    the three regimes of Eq. 8; 4,096 draws tell a standard deviation to 1.1 %, checked to 6 %.
    """
    count, x0 = 4096, torch.rand(1, 1, 4, 4) * 2 - 1
    matrix = reduction_matrix("average", 4, 2, 4)
    svd = SeparableSVD.of(matrix, matrix, matrix)
    generator = torch.Generator().manual_seed(1)
    draw = lambda shape: torch.randn(*shape, generator=generator)  # noqa: E731
    y = (matrix @ x0 @ matrix.mT).expand(count, -1, -1, -1) + noise * draw((count, 1, 2, 2))
    method = Restoration(svd, y, noise, 0.85, eta_b)
    if noise:  # at the first levels the state is less sure than the measurement, at the last ones it is surer
        assert LEVELS[0].sigma / LEVELS[0].alpha > noise / svd.values.max() > LEVELS[-2].sigma
    start = method.start(LEVELS[0], draw((count, 1, 4, 4)))
    states = [(LEVELS[0], start)]
    run(
        lambda x, level, cond: from_x0(x, level, x0.expand_as(x)),
        start,
        LEVELS[:-1],
        method,
        noise=draw,
        on_step=lambda step, x: states.append((step.nxt, x)),
    )
    for level, x in states:
        off = svd.spectral(x / level.alpha - x0) / (level.sigma / level.alpha)
        torch.testing.assert_close(off.std(0), torch.ones(1, 4, 4), rtol=0, atol=0.06)
        torch.testing.assert_close(off.mean(0), torch.zeros(1, 4, 4), rtol=0, atol=0.08)


@pytest.mark.parametrize("operator", ["bicubic", "average"])
def test_the_result_reduces_to_the_picture_and_the_rest_is_the_priors(operator):
    true = torch.rand(1, 1, 12, 12) - 0.5
    matrix = reduction_matrix(operator, 10, 5, 12)
    other = reduction_matrix(operator, 12, 6, 12)
    y = matrix @ true @ other.mT
    prior = Spaced(torch.zeros(1, 12, 12), torch.full((1, 12, 12), 0.3))
    settings = DDRMSettings(operator, respacing="30")
    found = ddrm(prior, y, Measured((10, 12), (12, 12), Noise([3])), settings)
    torch.testing.assert_close(matrix @ found @ other.mT, y, rtol=0, atol=2e-3)
    again = ddrm(prior, y, Measured((10, 12), (12, 12), Noise([4])), settings)
    assert (again - found).abs().max() > 0.1
    assert prior.calls == 60


def test_noise_of_the_picture_is_not_held():
    """Held noise comes back whole; told of, it is halved at least, for a prior whose pictures are flat."""
    flat = Spaced(torch.zeros(1, 12, 12), torch.full((1, 12, 12), 0.01))
    y = Noise(5)((1, 1, 6, 6)) * 0.2
    held = ddrm(flat, y, Measured((12, 12), (12, 12), Noise([3])), DDRMSettings("average"))
    told = ddrm(
        flat, y, Measured((12, 12), (12, 12), Noise([3])), DDRMSettings("average", noise=0.2 * 255 / 2)
    )
    assert told.std() < held.std() / 2


def test_pictures_are_enlarged_with_the_prior_that_comes_along():
    upscaler = method_named("ddrm").prepare(values={"respacing": "4"})
    low = torch.rand(2, 3, 9, 16)
    calls = []
    done = upscaler(low, 4.0, [1, 2], lambda *told: calls.append(told[:2]))
    assert tuple(done.shape) == (2, 3, 36, 64)
    assert calls[-1] == (4, 4)
    assert upscaler.plan((9, 16), 4.0).calls == 4
    torch.testing.assert_close(done[1:], upscaler(low[1:], 4.0, [2]), rtol=0, atol=1e-3)
