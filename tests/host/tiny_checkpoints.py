"""Checkpoints with random weights, small enough for a CPU: python tests/host/tiny_checkpoints.py
MODELS/priorsr.

Those of RELEASED bear the names of the released files, which the example workflows ask for, and are told from
them by nothing but their width: the same levels, classes and sizes.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch
from adm_tiny import UNET as ADM
from safetensors.torch import save_file
from torch import Tensor, nn

from priorsr.methods import weights
from priorsr.methods.nets import struct_encoder
from priorsr.methods.nets.adm_config import ADMConfig
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.nets.cfw import CFW
from priorsr.methods.nets.codeformer import CodeFormer, CodeFormerConfig
from priorsr.methods.nets.codeformer_vqgan import VQGANConfig
from priorsr.methods.nets.corrector import CorrectorUNet
from priorsr.methods.nets.densenet import DenseNet, DenseNetConfig
from priorsr.methods.nets.edm_precond import build_edm
from priorsr.methods.nets.face_released import settings_text
from priorsr.methods.nets.ncsnpp import NCSNpp, NCSNppConfig
from priorsr.methods.nets.parsenet import ParseNet, ParseNetConfig
from priorsr.methods.nets.sd_unet import SDConfig, SDUNet
from priorsr.methods.nets.sd_vae import VAE, VAEConfig
from priorsr.methods.nets.spade import SFT, residual_blocks
from priorsr.methods.nets.struct_encoder import StructEncoder
from priorsr.methods.stablesr.layers import UNET, StableSRLayers
from priorsr.methods.stablesr.load import AUTOENCODER

CLASSES = 5
CODEFORMER = CodeFormerConfig(VQGANConfig(64, 32, (1, 2), 1, (32,), 40, 16), 32, 4, 1, (32, 64))
PARSENET = ParseNetConfig(smallest=64, width=8, depth=1)
UPSAMPLER = replace(ADM, superres=True, num_classes=CLASSES)
CLASSIFIER = replace(ADM, out_channels=CLASSES, num_head_channels=32, pool="attention")
EDM = {
    "img_resolution": 16,
    "img_channels": 3,
    "model_type": "SongUNet",
    "model_channels": 16,
    "channel_mult": [1, 2],
    "num_blocks": 1,
}

TINY: dict[str, ADMConfig | dict] = {
    "tiny_adm": ADM,
    "tiny_edm": EDM,
    "tiny_class": replace(ADM, num_classes=CLASSES),
    "tiny_upsampler": UPSAMPLER,
    "tiny_classifier": CLASSIFIER,
}

_LEVELS = {
    "model_channels": 32,
    "num_res_blocks": 1,
    "channel_mult": (1, 1, 1, 1, 1, 2),
    "attention_factors": (32,),
    "resblock_updown": False,
}
_JUDGE = {"out_channels": 1000, "pool": "attention"}
RELEASED: dict[str, ADMConfig] = {
    "ffhq_10m": ADMConfig(**_LEVELS),
    "64_256_upsampler": ADMConfig(**_LEVELS, superres=True, num_classes=1000),
    "256x256_classifier": ADMConfig(**_LEVELS, **_JUDGE),
    "64x64_classifier": ADMConfig(
        **{**_LEVELS, "channel_mult": (1, 1, 1, 2), "attention_factors": (8,)}, **_JUDGE, image_size=64
    ),
}

SD = SDConfig(
    model_channels=64, num_res_blocks=1, channel_mult=(1, 2), attention_factors=(1,), context_dim=24
)
STRUCT = replace(
    struct_encoder.RELEASED,
    out_channels=32,
    model_channels=32,
    num_res_blocks=1,
    channel_mult=(1, 2),
    attention_factors=(1,),
    num_head_channels=None,
)
COARSE = VAEConfig(channels=32, channel_mult=(1, 1, 2, 2), num_res_blocks=1)
CHECKPOINTS = (
    "v2-1_512-ema-pruned.safetensors",
    "sd_turbo.safetensors",
    "v2-1_768-ema-pruned.safetensors",
)  # Stable Diffusion's, which only the tests' own node can load
STABLESR = (
    "stablesr_000117.ckpt",
    "stablesr_turbo.ckpt",
    "webui_768v_139.ckpt",
    "stablesr_768v_000139.ckpt",
    "face_stablesr_000050.ckpt",
)  # each with weights of its own
LORA = "lora_unet_input_blocks_1_0_in_layers_2"  # a convolution of the tiny UNet


def randomised(network: nn.Module, std: float = 0.05) -> nn.Module:
    """Small random weights everywhere, zero-initialised layers included, so that the answer depends on what
    the network sees.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.empty_like(parameter).normal_(0, std, generator=generator))
    return network.eval().requires_grad_(False)


def tiny(name: str) -> nn.Module:
    """One of TINY.

    Plain priors keep their zero output, which makes them known Gaussians; the classifier is sure of its
    classes.
    """
    torch.manual_seed(0)
    config = TINY[name]
    network = (
        (build_adm(config) if isinstance(config, ADMConfig) else build_edm(config))
        .eval()
        .requires_grad_(False)
    )
    if name == "tiny_classifier":
        network.out[2].c_proj.weight.mul_(10)
    return randomised(network) if name in ("tiny_class", "tiny_upsampler") else network


MISFITS = {
    "x8": {"scale": 8},
    "k4": {"k": 4},
    "rgb": {"channels": 3},
    "raw": {"ema": 0.0},
}  # what correctors say that do not fit the face prior at x4


