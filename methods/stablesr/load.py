"""StableSR's weight files: full training files, the extracted layers, CFW files with or without their autoencoder."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch

from ..nets import cfw as cfw_net
from ..nets import struct_encoder
from ..nets.adm_config import ADMConfig
from ..nets.adm_released import infer_config
from ..nets.cfw import CFW
from ..nets.open_clip_text import BLOCKS, OpenCLIPText
from ..nets.sd_unet import SDConfig, SDUNet
from ..nets.sd_vae import VAE, VAEConfig
from ..nets.spade import SFT, residual_blocks
from ..nets.struct_encoder import StructEncoder
from ..weights import load as weights
from ..weights.load import State
from .layers import STRUCT, UNET, Layers
from .method import StableSR
from .prior import diffusion_prior

AUTOENCODER = "first_stage_model."
FUSION = "decoder.fusion_layer_"
TEXT = (
    "cond_stage_model.model.",
    "conditioner.embedders.0.model.",
)  # of Stable Diffusion 2.1 and of SD-Turbo
TEXT_UNUSED = (f"transformer.resblocks.{BLOCKS}.", "text_projection", "logit_scale", "attn_mask", "visual.")
VAE_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")

Built = TypeVar("Built")


def load_stablesr(name: str, base: str = "", cfw: str = "", target: str = "eps") -> StableSR:
    """All networks: the layers in `name`, UNet and autoencoder in `base` or, without one, in the same file, if it is a full one.

    cfw: a CFW file, for feature wrapping; target: what the UNet predicts, which no file tells: v for the 768-pixel model.
    Raises as `load_layers`, also where the layers and the UNet do not go together.
    """
    layers = load_layers(name)
    try:
        unet = load_unet(base or name)
    except ValueError as error:
        raise ValueError(
            f"the base must be a Stable Diffusion 2.1 file, such as v2-1_512-ema-pruned.safetensors: {error}"
        ) from error
    layers.check(unet)
    return StableSR(
        diffusion_prior(unet, target), layers, load_vae(base or name), load_cfw(cfw) if cfw else None
    )


def load_layers(name: str) -> Layers:
    """From a full training file (`stablesr_*.ckpt`) or the extracted layers (`webui_*.ckpt`), by path or name in a model folder.

    Raises FileNotFoundError, or ValueError that says what the file holds instead or lacks.
    """
    return _load(name, _is_layer, layers_from)


def load_unet(name: str) -> SDUNet:
    """Stable Diffusion 2.1's UNet from its own file or from a full StableSR file, whose layers are left out. Raises as `load_layers`."""
    return _load(name, _is_unet, unet_from)


def load_vae(name: str) -> VAE:
    """The autoencoder of a full file, of a CFW file, or of its own. Raises as `load_layers`."""
    return _load(name, _is_vae, vae_from)


def load_cfw(name: str) -> CFW:
    """The fusion blocks of a CFW file (`vqgan_cfw_*.ckpt`), whether it holds the autoencoder too or not (`*_cfw_only.ckpt`)."""
    return _load(name, _is_fusion, cfw_from)


def load_text(name: str) -> OpenCLIPText:
    """The text encoder of a full Stable Diffusion 2.1, SD-Turbo or StableSR file. Raises as `load_layers`."""
    return _load(name, lambda key: key.startswith(TEXT), text_from)


def layers_from(state: State, name: str) -> Layers:
    """From tensors under their published names, among others. Raises ValueError that calls them `name`."""
    _some(state, _is_layer, "StableSR layers", name)
    spade, struct = _below({k: v for k, v in state.items() if _is_layer(k)}, UNET), _below(state, STRUCT)
    for part, what in ((spade, f"modulation layers ({UNET}*.spade.*)"), (struct, f"encoder ({STRUCT}*)")):
        if not part:
            raise ValueError(
                f"{name} holds only half of StableSR's layers: it lacks the {what}. Choose a file that has both"
            )
    config = _described(_struct_config, struct, name)
    widths = _described(lambda state: _sft_widths(state, len(config.widths)), spade, name)
    return Layers(
        _filled(lambda: StructEncoder(config), struct, name),
        _filled(lambda: SFT(widths, config.out_channels), spade, name),
    )


