"""The functions of `import priorsr`: methods by their names, on whatever kind of picture a caller has.

Every setting, weight, preset, default and warning is that of the method itself, as on the command line.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .degrade import PRESETS, Recipe
from .degrade import preset as degradation
from .device import compute_device
from .faces.codeformer import CodeFormerRestorer, CodeFormerSettings
from .faces.detect import Detector, DetectSettings
from .faces.load import CODEFORMER, load_codeformer, load_detector, load_parser, recogniser_for
from .faces.restore import FaceReport, RestoreSettings
from .faces.restore import restore_faces as restore_and_paste
from .faces.restorers import restorer_of
from .imaging import images
from .imaging.alpha import upscale_with_alpha
from .imaging.convert import as_planes
from .imaging.images import Picture, read
from .imaging.resize import scale_for, size_of
from .method import AUTO, Method, OnStep, Plan, Report, Upscaler, nearest
from .metrics.compare import compare as compare_batches
from .registry import method_named, methods

__all__ = [
    "Faces",
    "Loaded",
    "Picture",
    "compare",
    "degrade",
    "list_methods",
    "load",
    "read",
    "restore_faces",
    "upscale",
    "write",
]
log = logging.getLogger("priorsr")


def _warn(text: str) -> None:
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
        on_step: OnStep | None = None,
        report: Report = _warn,
    ) -> Any:
        """As `upscale`."""
        scale = self._scale(scale, longest)
        given = as_planes(picture)
        enlargement = scale_for(longest, size_of(given.pixels)) if longest else scale
        hear = _once(report)

        def enlarge(low: Tensor) -> Tensor:
            return self.upscaler(low, enlargement, [seed] * len(low), on_step, hear).cpu()

        with torch.no_grad():
            return given.back(*upscale_with_alpha(given.pixels, given.alpha, enlarge))

    def plan(self, size: tuple[int, int], scale: float | None = None) -> Plan:
        """What a picture of h x w will take: size of the result, network calls a tile, bytes of one call,
        warnings; nothing is computed. Raises ValueError for what cannot be done.
        """
        return self.upscaler.plan(size, self._scale(scale, None))

    def to(self, device: str | torch.device) -> Loaded:
        """The same with its networks moved. Raises ValueError for a device that is not there."""
        return Loaded(self.method, self.upscaler.to(compute_device(device)))

    def _scale(self, scale: float | None, longest: int | None) -> float:
        return _checked(self.method, scale, longest)


class Faces(NamedTuple):
    """Pictures whose faces were restored, of the kind that was given, and a report of each picture's
    faces.
    """

    picture: Any
    reports: tuple[tuple[FaceReport, ...], ...]


def list_methods() -> list[Method]:
    """Every method, those of installed packages among them, in the order of help tables.

    Each has a name, about, settings (`fields()`), weights, presets and scales.
    """
    return list(methods().values())


def load(method: str, *, preset: str = AUTO, device: str | torch.device = "auto", **settings: Any) -> Loaded:
    """A method with its networks on a device, for `upscale` and `restore_faces` or to be called itself.

    settings: its weights (names or paths) and settings by the names that `priorsr upscale METHOD --help`
    shows, with _ for -; what is not given is the preset's. Raises ValueError for what is unknown or does not
    fit, with the nearest name, and FileNotFoundError.
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
    return Loaded(found, found.prepare(files, preset, values).to(place))


def upscale(
    picture: Any,
    method: str | Loaded,
    scale: float | None = None,
    *,
    longest: int | None = None,
    preset: str = AUTO,
    seed: int = 0,
    device: str | torch.device = "auto",
    on_step: OnStep | None = None,
    report: Report = _warn,
    **settings: Any,
) -> Any:
    """Enlarge a picture, or each of a batch, by a method.

    picture: a path, a Picture, a tensor C H W or B C H W in 0..1, a Pillow image, or an array H W, H W C or
    B H W C (uint8, uint16, or float in 0..1); the result is of the same kind, a Picture for a path.
    Transparency is enlarged beside. scale: the method's own default without one; longest: pixels of the
    longer side in its place. seed: of what is invented, for every picture of a batch. on_step(done, all, x)
    hears of network calls, x the predicted picture in -1..1. report hears warnings and what was chosen;
    without one they go to the log "priorsr". preset, device, settings: as for `load`, unless the method is
    loaded already. Raises ValueError, TypeError and FileNotFoundError, before the first step.
    """
    if isinstance(method, Loaded):
        _refuse(settings)
    else:
        _checked(method_named(method), scale, longest)
        method = load(method, preset=preset, device=device, **settings)
    return method(picture, scale, longest=longest, seed=seed, on_step=on_step, report=report)


