"""How the benchmark of a GPU takes times and memory, and what the card itself can do."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn

HALF = torch.float16


class Clock:
    """Seconds of calls on a device, waited for at the end."""

    def __init__(self, device: torch.device):
        self.device = device

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def __call__(self, call: Callable[[], object], repeat: int = 5) -> float:
        """The fastest of some calls, after one that warms up."""
        call()
        found = []
        for _ in range(repeat):
            self.wait()
            start = time.perf_counter()
            call()
            self.wait()
            found.append(time.perf_counter() - start)
        return min(found)

    def peak(self, call: Callable[[], object]) -> int:
        """The most bytes that a call holds beside what was there, 0 where the device does not tell."""
        if self.device.type != "cuda":
            return 0
        self.wait()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        self.wait()
        return torch.cuda.max_memory_allocated() - before


def rates(clock: Clock, side: int) -> dict[str, float]:
    """The card's own products (operations a second, by precision) and copies (bytes a second)."""
    found = {}
    for name, dtype in {"float32": torch.float32, "float16": HALF, "bfloat16": torch.bfloat16}.items():
        a = torch.randn(side, side, device=clock.device, dtype=dtype)
        found[name] = 2 * side**3 / clock(lambda a=a: a @ a)
    block = torch.empty(1 << (28 if side > 1024 else 20), dtype=torch.uint8, device=clock.device)
    found["copy"] = 2 * block.numel() / clock(block.clone)
    return found


def ready(network: nn.Module, device: torch.device) -> nn.Module:
    """In half precision on the device, its maps in the order that convolutions like."""
    from priorsr.methods.precision import cast

    network = cast(network.eval().requires_grad_(False), HALF if device.type == "cuda" else torch.float32)
    return network.to(device, memory_format=torch.channels_last)
