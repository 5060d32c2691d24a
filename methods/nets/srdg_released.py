"""The released files of SDE-SR (torch) and SRDG (Flax): sizes read from shapes, averages put in place, Flax
keys and layouts as ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from .densenet import DenseNetConfig
from .ncsnpp import AttnBlockpp, Combine, NCSNpp, NCSNppConfig, ResnetBlockBigGANpp

State = dict[str, Tensor]

UNTRAINED = ("sigmas", "all_modules.0.W")  # entries that the optimizer and so the average do not hold
SHARPEST = 16  # side of the finest map with attention in the published networks, which no key tells
LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
}  # others keep their names
FLAX = {
    nn.Linear: "Dense",
    nn.Conv2d: "Conv",
    nn.GroupNorm: "GroupNorm",
}  # our own classes bear their Flax names


def is_score_state(state: Mapping) -> bool:
    """Whether a state dict, with or without DataParallel's prefix, is that of an NCSN++."""
    return "all_modules.0.W" in state or "module.all_modules.0.W" in state


def averaged(content: Mapping) -> State:
    """A training checkpoint of SDE-SR {model, ema, ...} as the state dict to sample from: the average in the
    place of the weights.

    The average is a list in the order of the trained parameters. Raises ValueError when it is missing or does
    not fit.
    """
    state = {k.removeprefix("module."): v for k, v in content["model"].items()}
    ema = content.get("ema")
    shadow = ema.get("shadow_params") if isinstance(ema, Mapping) else None
    if not shadow:
        raise ValueError(
            "it is a training checkpoint without averaged weights (ema), which are what is sampled from: "
            "choose a complete one"
        )
    names = [k for k in state if k not in UNTRAINED]
    if len(names) != len(shadow) or any(
        state[k].shape != v.shape for k, v in zip(names, shadow, strict=True)
    ):
        raise ValueError(
            f"its average of {len(shadow)} tensors does not belong to its network of {len(names)}: the "
            "file is damaged"
        )
    return {**state, **dict(zip(names, shadow, strict=True))}


