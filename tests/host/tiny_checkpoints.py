"""Checkpoints with random weights, small enough for a CPU: python tests/host/tiny_checkpoints.py FOLDER.

Those of RELEASED bear the names of the released files, which the example workflows ask for, and are told from them by nothing but
their width: the same levels, classes and sizes.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn

from priorsr.methods import weights
from priorsr.methods.nets.adm_config import ADMConfig
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.nets.corrector import CorrectorUNet
from priorsr.methods.nets.edm_precond import build_edm

ADM = ADMConfig(image_size=16, model_channels=32, num_res_blocks=1, channel_mult=(1, 2), attention_factors=(2,), num_head_channels=16)
CLASSES = 5
UPSAMPLER = replace(ADM, superres=True, num_classes=CLASSES)
CLASSIFIER = replace(ADM, out_channels=CLASSES, num_head_channels=32, pool="attention")
EDM = {"img_resolution": 16, "img_channels": 3, "model_type": "SongUNet", "model_channels": 16, "channel_mult": [1, 2], "num_blocks": 1}

TINY: dict[str, ADMConfig | dict] = {
    "tiny_adm": ADM,
    "tiny_edm": EDM,
    "tiny_class": replace(ADM, num_classes=CLASSES),
    "tiny_upsampler": UPSAMPLER,
    "tiny_classifier": CLASSIFIER,
}

_LEVELS = {"model_channels": 32, "num_res_blocks": 1, "channel_mult": (1, 1, 1, 1, 1, 2), "attention_factors": (32,), "resblock_updown": False}
_JUDGE = {"out_channels": 1000, "pool": "attention"}
RELEASED: dict[str, ADMConfig] = {
    "ffhq_10m": ADMConfig(**_LEVELS),
    "64_256_upsampler": ADMConfig(**_LEVELS, superres=True, num_classes=1000),
    "256x256_classifier": ADMConfig(**_LEVELS, **_JUDGE),
    "64x64_classifier": ADMConfig(**{**_LEVELS, "channel_mult": (1, 1, 1, 2), "attention_factors": (8,)}, **_JUDGE, image_size=64),
}


def randomised(network: nn.Module, std: float = 0.05) -> nn.Module:
    """Small random weights everywhere, zero-initialised layers included, so that the answer depends on what the network sees."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.empty_like(parameter).normal_(0, std, generator=generator))
    return network.eval().requires_grad_(False)


def tiny(name: str) -> nn.Module:
    """One of TINY. Plain priors keep their zero output, which makes them known Gaussians; the classifier is sure of its classes."""
    torch.manual_seed(0)
    config = TINY[name]
    network = (build_adm(config) if isinstance(config, ADMConfig) else build_edm(config)).eval().requires_grad_(False)
    if name == "tiny_classifier":
        network.out[2].c_proj.weight.mul_(10)
    return randomised(network) if name in ("tiny_class", "tiny_upsampler") else network


def corrector(path: Path, channels: int = 1, **said) -> Path:
    """A corrector of DPI for the priors of `channels`, in a file that says x4, k 2 and averaged, unless `said` otherwise."""
    network = tiny_corrector(channels)
    told = {"kind": "corrector", "settings": json.dumps(asdict(network.config)), "k": 2, "scale": 4, "ema": 0.999} | said
    return weights.save(network, path, told)


def tiny_corrector(channels: int) -> CorrectorUNet:
    return randomised(CorrectorUNet(replace(ADM, image_size=64, in_channels=channels, out_channels=channels)))


def make(folder: Path) -> None:
    """Write all of them."""
    corrector(folder / "tiny_corrector.safetensors")
    for name, config in TINY.items():
        settings = asdict(config) if isinstance(config, ADMConfig) else config
        weights.save(tiny(name), folder / f"{name}.safetensors", {"settings": json.dumps(settings)})
    for name, config in RELEASED.items():
        torch.save(randomised(build_adm(config), 0.02).state_dict(), folder / f"{name}.pt")


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    make(Path(sys.argv[1]))