def restore_faces(
    picture: Any,
    method: str | Loaded | CodeFormerRestorer,
    *,
    scale: float = 1.0,
    detector: str | Detector = "mtcnn",
    size: int = 0,
    frame: str = "",
    coarse: float = 0.0,
    identity: bool = False,
    preset: str = AUTO,
    seed: int = 0,
    device: str | torch.device = "auto",
    report: Report = _warn,
    **settings: Any,
) -> Faces:
    """Find the faces of a picture, or of each of a batch, restore them by a method, and put them back.

    picture: as for `upscale`. method: one that restores faces, its name or loaded, or `codeformer`. scale:
    enlargement of the whole picture. size, frame: pixels across of an aligned face and how tightly it is
    cropped; as the networks without. coarse: how many times fewer pixels than the method gives it a face
    truly has, 0 for those it has. identity: report how far each face moved (extra `eval`). Face i has the
    seed plus i. settings: those of DetectSettings, RestoreSettings and the method; one of the method that
    they have too is called METHOD_name, such as srdg_limit. Raises as `upscale`.
    """
    shared = _fields(DetectSettings) | (_fields(RestoreSettings) - {"size", "frame", "scale"})
    own, ours = {}, {}
    name = method if isinstance(method, str) else ""
    for key, value in settings.items():
        (ours if key in shared else own)[key] = value
    for key in shared & {key.removeprefix(f"{name}_") for key in own}:  # of the method, beside one of faces
        own[key] = own.pop(f"{name}_{key}")
    place = compute_device(device)
    which = DetectSettings(**{k: v for k, v in ours.items() if k in _fields(DetectSettings)})
    hear = _once(report)
    if method == "codeformer":
        restorer = _codeformer(own, place)
    elif isinstance(method, CodeFormerRestorer):
        _refuse(own)
        restorer = method
    else:
        known = method.method if isinstance(method, Loaded) else method_named(str(method))
        if known.faces is None:
            able = [m.name for m in list_methods() if m.faces] + ["codeformer"]
            raise ValueError(f"{known.name} restores no faces: choose one of {', '.join(able)}")
        if isinstance(method, Loaded):
            _refuse(own)
            loaded = method
        else:
            loaded = load(known.name, preset=preset, device=place, **own)
        restorer = restorer_of(loaded.upscaler, known.faces, size, frame, coarse, report=hear)
    chosen = RestoreSettings(
        size=restorer.size,
        frame=restorer.frame,
        scale=scale,
        **{k: v for k, v in ours.items() if k in _fields(RestoreSettings)},
    )
    recogniser = recogniser_for(restorer.size, restorer.frame) if identity else None
    finder = load_detector(detector, place) if isinstance(detector, str) else detector
    parser = load_parser(device=place) if chosen.mask == "parse" else None
    given = as_planes(picture)
    whole = given.pixels if given.alpha is None else torch.cat([given.pixels, given.alpha], 1)
    with torch.no_grad():
        done = restore_and_paste(
            whole, restorer, finder, chosen, which, seed, parser=parser, recogniser=recogniser
        )
    colours = given.pixels.shape[1]
    alpha = None if given.alpha is None else done.pictures[:, colours:]
    return Faces(given.back(done.pictures[:, :colours], alpha), done.reports)


