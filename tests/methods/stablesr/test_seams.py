"""Where tiles begin and end nothing shows: of the sampled latent, of what is encoded, and of what is decoded
with feature wrapping.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from fill import tensor
from stablesr_tiny import context, tiny
from torch import nn

from priorsr.methods.nets.sd_vae import VAEConfig
from priorsr.methods.stablesr.autoencoder import Autoencoder
from priorsr.methods.stablesr.method import LATENT, StableSRSettings, sample
from priorsr.methods.stablesr.prior import CONTEXT, LR, WEIGHTS, modulated
from priorsr.samplers.denoiser import Cond, Prediction, from_x0
from priorsr.samplers.noise import Noise
from priorsr.samplers.schedule import CLEAN
from priorsr.samplers.tiled import Tiled, gaussian_weights, starts

GRADIENT, LEVEL = 0.05, 2 / 255  # how far gradients may differ, and a level of brightness in -1..1
APART = 40 * LEVEL  # how much the tiles of a network are made to disagree


def smooth(shape):
    """A picture in about -1..1 whose gradient is alike everywhere."""
    coarse = tensor("smooth", (*shape[:2], *(n // 4 for n in shape[2:])))
    return F.interpolate(coarse, scale_factor=4.0, mode="bicubic") / 2


def across(steps, size, overlap):
    """One number a line between neighbours, averaged over those where a tile begins or ends, and over the
    others, along both axes.
    """
    ours, others = [], []
    for values in steps:
        length = len(values) + 1
        lines = sorted(
            {
                line - 1
                for first in starts(length, size, overlap)
                for line in (first, first + size)
                if 0 < line < length
            }
        )
        inner = torch.ones(length - 1, dtype=torch.bool)
        inner[lines] = False
        ours.append(values[~inner])
        others.append(values[inner])
    return torch.cat(ours).mean().item(), torch.cat(others).mean().item()


def gradients(x, size, overlap):
    """Mean absolute difference of neighbours."""
    return across([x.transpose(2, axis).diff(dim=2).abs().mean((0, 1, 3)) for axis in (2, 3)], size, overlap)


def ratio(x, size, overlap):
    ours, others = gradients(x, size, overlap)
    return ours / others


def steps(x, size, overlap):
    """How much brighter one side of a line is than the other, on the whole."""
    return across(
        [x.transpose(2, axis).diff(dim=2).mean(3).abs().mean((0, 1)) for axis in (2, 3)], size, overlap
    )


def unseamed(made, whole, size, overlap):
    """Both bars where tiles must not change a picture: relative gradient across borders, and steps that the
    whole does not have.
    """
    assert ratio(made, size, overlap) / ratio(whole, size, overlap) == pytest.approx(1, abs=GRADIENT)
    for axis in (2, 3):
        assert (made - whole).diff(dim=axis).abs().max() < LEVEL


class Identity(nn.Module):
    """An autoencoder of pixel-wise means and repetition."""

    config = VAEConfig()

    def encode(self, image):
        mean = F.avg_pool2d(image[:, [0, 1, 2, 0]], LATENT)
        return torch.cat([mean, mean * 0 - 30], 1)

    def decode(self, z):
        return F.interpolate(z[:, :3], scale_factor=float(LATENT), mode="nearest")


@pytest.mark.parametrize("weights", list(WEIGHTS))
@pytest.mark.parametrize("overlap", [32, 16])
def test_an_identity_like_denoiser_shows_no_tiles(weights, overlap):
    lr = smooth((1, 4, 96, 160))
    near = lambda x, level, cond: from_x0(x, level, cond.spatial[LR] * 0.95 + 0.05 * torch.tanh(x))  # noqa: E731
    how = StableSRSettings(
        steps=3, sampler="ddim", start="noise", tile=512, overlap=overlap * LATENT, weights=weights
    )
    made, whole = (
        sample(near, Cond({LR: lr}), settings, Noise([1])) for settings in (how, replace(how, tile=2048))
    )
    unseamed(made, whole, 64, overlap)


def test_an_identity_like_autoencoder_shows_no_tiles():
    image = smooth((1, 3, 256, 384))
    tiled, whole = Autoencoder(Identity(), tile=128, overlap=16), Autoencoder(Identity())
    z = whole.encode(image)
    unseamed(tiled.encode(image), z, 16, 2)
    unseamed(tiled.decode(z), whole.decode(z), 128, 16)


class Disagreeing:
    """Answers of one brightness each, as far apart as networks that see a tile only never are."""

    def __init__(self):
        self.calls = 0

    def brightness(self):
        self.calls += 1
        return APART * ((self.calls * 0.618) % 1)

    def __call__(self, x, level=None, cond=None):
        x0 = torch.full_like(x, self.brightness())
        return Prediction(x0, x0[:, :0])


@pytest.mark.parametrize("weights", list(WEIGHTS))
@pytest.mark.parametrize("overlap", [32, 16, 8])
def test_tiles_of_a_denoiser_that_disagree_end_without_a_step(weights, overlap):
    x = torch.zeros(1, 1, 96, 160)
    made = Tiled(Disagreeing(), 64, overlap, 1, WEIGHTS[weights])(x, CLEAN).x0
    assert made.std() > 0.1 * APART
    ours, _ = gradients(made, 64, overlap)
    assert ours < LEVEL / 4
    assert (
        gradients(Tiled(Disagreeing(), 64, overlap, 1, gaussian_weights)(x, CLEAN).x0, 64, overlap)[0] > ours
    )  # too wide for that


class Unequal(Identity):
    def __init__(self):
        super().__init__()
        self.answer = Disagreeing()

    def decode(self, z):
        return torch.full((len(z), 3, *(n * LATENT for n in z.shape[-2:])), self.answer.brightness())


@pytest.mark.parametrize(("tile", "overlap"), [(256, 128), (512, 64)])
def test_tiles_of_an_autoencoder_that_disagree_go_over_evenly(tile, overlap):
    made = Autoencoder(Unequal(), tile=tile, overlap=overlap).decode(torch.zeros(1, 4, 96, 128))
    assert made.std() > 0.1 * APART
    for axis in (2, 3):
        assert made.diff(dim=axis).abs().max() < LEVEL
    assert (
        Autoencoder(Unequal(), tile=tile, overlap=0)
        .decode(torch.zeros(1, 4, 96, 128))
        .diff(dim=3)
        .abs()
        .max()
        > LEVEL
    )  # nothing to go over in


def test_the_tiny_model_shows_no_tiles():
    model, noise = tiny(), Noise([1])
    cond = Cond({LR: 0.5 * tensor("lr", (1, 4, 48, 64))}, {CONTEXT: context()})
    latent = sample(
        modulated(model.prior, model.layers),
        cond,
        StableSRSettings(steps=2, tile=128, overlap=64, tile_batch=4),
        noise,
    )
    print(f"aggregation: gradient {ratio(latent, 16, 8):.3f}")
    assert ratio(latent, 16, 8) == pytest.approx(1, abs=GRADIENT)


def test_the_tiny_autoencoder_shows_no_tiles():
    """Random weights make tiles differ far more than trained ones: by half the deviation of the picture."""
    model, image = tiny(), smooth((1, 3, 224, 320))
    small, whole = (Autoencoder(model.vae, model.cfw, tile, 32) for tile in (128, 0))
    z = whole.encode(image)
    for w in (0.0, 1.0):
        made, wanted = (coder.decode(z, image, w) for coder in (small, whole))
        gradient, (ours, others) = (
            ratio(made, 128, 32) / ratio(wanted, 128, 32),
            steps(made - wanted, 128, 32),
        )
        print(
            f"decoder, fidelity {w:g}: gradient {gradient:.3f}, steps {ours / LEVEL:.2f} levels, elsewhere "
            f"{others / LEVEL:.2f}"
        )
        assert gradient == pytest.approx(1, abs=GRADIENT)
        assert ours - others < LEVEL
    gradient = ratio(small.encode(image), 16, 4) / ratio(z, 16, 4)
    print(f"encoder: gradient {gradient:.3f}")
    assert gradient == pytest.approx(1, abs=GRADIENT)
