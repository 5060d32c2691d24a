"""Methods by their names, loaded once or for one picture, on whatever kind of picture a caller has."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..device import compute_device
from ..imaging.alpha import upscale_with_alpha
from ..imaging.convert import as_planes
from ..imaging.region import Region, RegionSettings, within
from ..imaging.resize import scale_for, size_of
from ..method import AUTO, Method, OnStep, Plan, Report, Upscaler
from ..precision import precision_of
from ..registry import method_named, methods

log = logging.getLogger("priorsr")


def warn(text: str) -> None:
    """What hears of warnings where the caller does not: the log "priorsr"."""
    log.warning("%s", text)


@dataclass(frozen=True)
class Loaded:
    """A method whose networks are loaded, to be called for many pictures. The upscaler is what it runs."""

    method: Method
    upscaler: Upscaler

    def __call__(
        self,
        picture: Any,
        scale: float | None = None,
        *,
        longest: int | None = None,
        seed: int = 0,
        region: Any = None,
        feather: float = RegionSettings.feather,
        on_step: OnStep | None = None,
        report: Report = warn,
    ) -> Any:
        """As `upscale`."""
        scale = self._scale(scale, longest)
        given = as_planes(picture)
        enlargement = scale_for(longest, size_of(given.pixels)) if longest else scale
        hear = once(report)
        limits = region_of(region, feather, hear)

        def enlarge(low: Tensor) -> Tensor:
            return self.upscaler(low, enlargement, [seed] * len(low), on_step, hear).cpu()

        with torch.no_grad():
            return given.back(*upscale_with_alpha(given.pixels, given.alpha, within(limits, enlarge)))

    def plan(self, size: tuple[int, int], scale: float | None = None) -> Plan:
        """What a picture of h x w will take: size of the result, network calls a tile, bytes of one call,
        seconds, warnings; nothing is computed. Raises ValueError for what cannot be done.
        """
        return self.upscaler.predict(size, self._scale(scale, None))

    def to(self, device: str | torch.device, precision: str = "") -> Loaded:
        """The same with its networks moved, in the precision that is given (auto, fp32, bf16 or fp16).

        Raises ValueError for a device that is not there, or another precision.
        """
        place = compute_device(device)
        dtype = precision_of(precision, place) if precision else None
        return Loaded(self.method, self.upscaler.to(place, dtype))

    def _scale(self, scale: float | None, longest: int | None) -> float:
        return _checked(self.method, scale, longest)


def list_methods() -> list[Method]:
    """Every method, those of installed packages among them, in the order of help tables.

    Each has a name, about, settings (`fields()`), weights, presets and scales.
    """
    return list(methods().values())


def load(
    method: str,
    *,
    preset: str = AUTO,
    device: str | torch.device = "auto",
    precision: str = "auto",
    **settings: Any,
) -> Loaded:
    """A method with its networks on a device, for `upscale` and `restore_faces` or to be called itself.

    precision: auto, fp32, bf16 or fp16. settings: its weights (names or paths) and settings by the names
    that `priorsr upscale METHOD --help` shows, with _ for -; what is not given is the preset's. Raises
    ValueError for what is unknown or does not fit, with the nearest name, and FileNotFoundError.
    """
    found = method_named(method)
    place = compute_device(device)
    files, values = {}, {}
    for name, value in settings.items():
        one = next((w for w in found.weights if w.name == name), None)
        if one is None:
            values[name] = value
        elif one.many:
            some = [value] if isinstance(value, str | os.PathLike) else value
            files[name] = [os.fspath(path) for path in some]
        else:
            files[name] = os.fspath(value)
    return Loaded(found, found.prepare(files, preset, values, precision_of(precision, place)).to(place))


def upscale(
    picture: Any,
    method: str | Loaded,
    scale: float | None = None,
    *,
    longest: int | None = None,
    preset: str = AUTO,
    seed: int = 0,
    region: Any = None,
    feather: float = RegionSettings.feather,
    device: str | torch.device = "auto",
    precision: str = "auto",
    on_step: OnStep | None = None,
    report: Report = warn,
    **settings: Any,
) -> Any:
    """Enlarge a picture, or each of a batch, by a method.

    picture: a path, a Picture, a tensor C H W or B C H W in 0..1, a Pillow image, or an array H W, H W C or
    B H W C (uint8, uint16, or float in 0..1); the result is of the same kind, a Picture for a path.
    Transparency is enlarged beside. scale: the method's own default without one; longest: pixels of the
    longer side in its place. seed: of what is invented, for every picture of a batch. region: a picture of
    any such kind and size, white where the method may work; beyond it, after an edge that fades over
    `feather` pixels of the result, the picture is enlarged bicubically. on_step(done, all, x) hears of
    network calls, x the predicted picture in -1..1. report hears warnings and what was chosen; without one
    they go to the log "priorsr". preset, device, precision, settings: as for `load`, unless the
    method is loaded already. Raises ValueError, TypeError and FileNotFoundError, before the first step.
    """
    if isinstance(method, Loaded):
        refuse(settings)
    else:
        _checked(method_named(method), scale, longest)
        method = load(method, preset=preset, device=device, precision=precision, **settings)
    limits = {"region": region, "feather": feather}
    return method(picture, scale, longest=longest, seed=seed, **limits, on_step=on_step, report=report)


def _checked(method: Method, scale: float | None, longest: int | None) -> float:
    """The scale of a method, its default without one. Raises ValueError."""
    if longest is None:
        return method.scales.check(method.scales.default if scale is None else scale, method.name)
    if scale is not None:
        raise ValueError(f"scale {scale:g} and longest {longest} both say how large: give one of them")
    if longest < 1:
        raise ValueError(f"longest {longest} leaves no picture: give the pixels of the longer side")
    return method.scales.default


def region_of(region: Any, feather: float, report: Report) -> Region | None:
    """What limits a restorer, None where nothing does; report hears of an empty one. Raises ValueError."""
    if region is None:
        return None
    limits = Region.of(region, feather)
    if said := limits.said():
        report(said)
    return limits


def once(report: Report) -> Callable[[str], None]:
    """Each text the first time only: tiles, faces and pictures of a batch say the same."""
    heard: set[str] = set()

    def hear(text: str) -> None:
        if text not in heard:
            heard.add(text)
            report(text)

    return hear


def refuse(settings: Mapping[str, Any]) -> None:
    """Raises ValueError where a method that is loaded is given settings again."""
    if settings:
        raise ValueError(f"the method is loaded already: give {next(iter(settings))} to load")
