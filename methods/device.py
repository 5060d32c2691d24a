"""Where networks run."""

from __future__ import annotations

import torch


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
