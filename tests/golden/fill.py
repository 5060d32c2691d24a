"""Deterministic pseudo-random tensors that depend only on a name and a shape.

Reference outputs under this folder were computed with every weight, input and noise
tensor taken from `fill`, so a case needs no stored weights: rebuild them by name.
Integer hashing only: the values do not depend on the numpy or torch version.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch


def unit(name: str, shape) -> np.ndarray:
    """Zero-mean, unit-variance uniform values (float64), a pure function of name and shape."""
    n = int(np.prod(shape)) if len(shape) else 1
    with np.errstate(over="ignore"):
        z = np.arange(n, dtype=np.uint64) + (np.uint64(zlib.crc32(name.encode())) << np.uint64(32))
        z = z * np.uint64(0x9E3779B97F4A7C15)
        z ^= z >> np.uint64(30)
        z = z * np.uint64(0xBF58476D1CE4E5B9)
        z ^= z >> np.uint64(27)
        z = z * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    u = (z >> np.uint64(11)).astype(np.float64) / float(1 << 53)
    return ((2.0 * u - 1.0) * np.sqrt(3.0)).reshape(shape)


def tensor(name: str, shape, dtype=torch.float32) -> torch.Tensor:
    """An input or noise tensor: unit variance, unscaled."""
    return torch.from_numpy(unit(name, tuple(shape))).to(dtype)


def weight(key: str, shape, dtype=torch.float32) -> torch.Tensor:
    """A parameter or buffer for state-dict key `key`, scaled so that activations stay bounded."""
    shape = tuple(shape)
    v = unit(key, shape)
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if key.endswith("running_var"):
        v = 1.0 + 0.1 * np.abs(v)
    elif len(shape) >= 2:
        v = v / np.sqrt(np.prod(shape[1:]))
    elif key.endswith("weight"):
        v = 1.0 + 0.1 * v
    else:
        v = 0.1 * v
    return torch.from_numpy(np.asarray(v)).to(dtype)


def fill_(module: torch.nn.Module, skip=()) -> dict:
    """Fill every floating entry of module.state_dict() by its key, in place.

    Keys in `skip` (schedules, sinusoid tables and the like) keep their values.
    Returns the manifest {key: shape} of the filled keys.
    """
    state = module.state_dict()
    manifest = {}
    with torch.no_grad():
        for key, value in state.items():
            if key in skip or not (value.is_floating_point() or key.endswith("num_batches_tracked")):
                continue
            value.copy_(weight(key, value.shape, value.dtype if value.is_floating_point() else torch.int64))
            manifest[key] = list(value.shape)
    return manifest


def filled(network: torch.nn.Module, *kept: str) -> torch.nn.Module:
    """The network for answers alone, filled but for the keys that are kept."""
    fill_(network, kept)
    return network.eval().requires_grad_(False)


class NoiseSource:
    """Successive noise tensors noise:0, noise:1, ... for replacing randn in a sampler."""

    def __init__(self, prefix: str = "noise"):
        self.prefix, self.count = prefix, 0

    def __call__(self, shape, dtype=torch.float32) -> torch.Tensor:
        out = tensor(f"{self.prefix}:{self.count}", shape, dtype)
        self.count += 1
        return out
