"""Tiles of StableSR: weights and order, and that nothing changes where nothing looks around."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from fill import tensor
from hypothesis import given, settings
from hypothesis import strategies as st
from stablesr_tiny import context, tiny

from priorsr.methods.stablesr.method import LATENT, StableSRSettings, sample
from priorsr.methods.stablesr.prior import CONTEXT, LR, WEIGHTS, modulated
from priorsr.samplers.denoiser import Cond, from_x0
from priorsr.samplers.noise import Noise
from priorsr.samplers.schedule import Level
from priorsr.samplers.tiled import Tiled, gaussian_weights, grid


class Local:
    """A denoiser that sees a pixel and the condition below it only, so that tiles change nothing."""

    def __init__(self):
        self.shapes = []

    def __call__(self, x, level, cond=None):
        self.shapes.append(tuple(x.shape))
        return from_x0(x, level, 0.7 * cond.spatial[LR] + 0.2 * torch.tanh(x))


def test_tile_weights_and_order():
    symmetric, published = (WEIGHTS[name](16, 12) for name in ("symmetric", "published"))
    torch.testing.assert_close(symmetric, symmetric.flip(0).flip(1))
    assert published.argmax().item() // 12 == 8
    assert published[8].max() > published[7].max()
    assert gaussian_weights(64, 64, 0.1).sum() / 64**2 == pytest.approx(
        0.78, abs=0.01
    )  # of a density over its square
    assert grid(96, 112, 64, 32) == [(0, 0), (32, 0), (0, 32), (32, 32), (0, 48), (32, 48)]


@settings(max_examples=15, deadline=None)
@given(
    st.integers(3, 40),
    st.integers(3, 40),
    st.integers(1, 3),
    st.sampled_from(["symmetric", "published"]),
    st.sampled_from(["ddpm", "ddim"]),
)
def test_tiles_change_nothing_where_nothing_looks_around(height, width, batch, weights, sampler):
    cond = Cond({LR: tensor("lr", (batch, 4, height, width))})
    how = StableSRSettings(steps=3, tile=96, overlap=40, weights=weights, sampler=sampler, start="lr")
    seen = Local()
    tiled = sample(seen, cond, replace(how, tile_batch=3), Noise(list(range(batch))))
    assert max(max(shape[2:]) for shape in seen.shapes) <= 96 // LATENT
    whole = sample(Local(), cond, replace(how, tile=1024), Noise(list(range(batch))))
    torch.testing.assert_close(tiled, whole, rtol=1e-3, atol=1e-4)


def test_a_negative_prompt_goes_through_tiles_of_a_batch():
    model = tiny()
    guided = modulated(model.prior, model.layers, context(1, "negative"), 2.0)
    cond = Cond({LR: tensor("lr", (2, 4, 8, 12))}, {CONTEXT: context(2)})
    how = StableSRSettings(steps=2, tile=64, overlap=32, tile_batch=2)
    together = sample(guided, cond, how, Noise([3, 4]))
    alone = sample(
        guided,
        Cond({LR: cond.spatial[LR][1:]}, {CONTEXT: context(2)[1:]}),
        replace(how, tile_batch=1),
        Noise([4]),
    )
    torch.testing.assert_close(together[1:], alone, rtol=1e-3, atol=1e-3)


def test_tiles_with_other_weights_share_no_plan():
    x, level = tensor("x", (1, 1, 20, 20)), Level(0, 1, 1)
    near = lambda x, level, cond: from_x0(x, level, F.avg_pool2d(x, 3, 1, 1))  # noqa: E731
    tiles = Tiled(near, 12, 4)
    assert not torch.equal(tiles(x, level).x0, replace(tiles, weights=WEIGHTS["published"])(x, level).x0)