def unet_from(state: State, name: str) -> SDUNet:
    state = _below(_some(state, _is_unet, "Stable Diffusion UNet", name), UNET)
    config = _described(_unet_config, state, name)
    return _filled(lambda: SDUNet(config), state, name)


def vae_from(state: State, name: str) -> VAE:
    state = {
        key.removeprefix(AUTOENCODER): value
        for key, value in _some(state, _is_vae, "autoencoder", name).items()
    }
    config = _described(_vae_config, state, name)
    return _filled(lambda: VAE(config), state, name)


def cfw_from(state: State, name: str) -> CFW:
    state = _below(_some(state, _is_fusion, "CFW", name), "decoder.")
    shape = _described(_cfw_shape, state, name)
    return _filled(lambda: CFW(*shape), state, name)


def text_from(state: State, name: str) -> OpenCLIPText:
    state = next(filter(None, (_below(state, prefix) for prefix in TEXT)), {})
    if not state:
        raise ValueError(
            f"{name} holds no text encoder of Stable Diffusion 2 ({TEXT[0]}*): choose a full file, or give the prompt's embeddings"
        )
    width = _described(lambda state: state["ln_final.weight"].shape[0], state, name)
    return _filled(
        lambda: OpenCLIPText(width), {k: v for k, v in state.items() if not k.startswith(TEXT_UNUSED)}, name
    )


def _load(name: str, wanted: Callable[[str], bool], build: Callable[[State, str], Built]) -> Built:
    """Only what is wanted is read of a file, which may be of several gigabytes; of the rest the keys."""
    path = weights.locate(name)
    keys: list[str] = []
    state, _ = weights.read_state(path, lambda key: keys.append(key) or wanted(key))
    return build(state or dict.fromkeys(keys), str(path))


def _some(state: State, wanted: Callable[[str], bool], title: str, name: str) -> State:
    """The wanted part of a state dict. Raises ValueError where there is none."""
    part = {key: value for key, value in state.items() if wanted(key)}
    if not part:
        raise ValueError(f"{name} holds no {title}: {_identify(list(state))}")
    return part


def _filled(make: Callable[[], Built], state: State, name: str) -> Built:
    with torch.device("meta"):
        network = make()
    return weights.fill(network, state, name).eval()


def _is_layer(key: str) -> bool:
    return key.startswith(STRUCT) or (key.startswith(UNET) and ".spade." in key)


def _is_unet(key: str) -> bool:
    return key.startswith(UNET) and not _is_layer(key)


def _is_vae(key: str) -> bool:
    return key.removeprefix(AUTOENCODER).startswith(VAE_PARTS) and not _is_fusion(key)


def _is_fusion(key: str) -> bool:
    return key.startswith(FUSION)


def _below(state: State, prefix: str) -> State:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _identify(keys: list[str]) -> str:
    """What a file holds instead, and what to do about it."""
    has = lambda prefix: any(key.startswith(prefix) for key in keys)  # noqa: E731
    if has(UNET) and any(map(_is_layer, keys)):
        return "it holds StableSR's layers, which go on a Stable Diffusion 2.1 model"
    if has(UNET):
        return "it is a Stable Diffusion model without them; choose a file such as stablesr_000117.ckpt or webui_768v_139.ckpt"
    if has(FUSION):
        return "it is a CFW file, for the autoencoder; choose a file such as stablesr_000117.ckpt or webui_768v_139.ckpt"
    if any(map(_is_layer, keys)):
        return "it holds StableSR's layers and nothing else"
    if has("decoder.") or has(AUTOENCODER):
        return "it holds an autoencoder without CFW; choose a file such as vqgan_cfw_00011.ckpt"
    return f"its first keys are {', '.join(keys[:3]) or 'none'}; is it the right file?"


