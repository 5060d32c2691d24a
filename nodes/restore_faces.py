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
from ..methods.faces.restorers import SIDE, EnlargingRestorer, restorer_of
from ..methods.method import WeightInput
from ..methods.priors.load import shipped_priors
from ..methods.registry import method_named
from ..methods.srdg.guidance import STRONGEST
from ..methods.srdg.method import PRESETS as SRDG_PRESETS
from ..methods.srdg.method import SRDGSettings
from . import host
from .attributes import NONE as UNJUDGED
from .attributes import (
    Attributes,
    classifier_input,
    classifiers_of,
    load_classifier,
    network_input,
    wanted_inputs,
)
from .face_inputs import (
    CATEGORY,
    FaceInputs,
    detect_inputs,
    detector_input,
    given_inputs,
    more_inputs,
    paste_inputs,
    restore_and_paste,
    restored_outputs,
    scale_input,
)
from .host import managed as managed_models
from .posterior import SEED

DIFFSR = ("steps", "level", "aim", "consistency")
METHODS = ("diffsr", "dpi", "srdg", "srcnn")
WIDGETS = {"dpi_steps": "steps", "srdg_steps": "steps", "weights": "attribute_weights"}


def _prior() -> io.Input:
    return io.Combo.Input(
        "prior",
        options=[*shipped_priors(), *host.weight_files()],
        tooltip=(
            "face64 comes along and gives every face 64 pixels across; or an ADM or EDM file of "
            "models/priorsr."
        ),
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
            description=(
                "Find the faces of a picture, restore each with a method of this pack, and put it "
                "back. Needs no download."
            ),
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
                    tooltip=(
                        "A diffusion prior by Diff-SR or DPI, SRDG's network, or SRCNN, which invents "
                        "nothing."
                    ),
                ),
                *scale_input(),
                io.Float.Input(
                    "coarse",
                    default=0.0,
                    min=0.0,
                    max=64.0,
                    step=0.1,
                    tooltip=(
                        "How many times fewer pixels than the method gives it a face truly has; 0: as "
                        "in the image. For large but blurred faces."
                    ),
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
        wanted = FaceInputs(**asked)
        with torch.inference_mode(False), torch.no_grad():
            chosen = _chosen(dict(method or {}), frame, coarse, classifiers)
            restorer = chosen.restorer
            with managed_models.classifiers_ready(chosen.managed, chosen.room):
                return restore_and_paste(
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
    """A restorer, the networks that come and go with it and those that the host manages, the bytes that a
    call needs, and what is said.
    """

    restorer: EnlargingRestorer
    networks: Sequence[nn.Module]
    room: int
    said: list[str]
    managed: tuple = ()


def _chosen(given: dict, frame: str, coarse: float, classifiers: tuple) -> _Chosen:
    """What the choice of a method asks for. Raises ValueError."""
    name = given.pop("method", None)
    if name not in METHODS:
        raise ValueError(
            f"there is no method {name!r} for faces: choose {', '.join(METHODS[:-1])} or {METHODS[-1]}"
        )
    method, size, said = method_named(name), given.pop("size", 0), []
    preset = given.pop(f"{name}_preset", None) or given.pop("preset", AUTO)
    values = {WIDGETS.get(key, key): value for key, value in given.items()}
    if not values.get("steps", 1):
        del values["steps"]  # 0 leaves them to the preset
    judge = values.pop("classifier", UNJUDGED)
    files = {one.name: _file(values.pop(one.name), one) for one in method.weights if one.name in values}
    if name == "srdg":
        own = [] if judge == UNJUDGED else [load_classifier(judge)]
        files["classifier"] = [*classifiers_of(classifiers), *own]
    upscaler = method.prepare(files, preset, values)
    restorer = restorer_of(
        upscaler, method.faces, size, "" if frame == "auto" else frame, coarse, _cancellable(), said.append
    )
    managed = [m.classifier.network for m in classifiers]
    networks = [n for n in restorer.networks if all(n is not m for m in managed)]
    scale = min(upscaler.scales, default=2.0)
    room = upscaler.plan((round(restorer.size / scale),) * 2, scale).bytes
    return _Chosen(restorer, networks, room, said, classifiers if name == "srdg" else ())


def _file(name: str, one: WeightInput) -> str:
    """The path of a file of the models folder; names that the method knows stay."""
    return name if name in one.names() else str(host.weight_path(name))


def _cancellable():
    """A callback for every network call that only raises when the user cancels: the bar counts faces."""
    look = host.cancellable()
    return lambda done, total, preview: look(None, None)
