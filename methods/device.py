"""Where networks run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch


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


def compute_device(name: str | torch.device = "auto") -> torch.device:
    """The device of a name; auto is CUDA where there is one. Raises ValueError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"there is no device {name!r}: give auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("torch sees no CUDA device: choose cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("torch sees no MPS device: choose cpu")
    return device
