"""What SRDG's networks are trained on: conditions, losses, levels, and the published optimiser."""

from __future__ import annotations

import math

import pytest
import torch
from fill import tensor
from srdg_tiny import CONFIG, SIDE

from priorsr.methods.nets.densenet import DenseNet, DenseNetConfig
from priorsr.methods.nets.ncsnpp import NCSNpp
from priorsr.methods.srdg.method import condition, enlarged
from priorsr.methods.srdg.objective import (
    ScoreOptimisation,
    ScoreTraining,
    attribute_loss,
    noisy,
    score_loss,
    train_times,
)
from priorsr.samplers.schedule import ExplodingSchedule


def test_the_condition_is_made_as_in_training():
    high = tensor("high", (1, 3, 32, 32))
    small = condition(high, 8)
    torch.testing.assert_close(
        small,
        torch.nn.functional.interpolate(high, (4, 4), mode="bilinear", antialias=True),
        atol=1e-5,
        rtol=1e-5,
    )
    shown = torch.nn.functional.interpolate(small, (32, 32), mode="bicubic", antialias=True)
    torch.testing.assert_close(enlarged(small, (32, 32)), shown, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="cannot be reduced by 5"):
        condition(high, 5)


def test_losses_are_smallest_for_the_right_answer():
    sde, clean, z = (
        ExplodingSchedule(),
        tensor("c", (2, 3, SIDE, SIDE)) / 4 + 0.5,
        tensor("z", (2, 3, SIDE, SIDE)),
    )
    t = train_times(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(t, torch.tensor([1e-5, 1.0]))
    x, sigma = noisy(clean, t, z, sde)
    torch.testing.assert_close((x - clean) / sigma.view(-1, 1, 1, 1), z, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(score_loss(lambda x, sigma, low: -z, clean, clean, t, z), torch.zeros(2))
    new = NCSNpp(CONFIG)
    torch.testing.assert_close(
        score_loss(new, clean, clean, t, z), 0.5 * z.square().flatten(1).sum(1)
    )  # a new network answers 0
    judge = DenseNet(DenseNetConfig(SIDE, (1,), 4)).eval()
    judge.Dense_3.weight.data.zero_(), judge.Dense_3.bias.data.copy_(torch.tensor([0.0, 2.0]))
    loss = attribute_loss(judge, clean, torch.tensor([0, 1]), t, z)
    torch.testing.assert_close(loss, torch.tensor([math.log1p(math.exp(2)), math.log1p(math.exp(-2))]))


def test_the_published_optimiser_warms_up_and_averages():
    network = torch.nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(1.0)
    training = ScoreTraining(network, ScoreOptimisation(lr=0.1, warmup=2, ema=0.5, ema_warmup=False))
    weights = []
    for _ in range(3):
        training.step(network(torch.ones(1, 1)).sum() * 1000)  # clipped, and Adam's steps have the size of lr
        weights.append(float(network.weight.detach()))
    assert weights == pytest.approx([1.0, 0.95, 0.85], abs=1e-4)
    assert float(training.average.weight) == pytest.approx(0.5 * 0.85 + 0.25 * 0.95 + 0.25 * 1.0, abs=1e-4)


def test_levels_weigh_alike_by_the_spread_of_what_is_open(prior):
    clean = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([0.1, 0.6])
    plain, weighed = (
        score_loss(prior.network, clean, clean, t, noise, prior.schedule, r) for r in (0.0, 0.1)
    )
    factor = 1 + (prior.schedule.sigma(t) / 0.1) ** 2
    assert torch.allclose(weighed, plain * factor)
