"""How much memory calls and gradients of networks need; what is free, and when it ran out."""

from __future__ import annotations

import copy
import gc
import os
import re
import weakref
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_COUNTED: WeakKeyDictionary[nn.Module, dict] = WeakKeyDictionary()  # what `call_bytes` found


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
    """The most bytes that network(x, t) holds at once beside its weights and x B C H W, or what its gradient
    keeps.

    pictures: as for `gradient_bytes`.
    """
    counted = _COUNTED.setdefault(network, {})
    key = (tuple(shape), pictures, gradient, next((p.dtype for p in network.parameters()), None))
    if key not in counted:
        counted[key] = (gradient_bytes if gradient else _forward_bytes)(network, shape, pictures)
    return counted[key]


def _forward_bytes(network: nn.Module, shape: Sequence[int], pictures: int) -> int:
    (copy,) = on_meta(network)
    x, *more = (torch.empty(tuple(shape), dtype=torch.float32, device="meta") for _ in range(pictures))
    t = torch.empty(len(x), dtype=torch.float32, device="meta")
    return peak_bytes(lambda: copy(x, t, *more))


def on_meta(*networks: nn.Module) -> tuple[Any, ...]:
    """The same networks without numbers, on the device where nothing is computed."""
    memo = {}
    for network in networks:
        for tensor in (*network.parameters(), *network.buffers()):
            meta = tensor.detach().to("meta")
            memo[id(tensor)] = nn.Parameter(meta, False) if isinstance(tensor, nn.Parameter) else meta
    return tuple(copy.deepcopy(network, memo) for network in networks)


def peak_bytes(call: Callable[[], object], device: str = "meta") -> int:
    """The most bytes of tensors on devices of a kind that a call makes and holds at once."""
    with torch.inference_mode(False), torch.no_grad(), _Live(device) as live:
        call()
    return live.most


class PlainDispatchMode(TorchDispatchMode):
    """One that no compiler is kept out of: keeping it out imports torch's compiler, five seconds of a
    processor at the first operation of a process that compiles nothing.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class _Live(PlainDispatchMode):
    """Counts the bytes of the storages on a kind of device that are made while it is on and not yet freed."""

    def __init__(self, device: str):
        super().__init__()
        self.device = device
        self.now = self.most = 0
        self.known: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        inputs = {_storage(t) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.device.type == self.device and _storage(leaf) not in inputs:
                self._add(leaf.untyped_storage())
        self.most = max(self.most, self.now)
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, count = storage._cdata, storage.nbytes()
        if key in self.known:
            return

        def freed(reference: weakref.ref) -> None:
            self.now -= count
            self.known.pop(key, None)

        self.known[key] = weakref.ref(storage, freed)
        self.now += count


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
