"""Which keys of StableSR's and Stable Diffusion's files belong to which network, under that network's own
names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .diffusers_names import vae_of_diffusers

Shapes = Mapping[str, Any]  # of tensors, or of what is still in a file and has their form
Metadata = Mapping[str, str]

UNET = "model.diffusion_model."  # where the released files keep StableSR's and Stable Diffusion's parts
STRUCT = "structcond_stage_model."
AUTOENCODER = "first_stage_model."
FUSION = "decoder.fusion_layer_"
TEXT = ("cond_stage_model.model.", "conditioner.embedders.0.model.")  # Stable Diffusion 2.1's and SD-Turbo's
TEXT_BLOCKS = 23  # all but the last, which Stable Diffusion 2 does not use
TEXT_UNUSED = (
    f"transformer.resblocks.{TEXT_BLOCKS}.",
    "text_projection",
    "logit_scale",
    "attn_mask",
    "visual.",
)
VAE_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
PROMPT = "middle_block.1.transformer_blocks.0.attn2.to_k.weight"


def below(state: Shapes, prefix: str) -> dict:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def is_layer(key: str) -> bool:
    return key.startswith(STRUCT) or (key.startswith(UNET) and ".spade." in key)


def is_unet(key: str) -> bool:
    return key.startswith(UNET) and not is_layer(key)


def is_fusion(key: str) -> bool:
    return key.startswith(FUSION)


def is_vae(key: str) -> bool:
    return key.removeprefix(AUTOENCODER).startswith(VAE_PARTS) and not is_fusion(key)


def holds_vae(state: Shapes, metadata: Metadata) -> bool:
    return any(f"{prefix}encoder.conv_in.weight" in state for prefix in ("", AUTOENCODER)) and any(
        f"{prefix}post_quant_conv.weight" in state for prefix in ("", AUTOENCODER)
    )


def holds_unet(state: Shapes, metadata: Metadata) -> bool:
    return PROMPT in state or any(map(is_unet, state))


def holds_text(state: Shapes, metadata: Metadata) -> bool:
    return any(f"{prefix}token_embedding.weight" in state for prefix in ("", *TEXT)) or any(
        key.startswith(TEXT) for key in state
    )


def layers(state: Shapes) -> dict:
    spade = {f"sft.{k}": v for k, v in below(state, UNET).items() if ".spade." in k}
    return {**spade, **{f"encoder.{k}": v for k, v in below(state, STRUCT).items()}}


def unet(state: Shapes) -> dict:
    part = dict(state)
    if PROMPT not in state:
        part = below({k: v for k, v in state.items() if is_unet(k)}, UNET)
    # Stable Diffusion 1 projects with 1 x 1 convolutions, 2 with linear layers: the same numbers
    ends = (".1.proj_in.weight", ".1.proj_out.weight")
    return {k: _narrowed(v) if k.endswith(ends) and v.ndim == 4 else v for k, v in part.items()}


def _narrowed(value: Any) -> Any:
    return value.narrowed() if hasattr(value, "narrowed") else value[..., 0, 0]


def vae(state: Shapes) -> dict:
    part = {k.removeprefix(AUTOENCODER): v for k, v in state.items() if is_vae(k)}
    return vae_of_diffusers(part) if any(k.startswith("encoder.down_blocks.") for k in part) else part


def text(state: Shapes) -> dict:
    part = next(filter(None, (below(state, prefix) for prefix in TEXT)), None) or state
    return {k: v for k, v in part.items() if not k.startswith(TEXT_UNUSED)}
