from __future__ import annotations

import pytest
import torch

from priorsr.samplers import noise as module
from priorsr.samplers.denoiser import from_x0
from priorsr.samplers.noise import Noise
from priorsr.samplers.run import run
from priorsr.samplers.schedule import c_noise, karras_sigmas, sigma_levels
from priorsr.samplers.transition import DDPM


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


@pytest.mark.parametrize("size", [1, 15, 33, 64, 65, 79, 80, 100, 129])
def test_noise_drawn_in_parts_is_that_of_one_draw(monkeypatch, size):
    """Twice in a row, so that the generators are left where one draw leaves them."""
    rate = torch.linspace(0.1, 30, 2 * size).reshape(2, size)

    def drawn():
        noise = Noise([4, 5])
        return [
            draw
            for _ in range(2)
            for draw in (noise((2, size)), noise.uniform((2, size)), noise.poisson(rate))
        ]

    generator = torch.Generator().manual_seed(4)
    assert drawn()[0][0].equal(torch.randn(size, generator=generator))
    whole = drawn()
    monkeypatch.setattr(module, "PART", 32)
    assert all(torch.equal(a, b) for a, b in zip(drawn(), whole, strict=True))


@pytest.mark.parametrize("shape", [(3, 4), ()])
def test_a_shape_that_does_not_fit_the_seeds_is_refused(shape):
    with pytest.raises(ValueError, match="number of seeds"):
        Noise([1, 2])(shape)


def test_no_seed_is_refused():
    with pytest.raises(ValueError, match="at least one seed"):
        Noise([])


def noise_of_a_run(device: str) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """What a short random run on a device draws, and what its steps then add, on that device."""
    noise, draws, added = Noise([5, 9]), [], []

    def draw(shape):
        draws.append(noise(shape))
        return draws[-1]

    start = draw((2, 3, 8, 8)).to(device) * 80
    levels = sigma_levels(karras_sigmas(4), c_noise)
    prior = lambda x, level, cond: from_x0(x, level, x / (1 + level.sigma**2))  # noqa: E731
    run(prior, start, levels, DDPM("small"), noise=draw, on_step=lambda step, x: added.append(step.noise))
    return draws, [n for n in added if n is not None]


@pytest.mark.gpu
def test_a_run_on_a_gpu_adds_the_noise_of_a_run_on_the_cpu():
    (drawn, added), (drawn_gpu, added_gpu) = noise_of_a_run("cpu"), noise_of_a_run("cuda")
    assert all(n.is_cuda for n in added_gpu)
    assert all(n.device.type == "cpu" for n in drawn_gpu)
    assert len(drawn) == len(drawn_gpu) == 4  # the start, and every step but the last
    assert all(torch.equal(a, b) for a, b in zip(drawn, drawn_gpu, strict=True))
    assert all(torch.equal(a, b.cpu()) for a, b in zip(added, added_gpu, strict=True))
