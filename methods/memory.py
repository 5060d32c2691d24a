"""How much memory a call of a network needs, and a gradient through it; what is free, and when it ran out."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

_COUNTED: WeakKeyDictionary[nn.Module, dict] = WeakKeyDictionary()  # what `call_bytes` found
GRADIENT_SHARE = 14  # how much more a gradient keeps than a plain call needs (ADM-FFHQ at 256 pixels)


@torch.inference_mode(False)
def gradient_bytes(network: nn.Module, shape: Sequence[int], pictures: int = 1) -> int:
    """The bytes that autograd keeps of network(x, t) for x B C H W, counted on the meta device, where nothing
    is computed.

    pictures: 2 for a network that sees another one, network(x, t, y).
    """
    meta = {
        name: tensor.to("meta") for name, tensor in (*network.named_parameters(), *network.named_buffers())
    }
    fixed = {_storage(tensor) for tensor in meta.values()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> None:
        # without its graph, which would hold the tensor that holds it, for ever
        if _storage(tensor) not in fixed:
            kept[_storage(tensor)] = tensor.detach()

    float32 = {"dtype": torch.float32, "device": "meta"}
    x, *more = (torch.empty(shape, **float32, requires_grad=True) for _ in range(pictures))
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        torch.func.functional_call(network, meta, (x, torch.empty(len(x), **float32), *more))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def call_bytes(network: nn.Module, shape: Sequence[int], pictures: int = 1, gradient: bool = False) -> int:
    """The bytes that a call needs beside the weights: what its gradient keeps, or without one a share of
    that.
    """
    counted = _COUNTED.setdefault(network, {})
    key = (tuple(shape), pictures, next((p.dtype for p in network.parameters()), None))
    if key not in counted:
        counted[key] = gradient_bytes(network, shape, pictures)
    return counted[key] if gradient else counted[key] // GRADIENT_SHARE


def free_bytes(device: torch.device) -> int:
    """Bytes that a run may still take on a device: free and reserved but unused on CUDA; of the machine's
    memory on others.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            found = re.search(r"MemAvailable:\s+(\d+) kB", file.read())
        return int(found[1] if found else "") * 1024
    except (OSError, ValueError):  # another system, which tells its whole memory at best
        pages = {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= getattr(os, "sysconf_names", {}).keys()
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 if pages else 4 << 30


def parse_bytes(text: str) -> int:
    """Bytes of a text such as 6GB, 800MB or 1.5 GiB, where a GB is 2^30. Raises ValueError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\s*", text, re.IGNORECASE)
    if not found or not float(found[1]):
        raise ValueError(f"{text!r} is no amount of memory: give one such as 6GB or 800MB")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))


def show_bytes(count: int) -> str:
    """A count of bytes for people."""
    return f"{count / 2**30:.1f} GB" if count >= 2**29 else f"{count / 2**20:.0f} MB"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the machine, had no memory left for what was asked."""
    known = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
    if isinstance(error, (known, MemoryError)):
        return True
    # accelerators and MPS raise plain RuntimeErrors; error 2 of CUDA's driver is memory too
    words = ("out of memory", "not enough memory", "can't allocate memory", "cuda error: 2")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)


def release(device: torch.device) -> None:
    """Give back what a failed try still holds."""
    gc.collect()
    empty = getattr(getattr(torch, device.type, None), "empty_cache", None)
    if device.type != "cpu" and empty is not None:
        empty()


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
