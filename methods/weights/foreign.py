"""Weights in the layouts of other programs, under the names and in the form that the kinds know."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .boundary import Incomplete, building, naming
from .diffusers_names import (
    PIXEL_QKV,
    TEXT_QKV,
    count,
    pixel_table,
    renamed,
    text_table,
    unet_table,
)
from .entry import Derived, InFile, joined
from .file_settings import read_json
from .listing import Entries, Listing, without_prefix

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "diffusers"  # metadata: the config.json that lies beside a file
SCHEDULER = "scheduler"  # metadata: a pipeline's scheduler_config.json
TEXT_PREFIXES = ("", "text_model.")
MARKER = "scaled_fp8"
SCALES = (".scale_weight", ".weight_scale")  # beside a weight in fp8: what its numbers are multiplied by
INPUT_SCALES = (".scale_input", ".input_scale")  # for multiplying in fp8, which is not done here
QUANTISED = {  # ends of keys, and whose quantised formats they belong to
    ".absmax": "bitsandbytes",
    ".quant_map": "bitsandbytes",
    ".SCB": "bitsandbytes",
    ".qweight": "GPTQ, AWQ or Nunchaku",
    ".qzeros": "GPTQ or AWQ",
    ".comfy_quant": "ComfyUI's mixed precision",
}
BETAS = {"linear": "linear", "squaredcos_cap_v2": "cosine"}  # what a scheduler calls them, and we
TARGETS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
PLAIN_BLOCKS = {"DownBlock2D", "AttnDownBlock2D", "UpBlock2D", "AttnUpBlock2D", "UNetMidBlock2D"}


def translated(listing: Listing) -> Listing:
    """The same under the names that the kinds know, or as it is.

    Raises ValueError naming the file where it is quantised, or in a layout that is known but not of a network
    that is built here.
    """
    listing = _unscaled(listing)
    entries = listing.entries
    if "down_blocks.0.resnets.0.conv1.weight" in entries and "time_embedding.linear_1.weight" in entries:
        with building(listing.path, "diffusers"):
            if any(".attn2." in key for key in entries):
                return replace(listing, entries=renamed(entries, unet_table(entries)))
            return _pixel_prior(listing)
    for prefix in TEXT_PREFIXES:
        if f"{prefix}embeddings.token_embedding.weight" in entries:
            with building(listing.path, "CLIP text encoder"):
                return _text(without_prefix(listing, prefix) if prefix else listing)
    return listing


def _unscaled(listing: Listing) -> Listing:
    """With the numbers of fp8 files multiplied by the scales beside them."""
    keys = (*listing.entries, *listing.unusable)
    for key in keys:
        for end, whose in QUANTISED.items():
            if key.endswith(end):
                raise ValueError(
                    f"{listing.path} is quantised in the format of {whose} (it holds {key[:80]}): choose a "
                    "file of the same model in float32, float16, bfloat16 or fp8"
                )
    scales = {key: end for key in listing.entries for end in SCALES if key.endswith(end)}
    markers = {key for key in listing.entries if key.rpartition(".")[2] == MARKER}
    if not scales and not markers:
        return listing
    useless = {key for key in listing.entries if key.endswith(INPUT_SCALES)}
    entries: Entries = {
        k: v for k, v in listing.entries.items() if k not in scales and k not in markers | useless
    }
    for key, end in scales.items():
        weight = f"{key.removesuffix(end)}.weight"
        if weight not in entries:
            raise ValueError(
                f"{listing.path} holds the scale {key[:80]} without its weight: it is not complete, fetch it "
                "again"
            )
        with naming(listing.path):
            entries[weight] = _scaled(entries[weight], listing.entries[key])
    return replace(listing, entries=entries)


def _scaled(weight: Any, scale: Any) -> Derived:
    shape = tuple(weight.shape)
    if math.prod(scale.shape) not in (1, shape[0] if shape else 1):
        raise ValueError(f"a scale of {tuple(scale.shape)} does not fit a weight of {shape}")

    def make(parts: Sequence[Tensor]) -> Tensor:
        numbers, factor = (part.float() for part in parts)
        return numbers * factor.reshape(-1, *[1] * (numbers.ndim - 1))

    return Derived(weight.dtype, shape, (weight, scale), make)


def _text(listing: Listing) -> Listing:
    """A CLIPTextModel as OpenCLIP's text tower."""
    entries: dict[str, Any] = dict(listing.entries)
    place = entries.pop("embeddings.position_embedding.weight")
    entries.pop("embeddings.position_ids", None)
    entries.pop("text_projection.weight", None)
    joint = {}
    for i in range(count(entries, r"encoder\.layers\.(\d+)\.")):
        block = f"encoder.layers.{i}."
        for end in ("weight", "bias"):
            parts = [entries.pop(f"{block}{name}{end}") for name in TEXT_QKV]
            joint[f"transformer.resblocks.{i}.attn.in_proj_{end}"] = joined(parts)
    found = {"positional_embedding": place, **joint, **renamed(entries, text_table(entries))}
    return replace(listing, entries=found)


