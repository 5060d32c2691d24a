"""Where networks run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

ACCELERATORS = ("cuda", "xpu", "mps")  # what auto takes, the first that is there

KNOWN = "auto, cpu, cuda, cuda:N, xpu or mps"

NARROW = ("mps",)  # has no doubles


@contextmanager
def own_defaults() -> Iterator[None]:
    """Float32 on the CPU is torch's default within: what other code of a program set changes no result."""
    before = torch.get_default_dtype()
    moved = torch.get_default_device().type != "cpu"
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu") if moved else nullcontext():
            yield
    finally:
        torch.set_default_dtype(before)


def widest(device: torch.device) -> torch.dtype:
    """The widest type of floating-point numbers that a device computes with."""
    return torch.float32 if device.type in NARROW else torch.float64


def doubled(x: Tensor) -> Tensor:
    """In float64: where it is, or on the CPU where its device has none."""
    return x.to("cpu" if x.device.type in NARROW else x.device, torch.float64)


def device_of(*networks: nn.Module) -> torch.device:
    """Where the weights of some networks are; the CPU where there are none."""
    return next((p.device for network in networks for p in network.parameters()), torch.device("cpu"))


def compute_device(name: str | torch.device = "auto") -> torch.device:
    """The device of a name; auto is an accelerator where there is one. Raises ValueError."""
    if name == "auto":
        name = next((kind for kind in ACCELERATORS if _sees(kind)), "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"there is no device {name!r}: give {KNOWN}") from error
    if device.type not in ("cpu", *ACCELERATORS):
        raise ValueError(f"networks do not run on a device of type {device.type!r}: give {KNOWN}")
    if device.type in ACCELERATORS and not _sees(device.type):
        raise ValueError(f"torch sees no {device.type.upper()} device: choose cpu")
    count = _count(device.type)
    if (device.index or 0) >= count:
        raise ValueError(f"torch sees {count} {device.type.upper()} devices, from 0 on: there is no {device}")
    return device


def devices() -> list[str]:
    """The names of the devices that there are here, the CPU first, several of a kind by their numbers."""
    found = ["cpu"]
    for kind in filter(_sees, ACCELERATORS):
        count = _count(kind)
        found += [kind] if count < 2 else [f"{kind}:{number}" for number in range(count)]
    return found


def _count(kind: str) -> int:
    return torch.cuda.device_count() if kind == "cuda" else torch.xpu.device_count() if kind == "xpu" else 1


def _sees(kind: str) -> bool:
    part = torch.backends.mps if kind == "mps" else getattr(torch, kind, None)
    return part is not None and part.is_available()
