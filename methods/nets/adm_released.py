"""The released ADM files and their settings; settings read from a state dict; the network that fits the
settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isqrt

from torch import Tensor

from .adm_classifier import ADMClassifier
from .adm_config import ADMConfig, Pool, classifier_from_flags, from_flags
from .adm_unet import ADMSuperRes, ADMUNet

State = Mapping[str, Tensor]


def _imagenet(
    size: int, class_cond: bool, channels: int, res_blocks: int, new_order: bool = False
) -> ADMConfig:
    return from_flags(
        image_size=size,
        num_channels=channels,
        num_res_blocks=res_blocks,
        attention_resolutions="32,16,8",
        learn_sigma=True,
        class_cond=class_cond,
        num_head_channels=64,
        use_scale_shift_norm=True,
        resblock_updown=True,
        use_new_attention_order=new_order,
    )


RELEASED: dict[str, ADMConfig] = {  # by file name without suffix
    "ffhq_10m": ADMConfig(model_channels=128, num_res_blocks=1, attention_factors=(16,)),
    "256x256_diffusion": _imagenet(256, True, 256, 2),
    "256x256_diffusion_uncond": _imagenet(256, False, 256, 2),
    "64x64_diffusion": _imagenet(64, True, 192, 3, new_order=True),
    "64_256_upsampler": replace(
        _imagenet(256, True, 192, 2), num_heads=4, num_head_channels=None, superres=True
    ),
    "64x64_classifier": classifier_from_flags(image_size=64, classifier_depth=4),
    "256x256_classifier": classifier_from_flags(image_size=256),
    "corrector": ADMConfig(
        model_channels=32, out_channels=3, num_res_blocks=1, attention_factors=(32,), num_head_channels=16
    ),  # DPI's
}


def build_adm(config: ADMConfig) -> ADMUNet | ADMClassifier:
    """A network with new weights for the settings."""
    return (ADMClassifier if config.pool else ADMSuperRes if config.superres else ADMUNet)(config)


def infer_config(
    state: State,
    *,
    image_size: int | None = None,
    superres: bool | None = None,
    num_res_blocks: int | None = None,
    num_heads: int | None = None,
    num_head_channels: int | None = None,
    num_heads_upsample: int | None = None,
    new_attention_order: bool | None = None,
) -> ADMConfig:
    """The settings of the ADM network that a state dict (of tensors, or of anything with a shape) belongs to.

    Keys and shapes cannot tell how heads are cut and ordered. Where nothing is given, a state dict with the
    shapes of a released file gets that file's heads, any other the legacy order and heads of 64 channels. Nor
    can they tell the training size (default: that of an attention pool, else the one whose coarsest map is 8
    x 8) or, from 6 channels to 3 or 6, whether half of the input is a low-resolution image (default: it is),
    or always the blocks of each level of a classifier. Raises ValueError, naming the parameter to give or the
    key that is missing.
    """
    try:
        found = _read(state, superres, num_res_blocks)
    except KeyError as error:
        raise ValueError(
            f"this is no complete ADM state dict: {error} is missing. Is it the right file, and complete?"
        ) from error
    if image_size is not None:
        found = replace(found, image_size=image_size)
    twin = next((known for known in RELEASED.values() if _same_shapes(found, known)), found)
    heads = (num_heads or found.num_heads, num_head_channels, num_heads_upsample)
    if num_heads is num_head_channels is num_heads_upsample is None:
        heads = (twin.num_heads, twin.num_head_channels, twin.num_heads_upsample)
    order = twin.new_attention_order if new_attention_order is None else new_attention_order
    return replace(
        found,
        num_heads=heads[0],
        num_head_channels=heads[1],
        num_heads_upsample=heads[2],
        new_attention_order=order,
    )


def _same_shapes(found: ADMConfig, known: ADMConfig) -> bool:
    """Whether nothing but what keys and shapes cannot tell differs."""
    return found == replace(
        known,
        image_size=found.image_size,
        num_heads=found.num_heads,
        num_head_channels=found.num_head_channels,
        num_heads_upsample=found.num_heads_upsample,
        new_attention_order=found.new_attention_order,
        dropout=found.dropout,
    )


def _read(state: State, superres: bool | None, num_res_blocks: int | None) -> ADMConfig:
    channels = state["time_embed.0.weight"].shape[1]
    blocks = 1 + max((int(key.split(".")[1]) for key in state if key.startswith("input_blocks.")), default=0)
    period = (
        num_res_blocks + 1 if num_res_blocks else _period(state, blocks)
    )  # input blocks of each level, the one below it included
    firsts = range(1, blocks, period)
    widths = [state[f"input_blocks.{i}.0.out_layers.3.weight"].shape[0] for i in firsts]
    stem = state["input_blocks.0.0.weight"].shape[1]
    pool, outputs, side = _ending(state)
    if superres is None:
        superres = pool is None and (stem == 2 * outputs or stem == outputs == 6)
    reduction = 2 ** (len(widths) - 1)
    return ADMConfig(
        image_size=side * reduction,
        in_channels=stem // (2 if superres else 1),
        out_channels=outputs,
        model_channels=channels,
        num_res_blocks=period - 1,
        channel_mult=tuple(w // channels if w % channels == 0 else w / channels for w in widths),
        attention_factors=tuple(
            2**level for level, i in enumerate(firsts) if f"input_blocks.{i}.1.qkv.weight" in state
        ),
        num_classes=state["label_emb.weight"].shape[0] if "label_emb.weight" in state else None,
        scale_shift=state["input_blocks.1.0.emb_layers.1.weight"].shape[0] == 2 * widths[0],
        resblock_updown=f"input_blocks.{period}.0.in_layers.0.weight" in state,
        conv_resample=f"input_blocks.{period}.0.op.weight" in state
        or f"input_blocks.{period}.0.in_layers.0.weight" in state
        or len(widths) == 1,
        superres=superres,
        pool=pool,
    )


def _ending(state: State) -> tuple[Pool | None, int, int]:
    """The pool, the number of output channels or classes, and the side of the coarsest map."""
    if "output_blocks.0.0.in_layers.0.weight" in state:
        return None, state["out.2.weight"].shape[0], 8
    if "out.2.positional_embedding" in state:
        return (
            "attention",
            state["out.2.c_proj.weight"].shape[0],
            isqrt(state["out.2.positional_embedding"].shape[1] - 1),
        )
    if "out.3.weight" not in state:
        return "spatial", state["out.2.weight"].shape[0], 8
    last = state["out.3.weight"]
    return ("adaptive" if len(last.shape) == 4 else "spatial_v2"), last.shape[0], 8


def _period(state: State, blocks: int) -> int:
    """How many input blocks lie from the first of one level to the first of the next."""
    for i in range(1, blocks):  # a layer between levels has its own key, or none at all
        if f"input_blocks.{i}.0.in_layers.0.weight" not in state:
            return i
    decoder = [key.split(".") for key in state if key.startswith("output_blocks.")]
    ups = [int(part[1]) for part in decoder if part[2] != "0" and part[3] == "in_layers"]
    if decoder:
        return min(ups) + 1 if ups else blocks
    fitting = [p for p in range(2, blocks + 1) if blocks % p == 0 and _fits(state, blocks, p)]
    if len(fitting) != 1:
        raise ValueError(
            "keys and shapes leave open how many residual blocks a level has "
            f"({[p - 1 for p in fitting]}): give num_res_blocks"
        )
    return fitting[0]


def _fits(state: State, blocks: int, period: int) -> bool:
    """Whether widths change only where a level starts, and attention follows all of a level's residual blocks
    or none.
    """
    widened = {i for i in range(1, blocks) if f"input_blocks.{i}.0.skip_connection.weight" in state}
    attentive = {i for i in range(1, blocks) if f"input_blocks.{i}.1.qkv.weight" in state}
    levels = [set(range(first, first + period - 1)) for first in range(1, blocks, period)]
    return (
        widened <= set(range(1, blocks, period))
        and attentive <= set().union(*levels)
        and all(not (a := level & attentive) or a == level for level in levels)
    )
