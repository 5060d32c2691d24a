"""Perceptual metrics through torchmetrics, strictly offline: they use weights that lie on this machine and
never fetch any.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from ...samplers.noise import Noise
from ..imaging.images import check_pixels, to_uint8
from ..weights import check_plain, read_state
from .backbones import BACKBONES, REGRESSOR, Unavailable, require

SMALLEST = 32  # of less, the pooling of LPIPS leaves nothing
SUBSET, SUBSETS = 1000, 100  # pictures of KID's subsets, and how many of these


def lpips(a: Tensor, b: Tensor, network: str = "vgg") -> Tensor:
    """LPIPS (Zhang et al. 2018, v0.1 heads) of each pair of images B C H W in 0..1, 32 px or more; 0 for
    equal images.

    network: `vgg` as in DPI's tables, or `alex`. Raises Unavailable, or ValueError for images that cannot be
    compared.
    """
    if network not in BACKBONES:
        raise ValueError(f"LPIPS network {network!r} is not one of {', '.join(BACKBONES)}")
    _paired(a, b)
    a, b = _rgb(a), _rgb(b)
    with torch.no_grad():
        return _lpips(network).net(a, b, normalize=True).reshape(-1)


def dists(a: Tensor, b: Tensor) -> Tensor:
    """DISTS (Ding et al. 2022) of each pair of images B C H W in 0..1, 32 px or more; 0 for equal images.

    Raises as `lpips`.
    """
    _paired(a, b)
    a, b = _rgb(a), _rgb(b)
    with torch.no_grad():
        return _dists()(a, b).reshape(-1)


def arniqa(x: Tensor) -> Tensor:
    """ARNIQA (Agnolucci et al. 2024, regressor of KonIQ-10k) of each image of a batch B C H W in 0..1; 1 is
    best.

    Raises Unavailable.
    """
    with torch.no_grad():
        return _arniqa()(_rgb(x), normalize=True).reshape(-1)


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
    return inception_distances(*(torch.cat([inception(p) for p in x.split(batch)]) for x in (a, b)))["fid"]


def inception(x: Tensor) -> Tensor:
    """The features that FID and KID compare, N D, of images N C H W in 0..1. Raises Unavailable."""
    with torch.no_grad():
        return _inception()(to_uint8(_rgb(x))).cpu()


def inception_distances(a: Tensor, b: Tensor) -> dict[str, float]:
    """FID and KID of features N D and M D of `inception`, two or more each.

    KID (Binkowski et al. 2018) of subsets of up to 1000, 100 of them where more are given.
    """
    from torchmetrics.image.kid import poly_mmd

    frechet = import_module("torchmetrics.image.fid").FrechetInceptionDistance(_Same(a.shape[1]))
    for features, real in ((a, False), (b, True)):
        frechet.update(features, real=real)
    size = min(len(a), len(b), SUBSET)
    draws = SUBSETS if max(len(a), len(b)) > size else 1
    noise = Noise([0])

    def some(x: Tensor) -> Tensor:
        return x[noise.uniform((1, len(x)))[0].argsort()[:size]] if len(x) > size else x

    kernel = [float(poly_mmd(some(b), some(a))) for _ in range(draws)]
    return {"fid": float(frechet.compute()), "kid": sum(kernel) / draws}


class _Same(nn.Module):
    """Features that are there already, for metrics that want a network."""

    def __init__(self, count: int):
        super().__init__()
        self.num_features = count

    def forward(self, x: Tensor) -> Tensor:
        return x


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
    _same_file(f"lpips-{network}", network)
    return import_module("torchmetrics.image.lpip").LearnedPerceptualImagePatchSimilarity(
        network, reduction="none", normalize=True
    )


@lru_cache
def _dists() -> Any:
    _same_file("dists", "vgg")
    return import_module("torchmetrics.functional.image.dists").DISTSNetwork()


@lru_cache
def _arniqa() -> Any:
    encoder = require("arniqa")
    network = import_module("torchmetrics.functional.image.arniqa")._NoTrainArniqa

    class Arniqa(network):
        """Its weights by our own readers, for torchmetrics would fetch them and run what they hold."""

        def _load_weights(self) -> None:
            held = read_state(encoder)[0]
            kept = {k.replace("model.", ""): v for k, v in held.items() if "projector" not in k}
            self.encoder.load_state_dict(kept)
            last = read_state(encoder.with_name(f"{REGRESSOR}.safetensors"))[0]
            bias = last["biases"].reshape(-1)
            self.regressor.load_state_dict({"weight": last["weights"].reshape(1, -1), "bias": bias})

    return Arniqa("koniq10k")


@lru_cache
def _inception() -> Any:
    path = require("fid")
    check_plain(path)  # torch-fidelity would run what is pickled in it
    return import_module("torchmetrics.image.fid").NoTrainInceptionV3(
        "inception-v3-compat", ["2048"], str(path)
    )


def _same_file(metric: str, network: str) -> None:
    """See that torchvision takes the file that is there, which holds tensors and no code, and fetches none.

    Raises Unavailable, ValueError.
    """
    check_plain(require(metric))
    name, url = BACKBONES[network]
    current = import_module("torchvision.models").get_model_weights(name).DEFAULT.url
    if current.rsplit("/", 1)[1] != url.rsplit("/", 1)[1]:
        raise Unavailable(
            f"this torchvision takes other weights for {metric} ({current}) than those published with it "
            f"({url}): install another version"
        )


@lru_cache
def _clip_iqa() -> Any:
    require("clip-iqa")
    return import_module("torchmetrics.multimodal").CLIPImageQualityAssessment()


def _paired(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ValueError(
            f"the images differ in size: {tuple(a.shape)} against {tuple(b.shape)}; resize one of them first"
        )


def _rgb(x: Tensor) -> Tensor:
    check_pixels(x)
    if x.shape[1] not in (1, 3) or min(x.shape[-2:]) < SMALLEST:
        raise ValueError(
            f"images of shape {tuple(x.shape)} cannot be judged: give B C H W, 1 or 3 channels, {SMALLEST} "
            "px or more"
        )
    return x.detach().float().clamp(0, 1).expand(-1, 3, -1, -1)
