"""What runs take, told before they begin. Seconds are learnt from runs before on this device, else
from one network call, else told by a rule of thumb.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry

from .device import device_of
from .memory import PlainDispatchMode, is_out_of_memory, on_meta, peak_bytes, release, show_bytes

clock = time.perf_counter
FEWEST = 20  # calls of a run that one is measured for beforehand, which takes a tenth of it at most
NEW = 0.5  # weight of the newest run in the exponential mean
CHANGED = 0.05  # relative change that is worth writing down
MOST = 500  # entries of the file
# products and sums a second that convolutions reach, of a core or of an accelerator: rules of thumb
CORE, ACCELERATOR = 2e10, 1e13

_COUNTED: WeakKeyDictionary[nn.Module, dict] = WeakKeyDictionary()


@dataclass(frozen=True)
class Plan:
    """What a run will do: size of the result (H, W), network calls a picture and tile, bytes of one call,
    what to beware of; pieces: how many calls a step takes for all of its tiles.

    seconds, as `Upscaler.predict` tells them: 0 where nothing is known; measured: on this device.
    """

    size: tuple[int, int]
    calls: int = 0
    bytes: int = 0
    warnings: tuple[str, ...] = ()
    pieces: int = 1
    seconds: float = 0.0
    measured: bool = False

    @property
    def kind(self) -> tuple[int, int, int]:
        """What stays while seconds are learnt, so that plans of one kind are told once."""
        return self.calls, self.bytes, self.pieces

    def describe(self) -> str:
        """What it takes, for people; nothing without a network call."""
        if not self.calls:
            return ""
        tile = " for each tile" if self.pieces > 1 else ""
        calls = f"{self.calls} network call{'s' if self.calls > 1 else ''}{tile}"
        room = f", about {show_bytes(self.bytes)} beside the weights" if self.bytes else ""
        source = "as measured here" if self.measured else "by a rule of thumb"
        return calls + room + (f", about {show_seconds(self.seconds)} {source}" if self.seconds else "")


@dataclass(frozen=True)
class Call:
    """One network call of a run: run(*networks) on the device that these are on. key: what else decides how
    long it takes, such as shapes.
    """

    networks: tuple[nn.Module, ...]
    run: Callable[..., object]
    key: tuple = ()

    def operations(self) -> float:
        """Floating-point operations, counted on the meta device, where nothing is computed."""
        return self._counted(operations_of)

    def bytes(self) -> int:
        """The most that is held at once beside the weights, counted on the meta device."""
        return self._counted(peak_bytes)

    def _counted(self, count: Callable[[Callable[[], object]], int]) -> int:
        """What is counted of the call on the meta device, once for networks and key."""
        known = _COUNTED.setdefault(self.networks[0], {})
        key = count, self.key
        if key not in known:
            copies = on_meta(*self.networks)
            known[key] = count(lambda: self.run(*copies))
        return known[key]

    def seconds(self) -> float:
        """Of a second call, the first of which warms up; 0 where memory does not suffice."""
        device = device_of(*self.networks)
        try:
            self.run(*self.networks)
            synchronize(device)
            start = clock()
            self.run(*self.networks)
            synchronize(device)
            return clock() - start
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        release(device)
        return 0.0


class _Operations(PlainDispatchMode):
    """Counts those of products and convolutions, forward and backward."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.count += count(*args, **(kwargs or {}), out_val=out)
        return out


def operations_of(call: Callable[[], object]) -> int:
    """Those of a call."""
    with torch.inference_mode(False), _Operations() as operations:
        call()
    return operations.count


def network_call(
    network: nn.Module, shape: Sequence[int], pictures: int = 1, gradient: bool = False, key: tuple = ()
) -> Call:
    """network(x, t) for x B C H W, or its gradient; pictures: 2 for a network that sees another one."""

    def run(own: nn.Module) -> Tensor:
        place = {"dtype": torch.float32, "device": device_of(own)}
        with torch.inference_mode(False), torch.set_grad_enabled(gradient):
            x, *more = (torch.zeros(tuple(shape), **place, requires_grad=gradient) for _ in range(pictures))
            out = own(x, torch.ones(len(x), **place), *more)
            return torch.autograd.grad(out.float().sum(), x)[0] if gradient else out

    return Call((network,), run, (tuple(shape), pictures, gradient, *key))


class Times:
    """Seconds by what was run and where, in a file of the user's cache folder."""

    def __init__(self):
        self._known: dict[Path, dict[str, float]] = {}
        self._written: dict[tuple[Path, str], float] = {}

    def get(self, key: str) -> float:
        """0 where nothing is known."""
        return self._of(cache_folder() / "times.json").get(key, 0.0)

    def learn(self, key: str, seconds: float) -> None:
        """Take a run into the mean; a folder that cannot be written keeps it for this process alone."""
        path = cache_folder() / "times.json"
        known = self._of(path)
        before = known.pop(key, 0.0)
        known[key] = NEW * seconds + (1 - NEW) * before if before else seconds
        last = self._written.get((path, key), before)
        if last and abs(known[key] / last - 1) < CHANGED:
            return
        self._written[path, key] = known[key]
        newest = {**_read(path), key: known[key]}  # with what other processes have learnt
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(dict(list(newest.items())[-MOST:])), encoding="utf-8")
            partial.replace(path)

    def _of(self, path: Path) -> dict[str, float]:
        if path not in self._known:
            self._known[path] = _read(path)
        return self._known[path]


TIMES = Times()


def _read(path: Path) -> dict[str, float]:
    """What a file holds; nothing where it is missing or damaged, as all of it can be measured again."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): float(value) for key, value in held.items() if value > 0}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def cache_folder() -> Path:
    """The package's folder among the user's caches."""
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "priorsr"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home()) / "priorsr" / "cache"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "priorsr"


def key_of(kind: str, networks: Sequence[nn.Module], device: torch.device, *more: Any) -> str:
    """What runs that take equally long have in common: the networks' shapes and precision (whose numbers
    decide nothing), the device, torch, its threads, and more.
    """
    sizes = [[(tuple(p.shape), str(p.dtype)) for p in n.parameters()] for n in networks]
    sizes += [(type(n).__name__, bool(n._compiled_call_impl)) for n in networks]
    threads = torch.get_num_threads() if device.type == "cpu" else 0
    told = repr((kind, sizes, _name_of(device), torch.__version__, threads, more))
    return hashlib.sha256(told.encode()).hexdigest()[:24]


def by_rule(call: Call, device: torch.device) -> float:
    """Seconds of a call by its operations and what devices of a kind do in a second."""
    half = next((p.element_size() < 4 for n in call.networks for p in n.parameters()), False)
    rate = CORE * torch.get_num_threads() if device.type == "cpu" else ACCELERATOR * (1 + half)
    return call.operations() / rate


def synchronize(device: torch.device) -> None:
    """Wait for what a device was asked for."""
    wait = getattr(getattr(torch, device.type, None), "synchronize", None)
    if device.type != "cpu" and wait is not None:
        wait()


def show_seconds(seconds: float) -> str:
    """Seconds for people, in two units at most."""
    if seconds < 1:
        return "less than a second"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _name_of(device: torch.device) -> str:
    kind = getattr(torch, device.type, None)
    if device.type in ("cuda", "xpu") and kind is not None:
        return kind.get_device_name(device)
    return f"{device.type} {platform.machine()} {platform.processor()} {platform.node()}"
