"""StableSR's weight files: full training files, the extracted layers, CFW files with or without their
autoencoder.
"""

from __future__ import annotations

from typing import Any

from .. import weights
from ..method import AUTO
from ..nets.cfw import CFW
from ..nets.open_clip_text import OpenCLIPText
from ..nets.sd_unet import SDConfig, SDUNet
from ..nets.sd_vae import VAE
from ..priors.adm import TARGETS
from ..weights.layouts import AUTOENCODER as AUTOENCODER
from ..weights.layouts import TEXT as TEXT
from .layers import StableSRLayers
from .method import StableSR
from .prior import diffusion_prior, trained_target

MOVED = 0.09  # deviation of those biases that tells v from noise, as host programs do


def load_stablesr(name: str, base: str = "", cfw: str = "", target: str = AUTO) -> StableSR:
    """All networks: the layers in `name`, UNet and autoencoder in `base` or, without one, in the same file.

    cfw: a CFW file, for feature wrapping; target: what the UNet predicts, auto: as the files tell. Raises as
    `load_layers`, also where the layers and the UNet do not go together.
    """
    layers = load_layers(name)
    try:
        unet = load_unet(base or name)
    except ValueError as error:
        raise ValueError(
            f"the base must be a Stable Diffusion 2.1 file, such as v2-1_512-ema-pruned.safetensors: {error}"
        ) from error
    layers.check(unet)
    wrapping = load_cfw(cfw) if cfw else None
    if target == AUTO:
        target = (
            (told_target(base) if base else "")
            or detected_target(unet)
            or trained_target(name, told_target(name))
        )
    return StableSR(diffusion_prior(unet, target or "eps"), layers, load_vae(base or name), wrapping)


def told_target(name: str) -> str:
    """What a file says that its UNet predicts, or that the UNet does which its layers were trained on; else
    nothing. Raises as `load_layers`.
    """
    told = weights.list_file(weights.locate(name)).metadata.get("target", "")
    return told if told in TARGETS else ""


def detected_target(unet: SDUNet) -> str:
    """What a UNet of Stable Diffusion 2 predicts, by its last attention, whose biases the v model moved
    further; nothing for other networks.
    """
    if unet.config != SDConfig():
        return ""
    bias = unet.get_parameter("output_blocks.11.1.transformer_blocks.0.norm1.bias")
    return "v" if float(bias.float().std(unbiased=False)) > MOVED else "eps"


LAYER_FILES = ("stablesr", "stablesr-layers")  # kinds of weight files that hold the layers


def load_layers(name: str) -> StableSRLayers:
    """From a full training file (`stablesr_*.ckpt`) or the extracted layers (`webui_*.ckpt`), by path or
    name.

    Raises FileNotFoundError, or ValueError that says what the file holds instead or lacks.
    """
    return layers_of(_load(name, "stablesr-layers"))


def layers_of(network: Any) -> StableSRLayers:
    """The layers from the network of a file's kind."""
    return StableSRLayers(network["encoder"], network["sft"])


def load_unet(name: str) -> SDUNet:
    """Stable Diffusion 2.1's UNet from its own file or from a full StableSR file. Raises as `load_layers`."""
    return _load(name, "sd-unet")


def load_vae(name: str) -> VAE:
    """The autoencoder of a full file, of a CFW file, or of its own. Raises as `load_layers`."""
    return _load(name, "sd-vae")


def load_cfw(name: str) -> CFW:
    """The fusion blocks of a CFW file (`vqgan_cfw_*.ckpt`), with or without its autoencoder.

    Raises as `load_layers`.
    """
    return _load(name, "cfw")


def load_text(name: str) -> OpenCLIPText:
    """The text encoder of a full Stable Diffusion 2.1, SD-Turbo or StableSR file, or OpenCLIP's.

    Raises as `load_layers`.
    """
    return _load(name, "sd-text")


def _load(name: str, kind: str) -> Any:
    return weights.load(weights.locate(name), kind).network