def from_flax(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays (or what has their form) under Flax paths and in Flax layouts as the state dict of our NCSNpp or
    DenseNet.

    Raises ValueError.
    """
    state = {}
    for path, value in arrays.items():
        *parts, leaf = path.split("/")
        parts = parts[1:] if parts and parts[0] in ("params", "batch_stats") else parts
        if leaf == "kernel":  # dense (in, out), convolutions H W in out
            value = value.mT if value.ndim == 2 else value.permute(3, 2, 0, 1) if value.ndim == 4 else value
        state[".".join([*parts, LEAVES.get(leaf, leaf)])] = value
    if "ResnetBlockBigGANpp_0.Conv_0.weight" not in state:
        return state
    config = _config_of_flax(state)
    with torch.device("meta"):
        numbers = flax_modules(NCSNpp(config))
    renamed = {
        f"{numbers.get(head, head)}.{rest}": v
        for head, _, rest, v in ((*k.partition("."), v) for k, v in state.items())
    }
    return {**renamed, "sigmas": config.sigmas}


def flax_modules(network: NCSNpp) -> dict[str, str]:
    """Flax's name of every layer of a network, a class with a count, and ours."""
    counts, names = Counter(), {}
    for i, module in enumerate(network.all_modules):
        name = FLAX.get(type(module), type(module).__name__)
        names[f"{name}_{counts[name]}"] = f"all_modules.{i}"
        counts[name] += 1
    return names


def infer_ncsnpp(state: Mapping[str, Tensor]) -> NCSNppConfig:
    """The settings of the network that a state dict belongs to; its picture size is that which puts the
    finest attention at 16 pixels.

    Raises ValueError for a single level, and KeyError for a missing entry.
    """
    layers = sorted({int(k.split(".")[1]) for k in state if k.startswith("all_modules.")})
    kinds = ""
    for i in layers[4:]:
        inside = {k.split(".")[2] for k in state if k.startswith(f"all_modules.{i}.")}
        kinds += (
            "R" if "Conv_1" in inside else "A" if "NIN_0" in inside else "C" if "Conv_0" in inside else "."
        )
    if "C" not in kinds:
        raise ValueError("it has one level only, or is incomplete: save it with its settings")
    blocks, levels, at = kinds.index("C") - kinds[: kinds.index("C")].count("A") - 1, kinds.count("C") + 1, 0
    widths, attentive = [], []
    for level in range(levels):
        widths.append(state[f"all_modules.{4 + at}.Conv_0.weight"].shape[0])
        if kinds[at + 1 : at + 2] == "A":
            attentive.append(level)
        at = kinds.find("C", at) + 1
    return _config(state, "all_modules.3", widths, blocks, attentive)


def _config_of_flax(state: Mapping[str, Tensor]) -> NCSNppConfig:
    """The same from Flax's names, which tell how many levels have attention but not which: the published one,
    16 of 128 pixels.
    """
    count = Counter(name.rpartition("_")[0] for name in {k.partition(".")[0] for k in state})
    levels, residual, attention = (
        count[Combine.__name__] + 1,
        count[ResnetBlockBigGANpp.__name__],
        count[AttnBlockpp.__name__],
    )
    blocks = (residual - 3 * levels) // (2 * levels)
    try:
        widths = [
            state[f"ResnetBlockBigGANpp_{level * (blocks + 1)}.Conv_0.weight"].shape[0]
            for level in range(levels)
        ]
        level = levels - 4  # the published coarsest map is 2 x 2
        at_16 = (
            attention == blocks + 2
            and level >= 0
            and state["AttnBlockpp_0.NIN_0.W"].shape[0] == widths[level]
        )
        if residual != 2 * levels * blocks + 3 * levels or not (at_16 or attention == 1):
            raise ValueError(
                "its levels are not the published ones, and Flax's names do not tell where its attention "
                "lies: convert it to torch"
            )
        return _config(state, "Conv_0", widths, blocks, [level] if at_16 else [])
    except KeyError as error:
        raise ValueError(f"this is no complete NCSN++ file: {error} is missing") from error


def _config(
    state: Mapping[str, Tensor], stem: str, widths: list[int], blocks: int, attentive: list[int]
) -> NCSNppConfig:
    nf, seen = state[f"{stem}.weight"].shape[:2]
    size = SHARPEST << attentive[0] if attentive else 2 << (len(widths) - 1)
    noise = {}
    if "sigmas" in state:
        smallest, largest = (float(f"{float(v):.6g}") for v in state["sigmas"].aminmax())
        noise = {"sigma_min": smallest, "sigma_max": largest, "num_scales": len(state["sigmas"])}
    mult = tuple(w // nf for w in widths)
    return NCSNppConfig(
        size, seen // 2, nf, mult, blocks, tuple(size >> level for level in attentive), **noise
    )


def infer_densenet(state: Mapping[str, Tensor]) -> DenseNetConfig:
    """The settings of an attribute classifier.

    Raises ValueError for one that does not know of noise, KeyError for a missing entry.
    """
    if "GaussianFourierProjection_0.W" not in state:
        raise ValueError(
            "this classifier was trained without noise: guidance needs one that is told the noise level, "
            "choose a time-conditioned one"
        )
    parts = {tuple(k.split(".")[:2]) for k in state if k.startswith("DenseBlock_")}
    blocks = 1 + max(int(block.rpartition("_")[2]) for block, _ in parts)
    layers = tuple(sum(block == f"DenseBlock_{i}" for block, _ in parts) for i in range(blocks))
    growth = state["DenseBlock_0.DenseLayer_0.Conv_1.weight"].shape[0]
    bottleneck = state["DenseBlock_0.DenseLayer_0.Conv_0.weight"].shape[0]
    classes, seen = state["Dense_3.weight"].shape
    side = isqrt(seen // state["BatchNorm_0.weight"].shape[0])
    return DenseNetConfig(side << (blocks - 1), layers, growth, bottleneck // growth, classes)
