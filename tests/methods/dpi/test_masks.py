from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from dpi_runs import picture
from hypothesis import given, settings
from hypothesis import strategies as st

from priorsr.methods.dpi.masks import (
    UniformDraws,
    adaptive_mask,
    base_condition,
    chances,
    compounded,
    fixed_mask,
    on_grid,
    sparse,
)
from priorsr.samplers.noise import Noise


@given(st.integers(2, 5), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))
@settings(deadline=None, max_examples=30)
def test_the_grid_carries_one_pixel_of_each_cell(k, h, w, channels):
    base = torch.rand(2, channels, h, w) + 1
    y_T, mask = sparse(base, k), fixed_mask((h * k, w * k), k)
    assert mask.dtype == torch.bool
    assert mask.float().mean() == pytest.approx(1 / k**2)
    assert torch.equal(y_T != 0, mask.expand_as(y_T))
    assert torch.equal(on_grid(y_T, k), base)
    assert all(
        y_T[..., i, j].any() == (i % k == 0 and j % k == 0) for i in range(h * k) for j in range(w * k)
    )


def test_a_base_condition_is_the_picture_enlarged_to_the_grid():
    low = picture(1, 3, 4, 6)
    assert torch.equal(base_condition(low, (8, 12), 2), low)
    flat = base_condition(torch.full((1, 3, 4, 6), 0.25), (32, 48), 4)
    torch.testing.assert_close(flat, torch.full((1, 3, 8, 12), 0.25))
    for size, k, words in (
        ((8, 12), 3, "does not divide"),
        ((8, 12), 1, "k of 2 or more"),
        ((8, 12), 4, "larger than the grid"),
    ):
        with pytest.raises(ValueError, match=words):
            base_condition(low, size, k)


def test_uniform_draws_belong_to_their_picture_and_fill_the_range():
    together, alone = UniformDraws(Noise([1, 2])), UniformDraws(Noise([2]))
    drawn = torch.stack([together((2, 1, 64, 64)) for _ in range(6)])
    assert torch.equal(drawn[:, 1:], torch.stack([alone((1, 1, 64, 64)) for _ in range(6)]))
    assert len({x.sum().item() for x in drawn.flatten(0, 1)}) == 12
    torch.testing.assert_close(
        torch.histc(drawn, 10, 0, 1) / drawn.numel(), torch.full((10,), 0.1), atol=0.01, rtol=0
    )


@pytest.mark.parametrize("s", [0.5, 1.0, 1.4])
def test_the_adaptive_mask_is_as_dense_as_its_chances(s):
    y = picture(2, 3, 64, 64)
    p = chances(y, s)
    assert 0 <= p.min() <= p.max() <= 1
    torch.testing.assert_close(p, chances(y, 1.0) ** s)
    draws = UniformDraws(Noise([1, 2]))
    density = torch.stack([adaptive_mask(y, s, draws).float() for _ in range(20)]).mean(0)
    assert density.mean() == pytest.approx(p.mean().item(), abs=0.005)
    assert torch.corrcoef(torch.stack([density.flatten(), p.flatten()]))[0, 1] > 0.8


@pytest.mark.parametrize(("steps", "weight"), [(1.0, 0.3), (4.0, 0.05), (10.0, 0.4), (3.0, 1.0)])
def test_compounded_draws_hold_what_single_ones_would_one_after_another(steps, weight):
    chance = torch.tensor([0.0, 0.001, 0.05, 0.3, 0.9, 1.0]).view(1, 1, 1, 6).repeat(1, 1, 60_000, 1)
    mask, held = compounded(chance, weight, steps, Noise(0).uniform)
    free = torch.ones_like(chance)
    draws = Noise(1)
    for _ in range(int(steps)):
        free *= 1 - weight * (draws.uniform(chance.shape) < chance).float()
    torch.testing.assert_close(mask.float().mean(2), (1 - (1 - chance) ** steps).mean(2), atol=0.01, rtol=0)
    torch.testing.assert_close(held.mean(2), 1 - free.mean(2), atol=0.01, rtol=0.03)
    assert torch.equal(held > 0, mask)
    assert held.max() <= 1


def test_a_larger_exponent_keeps_fewer():
    y = picture(1, 3, 32, 32)
    densities = [adaptive_mask(y, s, UniformDraws(Noise(0))).float().mean() for s in (0.5, 1.0, 1.4, 3.0)]
    assert all(a > b for a, b in pairwise(densities))


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (2, 1, 7, 5), (1, 4, 1, 9), (1, 3, 1, 1)])
@pytest.mark.parametrize("joint", [False, True])
def test_a_flat_picture_has_an_empty_mask(shape, joint):
    flat = torch.full(shape, 0.1) * torch.linspace(0.5, 1, shape[1]).view(1, -1, 1, 1)
    assert torch.equal(chances(flat, 1.2, joint), torch.zeros(shape[0], 1, *shape[2:]))
    assert not adaptive_mask(flat, 0.01, UniformDraws(Noise([0] * shape[0])), joint).any()


def test_edges_attract_conditions_and_flat_areas_none():
    y = torch.zeros(1, 3, 16, 16)
    y[..., 8:] = 1
    p = chances(y, 1.0)[0, 0]
    torch.testing.assert_close(p[:, 7:9], torch.ones(16, 2))
    assert p[:, :7].max() == p[:, 9:].max() == 0
    torch.testing.assert_close(
        chances(y, 1.0, signed=True)[0, 0, :, :7], torch.full((16, 7), 0.5)
    )  # as the equation is printed, half of a flat area would be kept


def test_contrast_is_stretched_over_each_picture_unless_asked_otherwise():
    y = torch.cat([picture(1, 3, 12, 12), 0.1 * picture(1, 3, 12, 12, seed=1)])
    assert chances(y, 1.0).amax((1, 2, 3)).tolist() == pytest.approx([1, 1], abs=1e-4)
    torch.testing.assert_close(chances(y, 1.3)[1:], chances(y[1:], 1.3), rtol=0, atol=1e-4)
    assert chances(y, 1.0, joint=True).amax((1, 2, 3))[1] < 0.3
