"""In which precision networks compute: chosen by name and device, and applied while weights are read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import nn

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CHOICES = ("auto", *PRECISIONS)

_WANTED: ContextVar[torch.dtype] = ContextVar("precision of networks that are loaded", default=torch.float32)


def precision_of(name: str, device: torch.device) -> torch.dtype:
    """The precision of a name on a device; auto is what the device is fast at.

    Raises ValueError for another name.
    """
    if name in PRECISIONS:
        return PRECISIONS[name]
    if name != "auto":
        raise ValueError(f"there is no precision {name!r}: choose one of {', '.join(CHOICES)}")
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu":
        return torch.bfloat16 if _has_bf16_matrices() else torch.float32
    return torch.float16 if device.type == "mps" else torch.bfloat16


def _has_bf16_matrices() -> bool:
    """Whether this processor multiplies matrices of bf16, and oneDNN, by which torch does, may use that."""
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper()
    if allowed not in ("ALL", "DEFAULT") and "AMX" not in allowed:
        return False
    return getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()


@contextmanager
def loaded_in(dtype: torch.dtype) -> Iterator[None]:
    """Networks whose weights are read inside compute in `dtype`; without this in float32."""
    token = _WANTED.set(dtype)
    try:
        yield
    finally:
        _WANTED.reset(token)


def wanted() -> torch.dtype:
    """What networks that are loaded now compute in."""
    return _WANTED.get()


def keeps_float32(module: nn.Module) -> bool:
    """Whether a module's own numbers are of no use in half precision, such as the frequencies of angles."""
    return getattr(module, "keep_float32", False)


def cast(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The network computing in `dtype`, one tensor after the other, but for what keeps float32."""
    for module in network.modules():
        own = torch.float32 if keeps_float32(module) else dtype
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            if tensor.is_floating_point():
                tensor.data = tensor.data.to(own)
    return network


def move(networks: Iterable[nn.Module], device: torch.device | str, dtype: torch.dtype | None) -> None:
    """Move networks to a device; a `dtype` that is given is what they compute in from then on."""
    for network in networks:
        if dtype is not None:
            cast(network, dtype)  # before moving: what is narrow moves sooner, into half the memory
        network.to(device)
