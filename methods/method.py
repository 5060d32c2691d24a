"""What a method is, said once: its settings, weights and scales, how it is loaded, and what it does to a
picture.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from ..samplers.run import Step
from . import timing
from .device import device_of, own_defaults
from .imaging.canvas import check_enlargement, noise_for
from .imaging.images import is_finite
from .imaging.resize import enlarged_size, size_of
from .inputs import FaceUse, Scales, WeightInput
from .memory import is_out_of_memory, release, show_bytes
from .precision import loaded_in, move
from .settings import Settings, nearest
from .timing import FEWEST, TIMES, Call, by_rule, key_of
from .timing import Plan as Plan

AUTO, NONE = "auto", "none"
OnStep = Callable[
    [int, int, "Tensor | None"], None
]  # network calls done, of so many, the picture predicted (-1..1)
Report = Callable[[str], None]
NO_FILES: Mapping[str, Any] = MappingProxyType({})


class Upscaler(ABC):
    """A method with its networks loaded: networks, so that a host may place them; scales that they are
    trained for, () for any.

    tile: side of the pieces that it works in, 0 for the whole, which may be lowered where memory runs out;
    None where pieces are part of the method. size: side of the faces that it makes, 0 for any. frame: how
    tightly faces of its prior are cropped.
    """

    networks: tuple[nn.Module, ...] = ()
    tile: int | None = None
    scales: tuple[float, ...] = ()
    size: int = 0
    frame: str = "ffhq"

    @abstractmethod
    def plan(self, size: tuple[int, int], scale: float) -> Plan:
        """What enlarging a picture of h x w will take; nothing is computed.

        Raises ValueError for what cannot be done.
        """

    @abstractmethod
    def enlarge(
        self, low: Tensor, scale: float, seeds: Sequence[int], step: Callable, report: Report
    ) -> Tensor:
        """B C h w in 0..1 on the networks' device to B C H W in 0..1; step(step, x) after every network
        call.
        """

    def one_call(self, size: tuple[int, int], scale: float) -> Call | None:
        """One network call of enlarging a picture of h x w, which tells how long a run will take; None where
        only runs tell.
        """
        return None

    def predict(self, size: tuple[int, int], scale: float, count: int = 1, measure: bool = False) -> Plan:
        """The plan with the seconds that `count` pictures of h x w take, of runs before on this device, else
        of one network call.

        measure: do such a call now where a long run is of no kind that is known. Raises ValueError as `plan`.
        """
        plan = self.plan(size, scale)
        if not plan.calls:
            return plan
        call, calls = self.one_call(size, scale), plan.calls * plan.pieces * count
        keys = self._keys(call, plan.calls)
        known = next(filter(None, map(TIMES.get, keys)), 0.0)
        if not known and measure and call and calls >= FEWEST:
            known = call.seconds()
            if known:
                TIMES.learn(keys[-1], known)
        each = known or (by_rule(call, self.device) if call else 0.0)
        return replace(plan, seconds=each * calls, measured=bool(known))

    def _keys(self, call: Call | None, calls: int) -> list[str]:
        """What seconds a call are kept by: of runs of so many calls, then of any."""
        own = type(self).__qualname__, self.networks, self.device, call.key if call else self.tile
        return [key_of(*own, calls), key_of(*own)]

    @own_defaults()
    def __call__(
        self,
        low: Tensor,
        scale: float,
        seeds: Sequence[int] | None = None,
        on_step: OnStep | None = None,
        report: Report = lambda text: None,
    ) -> Tensor:
        """Enlarge B C h w in 0..1 (C is 1 or 3) by `scale`. seeds: one a picture, 0 for all by default.

        report hears warnings and what was chosen. Raises ValueError: before the first step, and for a
        result that is not finite.
        """
        check_enlargement(low, scale)
        seeds = noise_for(low, seeds).seeds
        plan = self.plan(size_of(low), scale)
        for warning in plan.warnings:
            report(warning)
        low = low.to(self.device)
        while True:
            try:
                start = timing.clock()
                done = _finite(self.enlarge(low, scale, seeds, _counter(on_step, plan.calls), report))
                self._learn(size_of(low), scale, len(low), timing.clock() - start)
                return done
            except Exception as error:
                cure = self._cure(error)
                if not cure:
                    raise
            # outside of the except block, whose traceback holds the tensors of the failed try
            release(self.device)
            report(cure)

    def _learn(self, size: tuple[int, int], scale: float, count: int, seconds: float) -> None:
        """Keep how long a run took, for those of its kind that follow."""
        plan = self.plan(size, scale)  # anew, for memory may have run out
        if plan.calls and count:
            for key in self._keys(self.one_call(size, scale), plan.calls):
                TIMES.learn(key, seconds / (plan.calls * plan.pieces * count))

    def _cure(self, error: Exception) -> str:
        """Change what made a run fail, if that can be; in words, nothing where it cannot."""
        if is_out_of_memory(error):
            smaller = self.shrink()
            return f"out of memory: goes on with {smaller}" if smaller else ""
        compiler = type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
        if compiler and any(network._compiled_call_impl for network in self.networks):
            for network in self.networks:
                network._compiled_call_impl = None
            reason = " ".join(str(error).split("\n")[:2])
            return f"goes on without compiling, which failed: {reason}"
        return ""

    def compile(self, backend: str = "inductor") -> Upscaler:
        """The same with its networks compiled, each when it is first called for a size of tile."""
        for network in self.networks:
            network.compile(backend=backend)
        return self

    def shrink(self) -> str:
        """Work in smaller pieces from now on; says in which, or nothing where there are no smaller ones."""
        return ""

    def fit(self, size: tuple[int, int], scale: float, budget: int) -> tuple[str, ...]:
        """Shrink until a picture of h x w needs at most so many bytes beside the weights; says how."""
        changed = ""
        while (needed := self.plan(size, scale).bytes) > budget:
            smaller = self.shrink()
            if not smaller:
                return (f"needs about {show_bytes(needed)} beside the weights, of {show_bytes(budget)}",)
            changed = smaller
        return (f"{changed}, to stay within {show_bytes(budget)}",) if changed else ()

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return device_of(*self.networks)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Upscaler:
        """The same with its networks moved, and computing in `dtype` where one is given."""
        move(self.networks, device, dtype)
        return self

    def result_size(self, size: tuple[int, int], scale: float) -> tuple[int, int]:
        """(H, W) of a picture of h x w enlarged."""
        return enlarged_size(size, scale)


def seeds_from(seed: int, count: int, vary: bool = True) -> list[int]:
    """A seed for each picture of a batch: the first has that given, the next ones follow unless all shall be
    alike.
    """
    return [(seed + i * vary) % 2**64 for i in range(count)]


def _finite(done: Tensor) -> Tensor:
    """Raises ValueError for a picture that holds anything but numbers."""
    if done.numel() and not is_finite(done):
        raise ValueError(
            "the result holds numbers that are not finite: use other settings, single precision, or fetch "
            "the weights again"
        )
    return done


def _counter(on_step: OnStep | None, total: int) -> Callable[..., None]:
    """The core's on_step as a count of network calls, whatever groups of pictures they serve; total: of all
    groups, where it is known.
    """
    done = 0

    def count(step: Step | None = None, x: Tensor | None = None, total: int = total) -> None:
        nonlocal done
        done += 1
        if on_step:
            on_step(done, max(total, done), None if step is None else step.pred.x0)

    return count


Loader = Callable[[Mapping[str, Any], "Given"], Upscaler]


@dataclass(frozen=True)
class Method:
    """A method: everything that command, node, restorer, study and help derive from.

    settings: classes whose fields, taken together, are its settings. presets: names beside auto. load(files,
    given): files by the names of `weights`; given what the user named, and the preset.
    """

    name: str
    node_id: str
    title: str
    about: str
    settings: tuple[type[Settings], ...]
    load: Loader
    weights: tuple[WeightInput, ...] = ()
    presets: tuple[str, ...] = ()
    scales: Scales = field(default_factory=Scales)
    faces: FaceUse | None = None

    def fields(self) -> dict[str, Any]:
        """Every setting by its name, as a dataclass field."""
        return {f.name: f for kind in self.settings for f in fields(kind)}

    @own_defaults()
    def prepare(
        self,
        files: Mapping[str, Any] = NO_FILES,
        preset: str = AUTO,
        values: Mapping[str, Any] = NO_FILES,
        precision: torch.dtype = torch.float32,
    ) -> Upscaler:
        """The method with its networks loaded on the CPU, where they compute in `precision`. values: settings
        that are given; a preset decides the others.

        Raises ValueError and FileNotFoundError that name what is wrong.
        """
        chosen = {}
        for one in self.weights:
            value = files.get(one.name)
            chosen[one.name] = one.default if value in (None, "") else value
            if not chosen[one.name] and not one.many:
                raise ValueError(f"{self.name} needs {one.name}: {one.help}")
        unknown = [n for n in files if n not in chosen] or [n for n in values if n not in self.fields()]
        if unknown:
            raise ValueError(
                f"{self.name} has no setting {unknown[0]!r}{nearest(unknown[0], [*chosen, *self.fields()])}"
            )
        if preset not in (AUTO, *self.presets):
            raise ValueError(
                f"{self.name} has no preset {preset!r}: choose one of {', '.join((AUTO, *self.presets))}"
            )
        with loaded_in(precision):
            return self.load(chosen, Given(self.settings, preset, values))


@dataclass(frozen=True)
class Given:
    """The settings that a user named, the preset that decides the rest, and the classes that they belong
    to.
    """

    kinds: tuple[type[Settings], ...]
    preset: str = AUTO
    values: Mapping[str, Any] = field(default_factory=dict)

    def of(self, kind: type[Settings]) -> dict[str, Any]:
        """What of it one settings class has."""
        names = {f.name for f in fields(kind)}
        return {name: value for name, value in self.values.items() if name in names}

    def make(self, kind: type[Settings]) -> Any:
        """That class with what was given. Raises ValueError."""
        return kind(**self.of(kind))
