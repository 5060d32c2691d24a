"""Restore Faces With."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from comfy_api.latest import io
from torch import nn

from ..methods.diffsr.method import DiffSRSettings
from ..methods.dpi.method import PRESETS
from ..methods.dpi.presets import AUTO, NONE, shipped_correctors
from ..methods.faces.restorers import SIDE, EnlargingRestorer, by_diffsr, by_dpi, by_srcnn, by_srdg, frame_of
from ..methods.memory import gradient_bytes
from ..methods.priors.load import load_prior, shipped_priors
from ..methods.srdg.guidance import STRONGEST
from ..methods.srdg.method import PRESETS as SRDG_PRESETS
from ..methods.srdg.method import SRDGSettings, load_sr_prior, scales_of, shipped_networks
from ..methods.srdg.method import preset as srdg_preset
from . import host
from .attributes import NONE as UNJUDGED
from .attributes import (
    Attributes,
    classifier_input,
    classifiers_of,
    load_classifier,
    network_input,
    told,
    wanted_inputs,
    wished,
)
from .face_inputs import (
    CATEGORY,
    Asked,
    detect_inputs,
    detector_input,
    given_inputs,
    more_inputs,
    paste_inputs,
    put_back,
    restored_outputs,
    scale_input,
)
from .host import managed as managed_models
from .host.managed import attribute_bytes
from .posterior import SEED

DIFFSR = ("steps", "level", "aim", "consistency")
SRCNN_MAPS = 2 * 96  # of the largest size, its convolutions' workspace included


def _prior() -> io.Input:
    return io.Combo.Input(
        "prior",
        options=[*shipped_priors(), *host.weight_files()],
        tooltip="face64 comes along and gives every face 64 pixels across; or an ADM or EDM file of models/priorsr.",
    )


def _methods() -> list:
    diffsr = [_prior(), *host.settings_inputs(DiffSRSettings, DIFFSR, advanced=False)]
    dpi = [
        _prior(),
        io.Combo.Input(
            "corrector",
            options=[AUTO, NONE, *shipped_correctors(), *host.weight_files()],
            tooltip="What refines the conditions.",
        ),
        io.Combo.Input(
            "preset",
            options=[AUTO, *PRESETS],
            tooltip="How strong the conditions are; auto: as the scale of each face asks.",
        ),
        io.Int.Input(
            "dpi_steps",
            default=0,
            min=0,
            max=1000,
            tooltip="Network calls for each face; 0: as the preset says.",
        ),
    ]
    strength = SRDG_PRESETS["shipped"].h
    srdg = [
        network_input(),
        classifier_input(),
        *wanted_inputs(),
        io.Combo.Input(
            "srdg_preset",
            options=[AUTO, *SRDG_PRESETS],
            tooltip="How faces are sampled; auto: as suits the network.",
        ),
        io.Int.Input(
            "srdg_steps", default=0, min=0, max=100_000, tooltip="Noise levels; 0: as the preset says."
        ),
        io.Float.Input(
            "h",
            default=strength,
            min=0.0,
            max=STRONGEST,
            tooltip="How hard the attributes pull, whatever the preset; 0 asks none.",
        ),
        *host.settings_inputs(SRDGSettings, ("view",), advanced=False),
    ]
    size = io.Int.Input(
        "size",
        default=SIDE,
        min=32,
        max=4096,
        tooltip="Pixels across of an aligned face, about half of which are the face itself.",
    )
    methods = (("diffsr", diffsr), ("dpi", dpi), ("srdg", srdg), ("srcnn", [size]))
    return [io.DynamicCombo.Option(name, inputs) for name, inputs in methods]


class RestoreFacesWith(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRRestoreFaces",
            display_name="Restore Faces With",
            category=CATEGORY,
            description="Find the faces of a picture, restore each with a method of this pack, and put it back. Needs no download.",
            search_aliases=[
                "face restoration",
                "restore face",
                "diff-sr",
                "dpi",
                "srdg",
                "srcnn",
                "face enhance",
            ],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="Images of any size, in colour or grey, with any number of faces; alpha is kept.",
                ),
                io.DynamicCombo.Input(
                    "method",
                    options=_methods(),
                    tooltip="A diffusion prior by Diff-SR or DPI, SRDG's network, or SRCNN, which invents nothing.",
                ),
                *scale_input(),
                io.Float.Input(
                    "coarse",
                    default=0.0,
                    min=0.0,
                    max=64.0,
                    step=0.1,
                    tooltip="How many times fewer pixels than the method gives it a face truly has; 0: as in the image. For large but blurred faces.",
                ),
                detector_input(),
                io.Int.Input("seed", tooltip="Decides what a prior invents; face i has seed + i.", **SEED),
                *paste_inputs(),
                *detect_inputs(),
                io.Combo.Input(
                    "frame",
                    options=["auto", "tight", "ffhq"],
                    tooltip="How tightly the prior's own faces are cropped: chin to forehead, or as in FFHQ.",
                    extra_dict={"advanced": True},
                ),
                *more_inputs(),
                *given_inputs(),
                Attributes.Input(
                    "classifiers",
                    optional=True,
                    tooltip="For srdg: from Load Attribute Classifier, for several attributes.",
                ),
            ],
            outputs=restored_outputs(),
        )

    @classmethod
    def execute(cls, image, coarse, seed, frame, method=None, classifiers=(), **asked):
        wanted = Asked(**asked)
        with torch.inference_mode(False), torch.no_grad():
            chosen = _chosen(dict(method or {}), frame, coarse, wanted.batch, classifiers)
            restorer = chosen.restorer
            with managed_models.classifiers_ready(chosen.managed, chosen.room):
                return put_back(
                    image,
                    restorer,
                    chosen.networks,
                    chosen.room,
                    restorer.size,
                    restorer.frame,
                    wanted,
                    seed,
                    chosen.said,
                )


@dataclass(frozen=True)
class _Chosen:
    """A restorer, the networks that come and go with it and those that the host manages, the bytes that a call needs, and what is said."""

    restorer: EnlargingRestorer
    networks: Sequence[nn.Module]
    room: int
    said: list[str]
    managed: tuple = ()


def _chosen(given: dict, frame: str, coarse: float, batch: int, classifiers: tuple) -> _Chosen:
    """What the choice of a method asks for. Raises ValueError."""
    name = given.pop("method", None)
    if name == "srcnn":
        restorer = by_srcnn(given["size"], coarse)
        return _Chosen(restorer, restorer.networks, 4 * SRCNN_MAPS * restorer.size**2, [])
    if name not in ("diffsr", "dpi", "srdg"):
        raise ValueError(f"there is no method {name!r} for faces: choose diffsr, dpi, srdg or srcnn")
    named = given.pop("prior")
    path = named if named in (*shipped_priors(), *shipped_networks()) else str(host.weight_path(named))
    frame, said = frame_of(named) if frame == "auto" else frame, []
    if name == "srdg":
        return _srdg(given, path, frame, coarse, batch, classifiers)
    prior = load_prior(path)
    room = (
        gradient_bytes(prior.network, (batch, prior.channels, prior.size, prior.size))
        // managed_models.BACKWARD
    )
    if name == "diffsr":
        restorer = by_diffsr(prior, frame, DiffSRSettings(**given), coarse, host.cancellable(), said.append)
        return _Chosen(restorer, restorer.networks, room, said)
    corrector = given["corrector"]
    file = corrector if corrector in (AUTO, NONE, *shipped_correctors()) else str(host.weight_path(corrector))
    restorer = by_dpi(
        prior, frame, given["preset"], given["dpi_steps"], file, coarse, host.cancellable(), said.append
    )
    return _Chosen(restorer, restorer.networks, 2 * room, said)


def _srdg(given: dict, path: str, frame: str, coarse: float, batch: int, classifiers: tuple) -> _Chosen:
    named, attributes, weighing = (given.pop(name) for name in ("classifier", "attributes", "weights"))
    own = [] if named == UNJUDGED else [load_classifier(named)]
    wanted = wished([*classifiers_of(classifiers), *own], attributes, weighing)
    prior = load_sr_prior(path)
    steps = {"steps": given["srdg_steps"]} if given["srdg_steps"] else {}
    settings = srdg_preset(given["srdg_preset"], path, h=given["h"], view=given["view"], **steps)
    restorer = by_srdg(prior, frame, wanted, settings, scales_of(path), coarse, host.cancellable())
    room = (
        gradient_bytes(prior.network, (batch, prior.channels, prior.size, prior.size), pictures=2)
        // managed_models.BACKWARD
    )
    room += attribute_bytes([wish.classifier for wish in wanted], batch)
    return _Chosen(
        restorer, [prior.network, *(judge.network for judge in own)], room, [told(wanted)], classifiers
    )
