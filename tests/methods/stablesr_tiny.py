"""Small networks of StableSR's form, filled by name."""

from __future__ import annotations

from functools import cache

import torch
from fill import fill_, tensor

from priorsr.methods.nets.adm_config import ADMConfig
from priorsr.methods.nets.cfw import CFW
from priorsr.methods.nets.sd_unet import SDConfig, SDUNet
from priorsr.methods.nets.sd_vae import VAE, VAEConfig
from priorsr.methods.nets.spade import SFT, residual_blocks
from priorsr.methods.nets.struct_encoder import StructEncoder
from priorsr.methods.stablesr.layers import Layers
from priorsr.methods.stablesr.method import StableSR
from priorsr.methods.stablesr.prior import diffusion_prior

UNET = SDConfig(model_channels=64, num_res_blocks=1, channel_mult=(1, 2), attention_factors=(1,), context_dim=24)
STRUCT = ADMConfig(
    image_size=96,
    in_channels=4,
    out_channels=32,
    model_channels=32,
    num_res_blocks=1,
    channel_mult=(1, 2),
    attention_factors=(1,),
    num_head_channels=None,
    scale_shift=False,
    resblock_updown=False,
)
COARSE = VAEConfig(channels=32, channel_mult=(1, 1, 2, 2), num_res_blocks=1)


def filled(network):
    fill_(network)
    return network.eval().requires_grad_(False)


@cache
def tiny() -> StableSR:
    unet = filled(SDUNet(UNET))
    layers = Layers(filled(StructEncoder(STRUCT)), filled(SFT(residual_blocks(unet), STRUCT.out_channels)))
    return StableSR(diffusion_prior(unet), layers, filled(VAE(COARSE)), filled(CFW({1: 32, 2: 64}, blocks=1, growth=8)))


def context(batch: int = 1, name: str = "context") -> torch.Tensor:
    return tensor(name, (batch, 5, UNET.context_dim))
