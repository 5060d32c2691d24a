"""StableSR's and Stable Diffusion's released files: which keys are whose, and sizes read from shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from . import cfw, struct_encoder
from .adm_config import ADMConfig
from .adm_released import infer_config
from .sd_unet import SDConfig
from .sd_vae import VAEConfig

CONTEXT_OF_1 = 768  # channels of a prompt in Stable Diffusion 1, whose UNet has 8 heads at every level
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
    channels = state["fea_tran.0.emb_layers.1.weight"].shape[1] // 4  # an encoder without time has these too
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
    firsts = [f"input_blocks.{i * period + 1}.0.spade." for i in range(levels)]
    last = "add.bias" if f"{firsts[0]}add.bias" in state else "param_free_norm.weight"
    widths = [state[f"{first}{last}"].shape[0] for first in firsts]
    deepest = range(levels - 1, -1, -1)
    blocks = {f"input_blocks.{i * period + n}.0": widths[i] for i in range(levels) for n in range(1, period)}
    blocks |= {f"middle_block.{n}": widths[-1] for n in (0, 2)}
    up = [widths[i] for i in deepest for _ in range(period)]
    return blocks | {f"output_blocks.{n}.0": width for n, width in enumerate(up)}


def infer_sd_unet(state: State) -> SDConfig:
    """The settings of a Stable Diffusion UNet. Raises KeyError for a missing entry, ValueError."""
    found = infer_config(state, image_size=64, superres=False)
    period = found.num_res_blocks + 1
    levels = range(len(found.widths))
    attentive = [i for i in levels if f"input_blocks.{i * period + 1}.1.proj_in.weight" in state]
    context = state["middle_block.1.transformer_blocks.0.attn2.to_k.weight"].shape[1]
    return SDConfig(
        in_channels=found.in_channels,
        out_channels=found.out_channels,
        model_channels=found.model_channels,
        num_res_blocks=found.num_res_blocks,
        channel_mult=found.channel_mult,
        attention_factors=tuple(2**i for i in attentive),
        context_dim=context,
        **({"num_heads": 8, "num_head_channels": None} if context == CONTEXT_OF_1 else {}),
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