def corrector(path: Path, channels: int = 1, size: int = 64, **said) -> Path:
    """A corrector of DPI for the priors of `channels` and `size`, in a file that says x4, k 2 and averaged,
    unless `said` otherwise.
    """
    network = tiny_corrector(channels, size)
    told = {
        "kind": "corrector",
        "settings": json.dumps(asdict(network.config)),
        "k": 2,
        "scale": 4,
        "ema": 0.999,
    } | said
    return weights.save(network, path, told)


def tiny_corrector(channels: int, size: int = 64) -> CorrectorUNet:
    return randomised(
        CorrectorUNet(replace(ADM, image_size=size, in_channels=channels, out_channels=channels))
    )


def faces(folder: Path) -> None:
    """CodeFormer and ParseNet under the names of the released files."""
    weights.save(
        randomised(CodeFormer(CODEFORMER)),
        folder / "codeformer.safetensors",
        {"settings": settings_text(CODEFORMER)},
    )
    torch.save(randomised(ParseNet(PARSENET), 0.2).state_dict(), folder / "parsing_parsenet.pth")


def score_network(path: Path, channels: int = 1, size: int = 64) -> Path:
    """A super-resolution network of SRDG with small random answers, so that pictures come out."""
    torch.manual_seed(0)
    network = (
        NCSNpp(NCSNppConfig(size, channels, 8, (1, 2), 1, (size // 2,), sigma_max=10.0))
        .eval()
        .requires_grad_(False)
    )
    network.all_modules[-1].weight.normal_(0, 0.05)
    return weights.save(network, path, {"kind": "sr-sde", "settings": json.dumps(asdict(network.config))})


def attribute(
    path: Path,
    name: str = "happy",
    classes: tuple[str, ...] = ("neutral", "happy"),
    size: int = 64,
    seed: int = 0,
    **said,
) -> Path:
    """An attribute classifier that is sure of one class or the other."""
    torch.manual_seed(seed)
    network = DenseNet(DenseNetConfig(size, (1, 1), 4)).eval().requires_grad_(False)
    network.Dense_3.weight.mul_(20)
    return weights.save(
        network,
        path,
        {"kind": "attribute", "attribute": name, "classes": ",".join(classes), "channels": "luma", **said},
    )


def make(folder: Path) -> None:
    """Write all of them."""
    score_network(folder / "tiny_sr.safetensors")
    attribute(folder / "tiny_happy.safetensors")
    attribute(folder / "tiny_gender.safetensors", "gender", ("female", "male"), seed=1)
    faces(folder)
    corrector(folder / "tiny_corrector.safetensors")
    for name, config in TINY.items():
        settings = asdict(config) if isinstance(config, ADMConfig) else config
        weights.save(tiny(name), folder / f"{name}.safetensors", {"settings": json.dumps(settings)})
    for name, config in RELEASED.items():
        torch.save(randomised(build_adm(config), 0.02).state_dict(), folder / f"{name}.pt")


def lively(network: nn.Module, seed: int) -> nn.Module:
    """Random weights that keep the size of what passes through; norms are plain."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                parameter.copy_(
                    torch.randn(parameter.shape, generator=draw) / math.sqrt(parameter[0].numel())
                )
            else:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    return network.eval().requires_grad_(False)


def stable_diffusion() -> dict[str, Tensor]:
    """A UNet and an autoencoder in the form of Stable Diffusion 2.1, under their published names."""
    parts = ((UNET, lively(SDUNet(SD), 1)), (AUTOENCODER, lively(VAE(COARSE), 2)))
    return {
        f"{prefix}{key}": value for prefix, network in parts for key, value in network.state_dict().items()
    }


def stablesr(seed: int) -> dict[str, Tensor]:
    """Layers for that UNet."""
    with torch.device("meta"):
        widths = residual_blocks(SDUNet(SD))
    return StableSRLayers(
        lively(StructEncoder(STRUCT), seed), lively(SFT(widths, STRUCT.out_channels), seed)
    ).released_state()


def cfw() -> dict[str, Tensor]:
    """Feature wrapping for that autoencoder."""
    return {
        f"decoder.{key}": value
        for key, value in lively(CFW({1: 32, 2: 64}, blocks=1, growth=8), 7).state_dict().items()
    }


def make_latent(models: Path) -> None:
    """Write what StableSR needs into a host's models folder."""
    for folder in ("checkpoints", "priorsr", "loras"):
        (models / folder).mkdir(parents=True, exist_ok=True)
    for name in CHECKPOINTS:
        save_file(stable_diffusion(), models / "checkpoints" / name)
    for seed, name in enumerate(STABLESR, 3):
        torch.save(stablesr(seed), models / "priorsr" / name)
    for name in ("vqgan_cfw_00011.ckpt", "face_vqgan_cfw_00011.ckpt"):
        torch.save(cfw(), models / "priorsr" / name)
    draw = torch.Generator().manual_seed(8)
    lora = {
        "lora_up": torch.randn(64, 4, 1, 1, generator=draw),
        "lora_down": torch.randn(4, 64, 3, 3, generator=draw) / 6,
    }
    save_file(
        {f"{LORA}.{name}.weight": value for name, value in lora.items()},
        models / "loras" / "tiny.safetensors",
    )


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    make(Path(sys.argv[1]))
    make_latent(Path(sys.argv[1]).parent)