def degrade(picture: Any, recipe: str | Path | Recipe = "bicubic", scale: float = 4.0, seed: int = 0) -> Any:
    """Degrade a picture, or each of a batch by the same draw, repeatably: the same kind of picture again.

    recipe: one of PRESETS, a Recipe, or a JSON file of one; `Recipe.draw(seed)` is what was done. scale: the
    reduction of bicubic, srdg and real-world. Raises ValueError, TypeError and FileNotFoundError.
    """
    if not isinstance(recipe, Recipe):
        recipe = _recipe(recipe, scale)
    given = as_planes(picture)
    drawn = recipe.draw(seed)

    def apply(x: Tensor) -> Tensor:
        return torch.stack([drawn(one) for one in x]).clamp(0, 1)

    return given.back(*upscale_with_alpha(given.pixels, given.alpha, apply))


def compare(a: Any, b: Any, channels: str = "rgb", border: int = 0) -> list[dict[str, float | None]]:
    """Figures of a against the reference b, for each picture: psnr in dB, ssim, mae in levels of 255, of
    pictures rounded to 8 bits.

    a, b: as for `upscale`, of one size; transparency does not count. Equal pictures have infinite psnr; ssim
    is None below 11 pixels. channels: rgb or luma; border: pixels cut from each side. Raises ValueError.
    """
    return compare_batches(as_planes(a).pixels, as_planes(b).pixels, channels, border)


def write(picture: Any, path: str | os.PathLike, overwrite: bool = False, quality: int = 95) -> Path:
    """Encode one picture of any kind to PNG, JPEG or WebP by the suffix; the file appears whole or not at
    all.

    16 bits of a Picture or an array are kept in PNG. Raises FileExistsError unless `overwrite`, ValueError
    for a name or pixels that do not go, and OSError.
    """
    if not isinstance(picture, Picture):
        given = as_planes(picture)
        if len(given.pixels) != 1:
            raise ValueError(f"a file holds one picture, not {len(given.pixels)}: write them one by one")
        again = given.back(given.pixels, given.alpha)  # of a path, what its file holds besides
        sixteen = isinstance(picture, np.ndarray) and picture.dtype == np.uint16
        picture = (
            again
            if isinstance(again, Picture)
            else Picture(given.pixels.cpu(), given.alpha, 16 if sixteen else 8)
        )
    return images.write(picture, path, overwrite, quality)


def _checked(method: Method, scale: float | None, longest: int | None) -> float:
    """The scale of a method, its default without one. Raises ValueError."""
    if longest is None:
        return method.scales.check(method.scales.default if scale is None else scale, method.name)
    if scale is not None:
        raise ValueError(f"scale {scale:g} and longest {longest} both say how large: give one of them")
    if longest < 1:
        raise ValueError(f"longest {longest} leaves no picture: give the pixels of the longer side")
    return method.scales.default


def _once(report: Report) -> Callable[[str], None]:
    """Each text the first time only: tiles, faces and pictures of a batch say the same."""
    heard: set[str] = set()

    def hear(text: str) -> None:
        if text not in heard:
            heard.add(text)
            report(text)

    return hear


def _fields(kind: type) -> set[str]:
    return {f.name for f in fields(kind)}


def _refuse(settings: Mapping[str, Any]) -> None:
    if settings:
        raise ValueError(f"the method is loaded already: give {next(iter(settings))} to load")


def _codeformer(settings: Mapping[str, Any], device: torch.device) -> CodeFormerRestorer:
    known = _fields(CodeFormerSettings)
    for name in settings:
        if name not in known | {"codeformer", "half"}:
            raise ValueError(
                f"codeformer has no setting {name!r}{nearest(name, sorted(known | {'codeformer', 'half'}))}"
            )
    own = CodeFormerSettings(**{k: v for k, v in settings.items() if k in known})
    path = os.fspath(settings.get("codeformer", CODEFORMER))
    return load_codeformer(path, own, device, settings.get("half", False))


def _recipe(name: str | Path, scale: float) -> Recipe:
    if isinstance(name, str) and name in PRESETS:
        return degradation(name, scale)
    path = Path(name)
    if path.suffix != ".json":
        raise ValueError(f"there is no degradation {str(name)!r}{nearest(str(name), list(PRESETS))}")
    return Recipe.from_json(path.read_text(encoding="utf-8"))
