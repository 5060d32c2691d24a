"""A measurement, a classifier, classifier-free guidance and tiles in one run, on real networks with random
weights and on an exact prior.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import combinations, permutations

import pytest
import torch
from fill import fill_, tensor
from torch import Tensor

from priorsr.methods.imaging.operators import Reduction
from priorsr.methods.nets.adm_config import ADMConfig
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.nets.edm_precond import build_edm
from priorsr.methods.priors.adm import ADMPrior
from priorsr.methods.priors.edm import EDMPrior
from priorsr.samplers.denoiser import Cond, Denoiser, from_x0
from priorsr.samplers.guidance.cfg import CFG
from priorsr.samplers.guidance.classifier import ClassifierGuidance
from priorsr.samplers.guidance.measurement import MeasurementGuidance
from priorsr.samplers.hooks import ClipX0
from priorsr.samplers.karras import DPMpp2M, Heun
from priorsr.samplers.noise import Noise
from priorsr.samplers.run import Transition, run
from priorsr.samplers.schedule import Level, c_noise, geometric_sigmas, sigma_levels
from priorsr.samplers.sde import ReverseDiffusion
from priorsr.samplers.tiled import Tiled
from priorsr.samplers.transition import DDPM

SIDE, TILE, OVERLAP = 12, 8, 4
TILES = 4  # of a picture
CLASSES, STEPS, SEEDS = 5, 3, (3, 8)
ADM = ADMConfig(
    image_size=8,
    model_channels=32,
    num_res_blocks=1,
    channel_mult=(1, 2),
    attention_factors=(2,),
    num_head_channels=16,
)
EDM = {
    "img_resolution": 8,
    "img_channels": 3,
    "label_dim": CLASSES,
    "channel_mult": [1, 2],
    "num_blocks": 1,
    "attn_resolutions": [4],
}

REDUCE = Reduction((SIDE, SIDE), 2)
Y = 0.3 * tensor("measurement", (2, 3, SIDE // 2, SIDE // 2))
POSITIVE, NEGATIVE = torch.tensor([1, 3]), torch.tensor([0, 0])


class Clouds:
    """An exact prior that sees its neighbours: a Gaussian random field around the mean of a class (a Wiener
    filter is its best guess).
    """

    def __call__(self, x, level, cond=None):
        rows, columns = (torch.fft.fftfreq(n) * n for n in x.shape[-2:])
        power = 0.5 * (1 + torch.hypot(rows[:, None], columns)) ** -2
        gain = level.alpha * power / (level.alpha**2 * power + level.sigma**2)
        mean = (cond.flat["label"] / CLASSES - 0.4).view(-1, 1, 1, 1)
        return from_x0(x, level, mean + torch.fft.ifft2(gain * torch.fft.fft2(x - level.alpha * mean)).real)


@dataclass(frozen=True)
class Kind:
    """A kind of prior on its levels, with a positive and a negative label for each sample."""

    prior: Denoiser
    levels: list[Level]
    positive: Tensor
    negative: Tensor


def filled(network: torch.nn.Module) -> torch.nn.Module:
    fill_(
        network
    )  # the layers that start at zero too, so that the answer depends on all that the network is given
    return network.eval().requires_grad_(False)


def adm() -> Kind:
    prior = ADMPrior(filled(build_adm(dataclasses.replace(ADM, num_classes=CLASSES))))
    return Kind(prior, prior.schedule.respace(str(2 * STEPS)).levels(STEPS - 1), POSITIVE, NEGATIVE)


def edm(**settings) -> Kind:
    prior = EDMPrior(filled(build_edm({**EDM, **settings})))
    return Kind(prior, prior.levels(STEPS, 0.1, 3.0), prior.one_hot(POSITIVE), torch.zeros(2, CLASSES))


def clouds() -> Kind:
    return Kind(Clouds(), sigma_levels(geometric_sigmas(STEPS, 0.1, 3.0), float), POSITIVE, NEGATIVE)


@dataclass(frozen=True)
class Setup:
    """What is run: a prior, a transition and how hard the guides pull."""

    make: Callable[[], Kind]
    transition: Transition
    calls: int  # of the prior in a run
    form: str  # of the classifier's guidance
    push: float  # of the classifier
    pull: float  # of the measurement


SETUPS = {
    "adm": Setup(adm, DDPM(), STEPS, "mean", 5.0, 12.0),
    "edm-song": Setup(
        lambda: edm(model_type="SongUNet", model_channels=16),
        Heun(1.0, c_noise=c_noise),
        2 * STEPS - 1,
        "score",
        1.0,
        12.0,
    ),
    "edm-dhariwal": Setup(
        lambda: edm(model_type="DhariwalUNet", model_channels=32), DPMpp2M(), STEPS, "score", 1.0, 12.0
    ),
    "exact-ve": Setup(clouds, ReverseDiffusion(1), 2 * STEPS, "mean", 5.0, 24.0),
}
HOOKS = ("clip", "classifier", "measurement")
WRAPPERS = ("tiles", "cfg")  # the inner one first
each_kind = pytest.mark.parametrize("name", SETUPS)
kind = cache(lambda name: SETUPS[name].make())
classifier = cache(lambda: filled(build_adm(dataclasses.replace(ADM, out_channels=CLASSES, pool="spatial"))))


def log_prob(x: Tensor, level: Level) -> Tensor:
    """log p(class 2 | x_t) by a noise-aware network."""
    scaled = x / math.hypot(level.alpha, level.sigma)
    return classifier().log_prob(scaled, torch.full((len(x),), level.t), torch.full((len(x),), 2))


class Counted:
    """A prior, with the batch of each of its forward passes and the number of its backward passes."""

    def __init__(self, prior: Denoiser):
        self.prior, self.batches, self.backwards = prior, [], 0

    def __call__(self, x, level, cond=None):
        self.batches.append(len(x))
        pred = self.prior(x, level, cond)
        if pred.x0.requires_grad:
            pred.x0.register_hook(self.count)
        return pred

    def count(self, gradient):
        self.backwards += 1


@dataclass(frozen=True)
class Outcome:
    x: Tensor
    prior: Counted
    residuals: list[Tensor]  # that the guidance reports, one (B,) a step

    def misses(self, y: Tensor) -> Tensor:
        """|y - A x| of each sample at the end."""
        return (y - REDUCE(self.x)).flatten(1).norm(dim=1)

    def differs(self, other: Outcome) -> float:
        return (self.x - other.x).abs().mean().item()


@cache
def sample(name: str, hooks=HOOKS, wrappers=WRAPPERS, tile_batch: int = 2, first: int = 0) -> Outcome:
    """A run with the given parts in the given order, of all samples from the `first`."""
    setup, known = SETUPS[name], kind(name)
    positive, negative = (Cond(flat={"label": labels[first:]}) for labels in (known.positive, known.negative))
    wrap = {
        "tiles": lambda inner: Tiled(inner, TILE, OVERLAP, tile_batch),
        "cfg": lambda inner: CFG(inner, negative, 2.5),
    }
    measurement = MeasurementGuidance(REDUCE, Y[first:], setup.pull)
    guides = {
        "clip": ClipX0(),
        "classifier": ClassifierGuidance(log_prob, setup.push, setup.form),
        "measurement": measurement,
    }
    counted = denoiser = Counted(known.prior)
    for wrapper in wrappers:
        denoiser = wrap[wrapper](denoiser)
    noise = Noise(SEEDS[first:])
    start = noise((len(Y) - first, 3, SIDE, SIDE)) * math.hypot(*known.levels[0][1:])
    x = run(
        denoiser, start, known.levels, setup.transition, [guides[hook] for hook in hooks], noise, positive
    )
    return Outcome(x, counted, measurement.residuals)


def without(parts: tuple[str, ...], part: str) -> tuple[str, ...]:
    return tuple(p for p in parts if p != part)


@each_kind
def test_every_part_takes_effect(name):
    full, free = sample(name), sample(name, without(HOOKS, "measurement"))
    assert torch.isfinite(full.x).all()
    assert len(full.residuals) == STEPS
    assert (full.misses(Y) < 0.75 * free.misses(Y)).all(), (full.misses(Y), free.misses(Y))
    lesser = {hook: sample(name, hooks=without(HOOKS, hook)) for hook in HOOKS}
    lesser |= {wrapper: sample(name, wrappers=without(WRAPPERS, wrapper)) for wrapper in WRAPPERS}
    assert all(full.differs(other) > 1e-3 for other in lesser.values()), {
        part: full.differs(other) for part, other in lesser.items()
    }


@each_kind
def test_a_sample_alone_equals_the_sample_in_a_batch(name):
    torch.testing.assert_close(sample(name, first=1).x, sample(name).x[1:], atol=2e-4, rtol=0)


@each_kind
def test_the_batch_of_tiles_changes_nothing(name):
    for tile_batch in (1, TILES):
        torch.testing.assert_close(sample(name, tile_batch=tile_batch).x, sample(name).x, atol=2e-4, rtol=0)


@each_kind
def test_tiles_around_guidance_equal_guidance_around_tiles(name):
    outer = sample(name, wrappers=("cfg", "tiles"), tile_batch=1)
    torch.testing.assert_close(outer.x, sample(name).x, atol=2e-4, rtol=0)
    assert set(outer.prior.batches) == {2 * len(Y)}


@each_kind
def test_calls_are_counted(name):
    """CFG is one call of twice the batch, DPS one backward pass a call; groups of tiles are computed again
    for their gradient.
    """
    calls, rows = SETUPS[name].calls, 2 * len(Y)
    for tile_batch, groups in ((1, TILES), (2, 2)):
        found = sample(name, tile_batch=tile_batch).prior
        assert found.batches == [rows * tile_batch] * (2 * groups * calls)
        assert found.backwards == groups * calls
    for together in (sample(name, tile_batch=TILES), sample(name, wrappers=("cfg",))):
        assert (len(together.prior.batches), together.prior.backwards) == (calls, calls)
    free = sample(name, without(HOOKS, "measurement")).prior
    assert (free.batches, free.backwards) == ([2 * rows] * (2 * calls), 0)
    assert sample(name, wrappers=("tiles",)).prior.batches == [len(Y) * 2] * (4 * calls)


@pytest.mark.parametrize("order", list(permutations(HOOKS)), ids="-".join)
def test_no_order_of_hooks_drops_one(order):
    for pair in combinations(order, 2):
        assert sample("exact-ve", order).differs(sample("exact-ve", pair)) > 1e-3, pair