def _described(read: Callable[[State], Built], state: State, name: str) -> Built:
    """What `read` finds in a state dict; a key that it misses becomes a ValueError."""
    try:
        return read(state)
    except (KeyError, IndexError, ZeroDivisionError, ValueError) as error:
        raise ValueError(
            f"{name} is incomplete or no file of its kind ({error} is missing or misshapen): fetch it again"
        ) from error


def _count(state: State, pattern: str) -> int:
    """One more than the largest number that the group of `pattern` matches."""
    return 1 + max((int(found[1]) for key in state if (found := re.match(pattern, key))), default=-1)


def _struct_config(state: State) -> ADMConfig:
    levels = _count(state, r"fea_tran\.(\d+)\.")
    widths = [state[f"fea_tran.{i}.in_layers.0.weight"].shape[0] for i in range(levels)]
    period = next((i for i in range(1, 99) if f"input_blocks.{i}.0.op.weight" in state), 0) or _count(
        state, r"input_blocks\.(\d+)\."
    )
    channels = state["time_embed.0.weight"].shape[1]
    return replace(  # heads leave no trace
        struct_encoder.RELEASED,
        in_channels=state["input_blocks.0.0.weight"].shape[1],
        out_channels=state["fea_tran.0.out_layers.0.weight"].shape[0],
        model_channels=channels,
        num_res_blocks=period - 1,
        channel_mult=tuple(width // channels for width in widths),
        attention_factors=tuple(
            2**i for i in range(levels) if f"input_blocks.{i * period + 1}.1.qkv.weight" in state
        ),
    )


def _sft_widths(state: State, levels: int) -> dict[str, int]:
    """Every residual block that a UNet of these levels has, so that a missing layer is noticed."""
    period = _count(state, r"output_blocks\.(\d+)\.") // levels
    widths = [
        state[f"input_blocks.{i * period + 1}.0.spade.param_free_norm.weight"].shape[0] for i in range(levels)
    ]
    mult = tuple(width // widths[0] for width in widths)
    config = SDConfig(
        model_channels=widths[0],
        channel_mult=mult,
        num_res_blocks=period - 1,
        attention_factors=(),
        num_head_channels=None,
    )
    with torch.device("meta"):
        return residual_blocks(SDUNet(config))


def _unet_config(state: State) -> SDConfig:
    found = infer_config(state, image_size=64, superres=False)
    period = found.num_res_blocks + 1
    depths = [
        i for i in range(len(found.widths)) if f"input_blocks.{i * period + 1}.1.proj_in.weight" in state
    ]
    return SDConfig(
        in_channels=found.in_channels,
        out_channels=found.out_channels,
        model_channels=found.model_channels,
        num_res_blocks=found.num_res_blocks,
        channel_mult=found.channel_mult,
        attention_factors=tuple(2**i for i in depths),
        context_dim=state["middle_block.1.transformer_blocks.0.attn2.to_k.weight"].shape[1],
    )


def _vae_config(state: State) -> VAEConfig:
    channels, levels = state["encoder.conv_in.weight"].shape[0], _count(state, r"encoder\.down\.(\d+)\.")
    widths = [state[f"encoder.down.{i}.block.0.conv1.weight"].shape[0] for i in range(levels)]
    blocks = _count(state, r"encoder\.down\.0\.block\.(\d+)\.")
    return VAEConfig(
        channels,
        tuple(width // channels for width in widths),
        blocks,
        state["post_quant_conv.weight"].shape[0],
    )


def _cfw_shape(state: State) -> tuple[dict[int, int], int, int]:
    widths = {
        level: state[f"fusion_layer_{level}.encode_enc_3.norm1.weight"].shape[0] for level in cfw_net.RELEASED
    }
    blocks = _count(state, r"fusion_layer_1\.encode_enc_2\.(\d+)\.")
    return widths, blocks, state["fusion_layer_1.encode_enc_2.0.rdb1.conv1.weight"].shape[0]
