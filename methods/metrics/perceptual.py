"""Perceptual metrics through torchmetrics, strictly offline: they use weights that lie on this machine and
never fetch any.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..imaging.images import check_pixels
from ..weights import check_plain

SMALLEST = 32  # of less, the pooling of LPIPS leaves nothing
TOKENIZER = "openai/clip-vit-base-patch16"


class Unavailable(RuntimeError):
    """A metric lacks a package or weights on this machine; the message says which, where they belong and
    where they come from.
    """


@dataclass(frozen=True)
class Requirement:
    """What a metric needs: modules (with the line that installs them) and a weight file in a folder (with its
    address).
    """

    modules: tuple[str, ...]
    install: str
    folder: Callable[[], Path]
    url: str
    more: Callable[[], str | None] = lambda: None

    @property
    def file(self) -> Path:
        return self.folder() / self.url.rsplit("/", 1)[1]

    def missing(self) -> str | None:
        absent = [m for m in self.modules if find_spec(m) is None]
        wants = [f"the package {', '.join(absent)} ({self.install})"] if absent else []
        if not self.file.is_file():
            wants.append(f"its weights, {self.file} (from {self.url})")
        if not absent and (another := self.more()):
            wants.append(another)
        return " and ".join(wants) or None


def _hub() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _tokenizer() -> str | None:
    from huggingface_hub import constants, try_to_load_from_cache

    if not constants.HF_HUB_OFFLINE:
        return (
            "HF_HUB_OFFLINE=1 in the environment before Python starts, so that its tokenizer is taken from "
            "the cache and nothing is fetched"
        )
    if not isinstance(try_to_load_from_cache(TOKENIZER, "preprocessor_config.json"), str):
        return (
            f"the processor of {TOKENIZER} in the Hugging Face cache (hf download {TOKENIZER} --include "
            "'*.json' 'merges.txt')"
        )
    return None


IMAGE, MULTIMODAL = 'pip install "torchmetrics[image]"', 'pip install "torchmetrics[multimodal]"'
BACKBONES = {  # LPIPS: torchvision's network, and its weights; the heads come with torchmetrics
    "alex": ("alexnet", "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"),
    "vgg": ("vgg16", "https://download.pytorch.org/models/vgg16-397923af.pth"),
}
INCEPTION = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
RN50 = "https://github.com/photosynthesis-team/piq/releases/download/v0.7.1/RN50.pt"
REQUIREMENTS = {
    **{
        f"lpips-{name}": Requirement(("torchmetrics", "torchvision"), IMAGE, _hub, url)
        for name, (_, url) in BACKBONES.items()
    },
    "fid": Requirement(("torchmetrics", "torch_fidelity", "torchvision"), IMAGE, _hub, INCEPTION),
    "clip-iqa": Requirement(
        ("torchmetrics", "piq", "transformers"),
        MULTIMODAL,
        lambda: Path.home() / ".cache" / "clip",
        RN50,
        _tokenizer,
    ),
}
ABSENT = {"musiq": "torchmetrics has no MUSIQ: its metric without a reference is clip-iqa"}


def missing(metric: str) -> str | None:
    """None when the metric can run here, else what it lacks; ValueError for an unknown name."""
    if metric in ABSENT:
        return ABSENT[metric]
    if metric not in REQUIREMENTS:
        raise ValueError(f"metric {metric!r} is not one of {', '.join([*REQUIREMENTS, *ABSENT])}")
    lacks = REQUIREMENTS[metric].missing()
    return f"{metric} needs {lacks}. Nothing is downloaded without your doing" if lacks else None


def lpips(a: Tensor, b: Tensor, network: str = "vgg") -> Tensor:
    """LPIPS (Zhang et al. 2018, v0.1 heads) of each pair of images B C H W in 0..1, 32 px or more; 0 for
    equal images.

    network: `vgg` as in DPI's tables, or `alex`. Raises Unavailable, or ValueError for images that cannot be
    compared.
    """
    if network not in BACKBONES:
        raise ValueError(f"LPIPS network {network!r} is not one of {', '.join(BACKBONES)}")
    if a.shape != b.shape:
        raise ValueError(
            f"the images differ in size: {tuple(a.shape)} against {tuple(b.shape)}; resize one of them first"
        )
    return _per_image(_lpips(network), _rgb(a), _rgb(b))


def lpips_network(network: str = "vgg") -> nn.Module:
    """LPIPS to learn from: a frozen network from two batches B 3 H W in -1..1 to a distance each, B 1 1 1,
    with gradients.

    Raises Unavailable.
    """
    return _lpips(network).net.requires_grad_(False)


def fid(a: Tensor, b: Tensor, batch: int = 32) -> float:
    """Frechet inception distance (2048 features, torch-fidelity's Inception) of two sets of images N C H W in
    0..1.

    Biased upwards for small sets: compare sets of one size, and quote it. Raises Unavailable, or ValueError
    below two images.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"sets of {len(a)} and {len(b)} images have no covariance: give at least 2 each")
    metric = _fid().to(a.device)
    metric.reset()
    for images, real in ((a, False), (b, True)):
        for part in _rgb(images).split(batch):
            metric.update(part, real=real)
    return metric.compute().item()


def clip_iqa(x: Tensor) -> Tensor:
    """CLIP-IQA (Wang et al. 2023, ResNet-50) of each image of a batch B C H W in 0..1; 1 is best.

    Raises Unavailable.
    """
    return _per_image(_clip_iqa(), _rgb(x))


def _per_image(metric: Any, *images: Tensor) -> Tensor:
    metric.to(images[0].device).reset()
    metric.update(*images)
    return metric.compute().reshape(-1)


@lru_cache
def _lpips(network: str) -> Any:
    check_plain(_require(f"lpips-{network}"))  # holds tensors and no code, which torchvision does not check
    name, url = BACKBONES[network]
    current = import_module("torchvision.models").get_model_weights(name).DEFAULT.url
    if current.rsplit("/", 1)[1] != url.rsplit("/", 1)[1]:  # torchvision would fetch its own choice
        raise Unavailable(
            f"this torchvision takes other weights for LPIPS ({current}) than those published with it "
            f"({url}): install another version"
        )
    return import_module("torchmetrics.image").LearnedPerceptualImagePatchSimilarity(
        network, reduction="none", normalize=True
    )


@lru_cache
def _fid() -> Any:
    path = _require("fid")
    check_plain(path)  # torch-fidelity would run what is pickled in it
    return import_module("torchmetrics.image.fid").FrechetInceptionDistance(
        normalize=True, feature_extractor_weights_path=str(path)
    )


@lru_cache
def _clip_iqa() -> Any:
    _require("clip-iqa")
    return import_module("torchmetrics.multimodal").CLIPImageQualityAssessment()


def _require(metric: str) -> Path:
    if lacks := missing(metric):
        raise Unavailable(lacks)
    return REQUIREMENTS[metric].file


def _rgb(x: Tensor) -> Tensor:
    check_pixels(x)
    if x.shape[1] not in (1, 3) or min(x.shape[-2:]) < SMALLEST:
        raise ValueError(
            f"images of shape {tuple(x.shape)} cannot be judged: give B C H W, 1 or 3 channels, {SMALLEST} "
            "px or more"
        )
    return x.detach().float().clamp(0, 1).expand(-1, 3, -1, -1)
