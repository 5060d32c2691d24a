from __future__ import annotations

import logging

import pytest
import torch
from fill import tensor
from stablesr_tiny import tiny
from torch import nn

from priorsr.methods.stablesr.autoencoder import Autoencoder
from priorsr.methods.stablesr.vae_adapter import VAEAdapter

IMAGE = tensor("adopted", (1, 3, 48, 32)).clamp(-1, 1)


@pytest.mark.parametrize("w", [0.0, 0.5])
@pytest.mark.parametrize("tile", [0, 32])
def test_an_adopted_autoencoder_is_the_same_autoencoder(w, tile):
    model = tiny()
    own, adopted = (Autoencoder(vae, model.cfw, tile, 16) for vae in (model.vae, VAEAdapter(model.vae)))
    z = own.encode(IMAGE)
    assert torch.equal(adopted.encode(IMAGE), z)
    assert torch.equal(adopted.decode(z, IMAGE, w), own.decode(z, IMAGE, w))


class Overflowing(nn.Module):
    """An autoencoder whose half precision is not enough."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Conv2d(3, 8, 1), nn.Conv2d(4, 3, 1)
        self.quant_conv, self.post_quant_conv = nn.Identity(), nn.Conv2d(4, 4, 1)
        self.encoder.down, self.decoder.up = nn.ModuleList(), nn.ModuleList([nn.Identity()])
        for parameter in self.parameters():
            nn.init.constant_(parameter, 300.0)


def test_what_overflows_in_half_precision_is_done_again_in_full(caplog):
    network, passes = Overflowing().half().requires_grad_(False), []
    vae = VAEAdapter(network, before=lambda: passes.append(1))
    with caplog.at_level(logging.WARNING, "priorsr"):
        y = vae.decode(torch.full((1, 4, 2, 2), 60.0))
    assert torch.isfinite(y).all()
    assert (y > 65504).all()
    assert len(passes) == 1
    assert "float32" in caplog.text
    assert {p.dtype for p in network.parameters()} == {torch.float16}


def test_nan_in_full_precision_and_foreign_networks_are_refused():
    with pytest.raises(FloatingPointError, match="full precision"):
        VAEAdapter(Overflowing().requires_grad_(False)).decode(torch.full((1, 4, 2, 2), torch.inf))
    with pytest.raises(ValueError, match="Linear"):
        VAEAdapter(nn.Linear(2, 2))
