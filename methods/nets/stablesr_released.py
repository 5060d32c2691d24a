"""StableSR's and Stable Diffusion's released files: which keys are whose, and sizes read from shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from . import cfw, struct_encoder
from .adm_config import ADMConfig
from .adm_released import infer_config
from .sd_unet import SDConfig, SDUNet
from .sd_vae import VAEConfig
from .spade import residual_blocks

State = Mapping[str, Tensor]  # or anything with a shape


def count(state: State, pattern: str) -> int:
    """One more than the largest number that the group of `pattern` matches."""
    return 1 + max((int(found[1]) for key in state if (found := re.match(pattern, key))), default=-1)


def infer_struct(state: State) -> ADMConfig:
    """The settings of the encoder that a state dict belongs to. Raises KeyError for a missing entry."""
    levels = count(state, r"fea_tran\.(\d+)\.")
    widths = [state[f"fea_tran.{i}.in_layers.0.weight"].shape[0] for i in range(levels)]
    halving = next((i for i in range(1, 99) if f"input_blocks.{i}.0.op.weight" in state), 0)
    period = halving or count(state, r"input_blocks\.(\d+)\.")
    channels = state["time_embed.0.weight"].shape[1]
    attentive = [i for i in range(levels) if f"input_blocks.{i * period + 1}.1.qkv.weight" in state]
    return replace(  # heads leave no trace
        struct_encoder.RELEASED,
        in_channels=state["input_blocks.0.0.weight"].shape[1],
        out_channels=state["fea_tran.0.out_layers.0.weight"].shape[0],
        model_channels=channels,
        num_res_blocks=period - 1,
        channel_mult=tuple(width // channels for width in widths),
        attention_factors=tuple(2**i for i in attentive),
    )


def infer_sft(state: State, levels: int) -> dict[str, int]:
    """Every residual block that a UNet of these levels has, so that a missing layer is noticed.

    Raises KeyError.
    """
    period = count(state, r"output_blocks\.(\d+)\.") // levels
    firsts = [f"input_blocks.{i * period + 1}.0.spade.param_free_norm.weight" for i in range(levels)]
    widths = [state[first].shape[0] for first in firsts]
    config = SDConfig(
        model_channels=widths[0],
        channel_mult=tuple(width // widths[0] for width in widths),
        num_res_blocks=period - 1,
        attention_factors=(),
        num_head_channels=None,
    )
    with torch.device("meta"):
        return residual_blocks(SDUNet(config))


def infer_sd_unet(state: State) -> SDConfig:
    """The settings of a Stable Diffusion UNet. Raises KeyError for a missing entry, ValueError."""
    found = infer_config(state, image_size=64, superres=False)
    period = found.num_res_blocks + 1
    levels = range(len(found.widths))
    attentive = [i for i in levels if f"input_blocks.{i * period + 1}.1.proj_in.weight" in state]
    return SDConfig(
        in_channels=found.in_channels,
        out_channels=found.out_channels,
        model_channels=found.model_channels,
        num_res_blocks=found.num_res_blocks,
        channel_mult=found.channel_mult,
        attention_factors=tuple(2**i for i in attentive),
        context_dim=state["middle_block.1.transformer_blocks.0.attn2.to_k.weight"].shape[1],
    )


def infer_vae(state: State) -> VAEConfig:
    """The settings of Stable Diffusion's autoencoder. Raises KeyError for a missing entry."""
    channels = state["encoder.conv_in.weight"].shape[0]
    levels = max(count(state, r"encoder\.down\.(\d+)\."), 1)
    widths = [state[f"encoder.down.{i}.block.0.conv1.weight"].shape[0] for i in range(levels)]
    return VAEConfig(
        channels,
        tuple(width // channels for width in widths),
        count(state, r"encoder\.down\.0\.block\.(\d+)\."),
        state["post_quant_conv.weight"].shape[0],
    )


def infer_cfw(state: State) -> tuple[dict[int, int], int, int]:
    """Widths by level, dense blocks and their growth of CFW's fusion blocks.

    Raises KeyError for a missing entry.
    """
    norms = {level: f"fusion_layer_{level}.encode_enc_3.norm1.weight" for level in cfw.RELEASED}
    widths = {level: state[norm].shape[0] for level, norm in norms.items()}
    blocks = count(state, r"fusion_layer_1\.encode_enc_2\.(\d+)\.")
    return widths, blocks, state["fusion_layer_1.encode_enc_2.0.rdb1.conv1.weight"].shape[0]


PARTS = (  # of a diffusers autoencoder, and the same in the released files
    (r"mid_block\.resnets\.0\.", "mid.block_1."),
    (r"mid_block\.resnets\.1\.", "mid.block_2."),
    (r"mid_block\.attentions\.0\.", "mid.attn_1."),
    (r"(down|up)_blocks\.(\d+)\.resnets\.(\d+)\.", r"\1.\2.block.\3."),
    (r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample."),
    (r"up_blocks\.(\d+)\.upsamplers\.0\.", r"up.\1.upsample."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"conv_norm_out\.", "norm_out."),
    (r"(attn_1)\.group_norm\.", r"\1.norm."),
    (r"(attn_1)\.(?:to_q|query)\.", r"\1.q."),
    (r"(attn_1)\.(?:to_k|key)\.", r"\1.k."),
    (r"(attn_1)\.(?:to_v|value)\.", r"\1.v."),
    (r"(attn_1)\.(?:to_out\.0|proj_attn)\.", r"\1.proj_out."),
)


def vae_of_diffusers(entries: Mapping) -> dict:
    """Entries of a diffusers autoencoder under the released names; its linear layers become 1 x 1
    convolutions.
    """
    levels = count(entries, r"decoder\.up_blocks\.(\d+)\.")
    renamed = {}
    for key, value in entries.items():
        for pattern, name in PARTS:
            key = re.sub(pattern, name, key)
        if found := re.match(
            r"decoder\.up\.(\d+)\.(.*)", key
        ):  # level 0 is the finest here, the coarsest there
            key = f"decoder.up.{levels - 1 - int(found[1])}.{found[2]}"
        linear = value.ndim == 2 and ".attn_1." in key
        renamed[key] = value.widened() if linear else value
    return renamed
