from __future__ import annotations

import pytest
import torch

from priorsr.samplers.noise import Noise


def test_a_sample_alone_equals_the_sample_in_a_batch():
    batch, alone = Noise([5, 9])((2, 3, 4, 4)), Noise(9)((1, 3, 4, 4))
    assert torch.equal(batch[1:], alone)
    assert not torch.equal(batch[0], batch[1])


def test_draws_go_on_and_repeat_from_the_seed():
    noise = Noise(3)
    first, second = noise((1, 5)), noise((1, 5))
    assert not torch.equal(first, second)
    again = Noise(3)
    assert torch.equal(first, again((1, 5)))
    assert torch.equal(second, again((1, 5)))


def test_children_are_independent_of_their_parent_and_of_each_other():
    parent = Noise([1, 2])
    before = parent.child("mask")((2, 6))
    parent((2, 6))
    assert torch.equal(before, parent.child("mask")((2, 6)))
    assert not torch.equal(before, parent.child("corrector")((2, 6)))
    assert not torch.equal(before, Noise([1, 2])((2, 6)))


def test_noise_is_standard_normal_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    draw = Noise(0)((1, 100_000))
    assert abs(draw.mean()) < 0.02
    assert abs(draw.std() - 1) < 0.02
    assert torch.equal(state, torch.get_rng_state())


def test_poisson_has_the_rate_as_mean():
    rate = torch.full((2, 50_000), 7.0)
    draw = Noise([1, 2]).poisson(rate)
    assert abs(draw.mean() - 7) < 0.1
    assert abs(draw.var() - 7) < 0.3


@pytest.mark.parametrize("shape", [(3, 4), ()])
def test_a_shape_that_does_not_fit_the_seeds_is_refused(shape):
    with pytest.raises(ValueError, match="number of seeds"):
        Noise([1, 2])(shape)


def test_no_seed_is_refused():
    with pytest.raises(ValueError, match="at least one seed"):
        Noise([])