def _pixel_prior(listing: Listing) -> Listing:
    """A UNet2DModel as an ADM prior; its settings are those of the config.json beside it."""
    config = read_json(listing.metadata, CONFIG)
    if not config:
        raise Incomplete(
            "it is a UNet2DModel of diffusers without its config.json: put that beside it, or give the folder"
        )
    entries: dict[str, Any] = dict(listing.entries)
    for names in PIXEL_QKV:
        for key in [key for key in entries if key.endswith(f".{names[0]}weight")]:
            start = key.removesuffix(f"{names[0]}weight")
            for end in ("weight", "bias"):
                parts = [entries.pop(f"{start}{name}{end}") for name in names]
                entries[f"{start}qkv.{end}"] = joined(parts)
    found = renamed(entries, pixel_table(entries))
    found = {k: _convolution(k, v) for k, v in found.items()}
    if not config.get("flip_sin_to_cos", True):
        found["time_embed.0.weight"] = _halves_swapped(found["time_embed.0.weight"])
    told = {
        **listing.metadata,
        "settings": json.dumps(_adm_settings(config, found)),
        "chain": json.dumps(chain_of(read_json(listing.metadata, SCHEDULER))),
    }
    return replace(listing, entries=found, metadata=told)


def _convolution(key: str, value: InFile | Tensor) -> Any:
    """Attention's linear layers as convolutions of length 1."""
    if not key.endswith(("qkv.weight", ".proj_out.weight")) or value.ndim != 2:
        return value
    return Derived(value.dtype, (*value.shape, 1), (value,), lambda parts: parts[0][..., None])  # type: ignore


def _halves_swapped(weight: Any) -> Derived:
    """For an embedding whose sines come before its cosines."""
    return Derived(
        weight.dtype, weight.shape, (weight,), lambda parts: parts[0].roll(weight.shape[1] // 2, 1)
    )


def _adm_settings(config: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """An ADMConfig's fields. Raises Incomplete for a form that ADM networks do not have."""
    types = [*config.get("down_block_types", ()), *config.get("up_block_types", ())]
    types.append(config.get("mid_block_type") or "UNetMidBlock2D")
    unlike = [t for t in types if t not in PLAIN_BLOCKS]
    unlike += [
        f"{name} {config[name]}"
        for name, usual in (
            ("time_embedding_type", "positional"),
            ("resnet_time_scale_shift", "default"),
            ("act_fn", "silu"),
            ("class_embed_type", None),
            ("num_class_embeds", None),
            ("center_input_sample", False),
            ("time_embedding_dim", None),
            ("attn_norm_num_groups", None),
            ("downsample_type", "conv"),
            ("upsample_type", "conv"),
            ("mid_block_scale_factor", 1),
            ("add_attention", True),
        )
        if config.get(name, usual) != usual
    ]
    if unlike:
        raise Incomplete(f"its UNet has {', '.join(map(str, unlike[:3]))}, which no prior here has")
    widths = config["block_out_channels"]
    head = config.get("attention_head_dim", 8)
    blocks = config["layers_per_block"]
    levels = range(len(widths))
    return {
        "image_size": config["sample_size"],
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "model_channels": widths[0],
        "num_res_blocks": blocks,
        "channel_mult": [w // widths[0] if w % widths[0] == 0 else w / widths[0] for w in widths],
        "attention_factors": [
            2**i for i in levels if f"input_blocks.{1 + i * (blocks + 1)}.1.qkv.weight" in found
        ],
        "num_heads": 1,
        "num_head_channels": head,
        "new_attention_order": True,  # as queries, keys and values are joined here
        "scale_shift": False,
        "resblock_updown": False,
        "groups": config.get("norm_num_groups", 32),
        "eps": config.get("norm_eps", 1e-5),
        "frequency_shift": config.get("freq_shift", 0),
        "pad_after": config.get("downsample_padding", 1) == 0,
    }


def chain_of(scheduler: Mapping[str, Any]) -> dict[str, Any]:
    """What a scheduler_config.json says of the noise, as a prior's `chain`; the usual where it says nothing.

    Raises Incomplete for a schedule that no prior here has.
    """
    betas = scheduler.get("beta_schedule", "linear")
    ends = scheduler.get("beta_start", 1e-4), scheduler.get("beta_end", 0.02)
    steps = scheduler.get("num_train_timesteps", 1000)
    target = TARGETS.get(scheduler.get("prediction_type", "epsilon"))
    # betas are those of 1000 steps, and larger for fewer
    usual = [abs(end * steps / 1000 - wanted) < 1e-9 for end, wanted in zip(ends, (1e-4, 0.02), strict=True)]
    if betas not in BETAS or (betas == "linear" and not all(usual)) or target is None:
        raise Incomplete(
            f"its scheduler has {steps} {betas} betas from {ends[0]} to {ends[1]} and predicts "
            f"{scheduler.get('prediction_type', 'epsilon')}, which no prior here has"
        )
    return {"schedule": BETAS[betas], "train_steps": steps, "target": target}
