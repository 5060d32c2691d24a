"""The names that diffusers and transformers give to the layers of networks that are also published in other
layouts: tables from each of their prefixes to the released one, for a network of any depth.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
Table = dict[str, str]  # from prefixes of keys to those that stand for them

UNET_ENDS = {
    "conv_in.": "input_blocks.0.0.",
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
    "mid_block.attentions.0.": "middle_block.1.",
}
UNET_BLOCK = {  # within a residual block
    "norm1.": "in_layers.0.",
    "conv1.": "in_layers.2.",
    "time_emb_proj.": "emb_layers.1.",
    "norm2.": "out_layers.0.",
    "conv2.": "out_layers.3.",
    "conv_shortcut.": "skip_connection.",
}
VAE_BLOCK = {
    "conv_shortcut.": "nin_shortcut.",
    **{name: name for name in ("norm1.", "conv1.", "norm2.", "conv2.")},
}
VAE_ATTENTION = {  # the second name of each is that of older files
    **dict.fromkeys(("group_norm.",), "norm."),
    **dict.fromkeys(("to_q.", "query."), "q."),
    **dict.fromkeys(("to_k.", "key."), "k."),
    **dict.fromkeys(("to_v.", "value."), "v."),
    **dict.fromkeys(("to_out.0.", "proj_attn."), "proj_out."),
}
PIXEL_ATTENTION = {"group_norm.": "norm.", "to_out.0.": "proj_out.", "proj_attn.": "proj_out."}
PIXEL_QKV = (("to_q.", "to_k.", "to_v."), ("query.", "key.", "value."))
TEXT_ENDS = {"embeddings.token_embedding.": "token_embedding.", "final_layer_norm.": "ln_final."}
TEXT_BLOCK = {
    "layer_norm1.": "ln_1.",
    "layer_norm2.": "ln_2.",
    "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.",
    "self_attn.out_proj.": "attn.out_proj.",
}
TEXT_QKV = tuple(f"self_attn.{name}_proj." for name in "qkv")


def count(keys: Iterable[str], pattern: str) -> int:
    """One more than the largest number that the group of `pattern` matches at the start of a key, at most
    1024.
    """
    found = [match[1] for key in keys if (match := re.match(pattern, key))]
    return 1 + max((int(number) for number in found if len(number) <= 3), default=-1)


def unet_table(keys: Iterable[str]) -> Table:
    """From a diffusers UNet's prefixes to those of guided-diffusion and Stable Diffusion."""
    keys = list(keys)
    levels, blocks = (count(keys, rf"down_blocks\.{level}") for level in (r"(\d+)\.", r"0\.resnets\.(\d+)\."))
    attentive = {match[1] for key in keys if (match := re.match(r"up_blocks\.(\d+)\.attentions\.", key))}
    table = dict(UNET_ENDS)
    residual = {f"mid_block.resnets.{i}.": f"middle_block.{2 * i}." for i in (0, 1)}
    for level in range(levels):
        for i in range(blocks + 1):
            at = 1 + level * (blocks + 1) + i
            if i < blocks:
                residual[f"down_blocks.{level}.resnets.{i}."] = f"input_blocks.{at}.0."
                table[f"down_blocks.{level}.attentions.{i}."] = f"input_blocks.{at}.1."
            residual[f"up_blocks.{level}.resnets.{i}."] = f"output_blocks.{at - 1}.0."
            table[f"up_blocks.{level}.attentions.{i}."] = f"output_blocks.{at - 1}.1."
        next_level = (level + 1) * (blocks + 1)
        table[f"down_blocks.{level}.downsamplers.0.conv."] = f"input_blocks.{next_level}.0.op."
        place = 2 if str(level) in attentive else 1
        table[f"up_blocks.{level}.upsamplers.0.conv."] = f"output_blocks.{next_level - 1}.{place}.conv."
    return table | _within(residual, UNET_BLOCK)


def pixel_table(keys: Iterable[str]) -> Table:
    """The same for a UNet2DModel, whose attention sees nothing but the picture; its queries, keys and values
    are not in it (PIXEL_QKV).
    """
    table = unet_table(keys)
    blocks = {key: value for key, value in table.items() if ".attentions." in key}
    return table | _within(blocks, PIXEL_ATTENTION)


def vae_table(keys: Iterable[str]) -> Table:
    """From a diffusers autoencoder's prefixes to the released ones. Level 0 is the finest in these, and the
    coarsest of the decoder in diffusers'.
    """
    keys = list(keys)
    levels = count(keys, r"decoder\.up_blocks\.(\d+)\.")
    blocks = count(keys, r"decoder\.up_blocks\.0\.resnets\.(\d+)\.")
    table, residual, attention = {}, {}, {}
    for side in ("encoder", "decoder"):
        table[f"{side}.conv_norm_out."] = f"{side}.norm_out."
        attention[f"{side}.mid_block.attentions.0."] = f"{side}.mid.attn_1."
        for i in (0, 1):
            residual[f"{side}.mid_block.resnets.{i}."] = f"{side}.mid.block_{i + 1}."
    for level in range(levels):
        fine = levels - 1 - level
        table[f"encoder.down_blocks.{level}.downsamplers.0."] = f"encoder.down.{level}.downsample."
        table[f"decoder.up_blocks.{level}.upsamplers.0."] = f"decoder.up.{fine}.upsample."
        for i in range(blocks):
            residual[f"encoder.down_blocks.{level}.resnets.{i}."] = f"encoder.down.{level}.block.{i}."
            residual[f"decoder.up_blocks.{level}.resnets.{i}."] = f"decoder.up.{fine}.block.{i}."
    return table | _within(residual, VAE_BLOCK) | _within(attention, VAE_ATTENTION)


def vae_of_diffusers(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of a diffusers autoencoder under the released names; its linear layers become 1 x 1
    convolutions.
    """
    found = renamed(entries, vae_table(entries))
    return {k: v.widened() if v.ndim == 2 and ".attn_1." in k else v for k, v in found.items()}


def text_table(keys: Iterable[str]) -> Table:
    """From a CLIPTextModel's prefixes to OpenCLIP's; queries, keys and values are not in it (TEXT_QKV)."""
    layers = count(keys, r"encoder\.layers\.(\d+)\.")
    blocks = {f"encoder.layers.{i}.": f"transformer.resblocks.{i}." for i in range(layers)}
    return TEXT_ENDS | _within(blocks, TEXT_BLOCK)


def _within(blocks: Mapping[str, str], names: Mapping[str, str]) -> Table:
    return {f"{b}{n}": f"{blocks[b]}{names[n]}" for b in blocks for n in names}


def renamed(entries: Mapping[str, T], table: Table) -> dict[str, T]:
    """Entries whose keys begin as the table knows, under what stands for that; others as they are."""
    return {renamed_key(key, table): value for key, value in entries.items()}


def renamed_key(key: str, table: Table) -> str:
    at = len(key)
    while (at := key.rfind(".", 0, at)) >= 0:  # the longest prefix first
        if (start := key[: at + 1]) in table:
            return table[start] + key[at + 1 :]
    return key
