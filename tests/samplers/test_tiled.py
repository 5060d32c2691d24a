"""Tiles: no seam, whatever their batch, and gradients through them."""

from __future__ import annotations

import pytest
import torch

from priorsr.samplers.denoiser import Cond, Prediction
from priorsr.samplers.schedule import Level
from priorsr.samplers.tiled import Tiled, starts


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
