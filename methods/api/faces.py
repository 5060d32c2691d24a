"""Faces found, restored by any method, and put back, on whatever kind of picture a caller has."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import torch

from ..device import compute_device
from ..faces.codeformer import CodeFormerRestorer, CodeFormerSettings
from ..faces.detect import Detector, DetectSettings
from ..faces.load import (
    CODEFORMER,
    knowing_person,
    load_background_cleaner,
    load_codeformer,
    load_detector,
    load_parser,
)
from ..faces.paint import FaceReport, RestoreSettings
from ..faces.restore import restore_faces as restore_and_paste
from ..faces.restorers import restorer_of
from ..imaging.convert import as_planes
from ..imaging.region import RegionSettings
from ..method import AUTO, Report, nearest
from ..precision import precision_of
from ..registry import method_named
from .upscale import Loaded, list_methods, load, once, refuse, region_of, warn


class Faces(NamedTuple):
    """Pictures whose faces were restored, of the kind that was given, and a report of each picture's
    faces.
    """

    picture: Any
    reports: tuple[tuple[FaceReport, ...], ...]


def restore_faces(
    picture: Any,
    method: str | Loaded | CodeFormerRestorer = "diffsr",
    *,
    clean: bool = True,
    scale: float = 1.0,
    detector: str | Detector = "mtcnn",
    size: int = 0,
    frame: str = "",
    coarse: float = 0.0,
    identity: bool = False,
    reference: Sequence[Any] = (),
    preset: str = AUTO,
    seed: int = 0,
    region: Any = None,
    feather: float = RegionSettings.feather,
    device: str | torch.device = "auto",
    precision: str = "auto",
    report: Report = warn,
    **settings: Any,
) -> Faces:
    """Find the faces of a picture, or of each of a batch, restore them by a method, and put them back.

    picture: as for `upscale`. method: one that restores faces, its name or loaded, or `codeformer`. clean:
    remove noise and compression from the whole picture first. scale: enlargement of the whole picture. size,
    frame: pixels across of an aligned face and how tightly it is cropped; as the networks without. coarse:
    how many times fewer pixels than the method gives it a face truly has, 0 for the detail that it shows.
    identity: report how far each face moved (extra `eval`). reference: photographs of the person, to pick the
    best of several `candidates` by identity. Face i has the seed plus i. region, feather: as for `upscale`;
    beyond it the picture is as it was, or enlarged bicubically. settings: those of DetectSettings,
    RestoreSettings and the method; one of the method that they have too is called METHOD_name, such as
    srdg_limit. Raises as `upscale`.
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
    hear = once(report)
    if method == "codeformer":
        restorer = _codeformer(own, place, precision_of(precision, place))
    elif isinstance(method, CodeFormerRestorer):
        refuse(own)
        restorer = method
    else:
        known = method.method if isinstance(method, Loaded) else method_named(str(method))
        if known.faces is None:
            able = [m.name for m in list_methods() if m.faces] + ["codeformer"]
            raise ValueError(f"{known.name} restores no faces: choose one of {', '.join(able)}")
        if isinstance(method, Loaded):
            refuse(own)
            loaded = method
        else:
            loaded = load(known.name, preset=preset, device=place, precision=precision, **own)
        restorer = restorer_of(loaded.upscaler, known.faces, size, frame, coarse, report=hear)
    chosen = RestoreSettings(
        size=restorer.size,
        frame=restorer.frame,
        scale=scale,
        **{k: v for k, v in ours.items() if k in _fields(RestoreSettings)},
    )
    finder = load_detector(detector, place) if isinstance(detector, str) else detector
    parser = load_parser(device=place) if chosen.mask == "parse" else None
    others = (one.pixels for one in map(as_planes, reference)) if reference else None
    chosen, recogniser, person = knowing_person(chosen, identity, others, finder)
    cleaner = load_background_cleaner(place, precision_of(precision, place)) if clean else None
    given = as_planes(picture)
    whole = given.pixels if given.alpha is None else torch.cat([given.pixels, given.alpha], 1)
    with torch.no_grad():
        done = restore_and_paste(
            whole,
            restorer,
            finder,
            chosen,
            which,
            seed,
            parser=parser,
            recogniser=recogniser,
            cleaner=cleaner,
            reference=person,
            region=region_of(region, feather, hear),
        )
    colours = given.pixels.shape[1]
    alpha = None if given.alpha is None else done.pictures[:, colours:]
    return Faces(given.back(done.pictures[:, :colours], alpha), done.reports)


def _fields(kind: type) -> set[str]:
    return {f.name for f in fields(kind)}


def _codeformer(
    settings: Mapping[str, Any], device: torch.device, precision: torch.dtype
) -> CodeFormerRestorer:
    known = _fields(CodeFormerSettings)
    for name in settings:
        if name not in known | {"codeformer"}:
            raise ValueError(
                f"codeformer has no setting {name!r}{nearest(name, sorted(known | {'codeformer'}))}"
            )
    own = CodeFormerSettings(**{k: v for k, v in settings.items() if k in known})
    path = os.fspath(settings.get("codeformer", CODEFORMER))
    return load_codeformer(path, own, device, precision)
