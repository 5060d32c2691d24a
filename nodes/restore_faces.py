"""Restore Faces."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from comfy_api.latest import io

from ..methods.faces.restorers import SIDE, restorer_of
from ..methods.method import AUTO, Method, seeds_from
from ..methods.registry import methods
from ..methods.srdg.guidance import STRONGEST
from ..methods.srdg.method import PRESETS as SRDG_PRESETS
from . import host
from .attributes import Attributes
from .face_inputs import (
    CATEGORY,
    clean_input,
    detect_inputs,
    detector_input,
    given_inputs,
    later_inputs,
    more_inputs,
    paste_inputs,
    reference_input,
    restored_outputs,
    scale_input,
)
from .face_runs import FaceInputs, restore_and_paste
from .host import managed as managed_models
from .region import region_inputs
from .upscale import SEED, networks_beside, prepared, preset_input, setting_inputs, vary_input, weight_input

# widgets of a choice come before those after it, so a choice that saved work knows gets no more of them
KNOWN = {
    "diffsr": ("prior", "level", "steps", "aim", "consistency"),
    "dpi": ("prior", "corrector", "preset", "dpi_steps"),
    "srdg": (
        "prior",
        "classifier",
        "attributes",
        "weights",
        "srdg_preset",
        "srdg_steps",
        "h",
        "view",
    ),
    "srcnn": ("size",),
}
SELDOM = ("weights", "srdg_steps", "h")  # of those that saved work knows
NAMES = {"dpi_steps": "steps", "srdg_steps": "steps", "srdg_preset": "preset"}
HIDDEN = {
    # the first three need a tokenizer's folder, the last is later than saved work
    "stablesr": ("prompt", "negative", "guidance", "enlargement"),
    "edm-dps": ("squared", "guide_last"),  # later than saved work
}


def _size(default: int, least: int) -> io.Input:
    return io.Int.Input(
        "size",
        default=default,
        min=least,
        max=4096,
        tooltip="Pixels across of an aligned face, half of which are the face itself; 0: as the networks.",
    )


def _preset(name: str, method: Method) -> io.Input:
    return io.Combo.Input(
        name,
        options=[AUTO, *method.presets],
        tooltip="What decides the settings not shown; auto: as the scale of a face and the weights ask.",
    )


def _steps(name: str, most: int) -> io.Input:
    return io.Int.Input(
        name, default=0, min=0, max=most, tooltip="Network calls for each face; 0: as the preset says."
    )


def _inputs(method: Method) -> list[io.Input]:
    """What a method of faces asks for."""
    every = [*map(weight_input, method.weights), *setting_inputs(method, HIDDEN.get(method.name, ()))]
    known = KNOWN.get(method.name)
    if known is None:
        presets = [preset_input(method)] if method.presets else []
        return [*every[: len(method.weights)], _size(0, 0), *presets, *every[len(method.weights) :]]
    h = io.Float.Input(
        "h",
        default=SRDG_PRESETS["shipped"].h,
        min=0.0,
        max=STRONGEST,
        tooltip="How hard the attributes pull, whatever the preset; 0 asks none.",
    )
    own = [_size(SIDE, 32), _preset("preset", method), _preset("srdg_preset", method)]
    own += [_steps("dpi_steps", 1000), _steps("srdg_steps", 100_000)] + ([h] if method.name == "srdg" else [])
    by_name = {one.id: one for one in (*every, *own)}
    host.advanced([by_name[name] for name in SELDOM if name in by_name])
    return [by_name[name] for name in known]


def _methods() -> dict[str, Method]:
    """Those that restore faces; the ones that saved work knows come first."""
    found = {name: one for name, one in methods().items() if one.faces}
    return {name: found[name] for name in (*KNOWN, *found)}


class RestoreFacesWith(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRRestoreFaces",
            display_name="Restore Faces",
            category=CATEGORY,
            description=(
                "Find the faces of a picture, restore each with a method of this pack, and put it "
                "back. Needs no download."
            ),
            search_aliases=[
                "restore faces with",
                "face restoration",
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
                    options=[io.DynamicCombo.Option(name, _inputs(one)) for name, one in _methods().items()],
                    tooltip="What restores a face; the help of the upscale nodes says which is for what.",
                ),
                *scale_input(),
                io.Float.Input(
                    "coarse",
                    default=0.0,
                    min=0.0,
                    max=64.0,
                    step=0.1,
                    tooltip=(
                        "How many times fewer pixels than the method gives it a face truly has; 0: by the "
                        "detail that it shows."
                    ),
                    extra_dict={"advanced": True},
                ),
                detector_input(),
                io.Int.Input("seed", tooltip="Decides what a prior invents; face i has seed + i.", **SEED),
                *host.advanced([*paste_inputs(), *detect_inputs()]),
                io.Combo.Input(
                    "frame",
                    options=["auto", "tight", "ffhq"],
                    tooltip="How tightly the prior's own faces are cropped: chin to forehead, or as in FFHQ.",
                    extra_dict={"advanced": True},
                ),
                *more_inputs(),
                vary_input(),
                clean_input(True),
                *later_inputs("candidates", "pick", "enhance_outside"),
                *given_inputs(),
                reference_input(),
                Attributes.Input(
                    "classifiers",
                    optional=True,
                    tooltip="For srdg: from Load Attribute Classifier, for several attributes.",
                ),
                *region_inputs(),
            ],
            outputs=restored_outputs(),
        )

    @classmethod
    def execute(cls, image, coarse, seed, frame, method=None, classifiers=(), vary=True, **asked):
        wanted = FaceInputs(**asked)
        name, given = host.chosen(method, "method", _methods())
        with torch.inference_mode(False), torch.no_grad():
            said: list[str] = []
            restorer, room, networks = _restorer(_methods()[name], given, frame, coarse, classifiers, said)
            with managed_models.classifiers_ready(classifiers if name == "srdg" else (), room):
                return restore_and_paste(
                    image,
                    restorer,
                    networks,
                    room,
                    restorer.size,
                    restorer.frame,
                    wanted,
                    seeds_from(seed, len(image), vary),
                    said,
                )


def _restorer(method: Method, given: dict, frame: str, coarse: float, held: Sequence, said: list[str]):
    """A restorer by what the choice of a method asks for, the bytes that a call needs, and the networks that
    come and go with it. Raises ValueError.
    """
    size = given.pop("size", 0)
    given = {NAMES.get(name, name): value for name, value in given.items()}
    if not given.get("steps", 1):
        del given["steps"]  # 0 leaves them to the preset
    upscaler = prepared(method, given, held, every=method.name in KNOWN)
    restorer = restorer_of(
        upscaler,
        method.faces,
        size,
        "" if frame == "auto" else frame,
        coarse,
        host.stop_if_cancelled,
        said.append,
        on_plan=host.tell_plan,
    )
    scale = 1.0 if method.faces.blind else min(upscaler.scales, default=2.0)
    room = upscaler.plan((round(restorer.size / scale),) * 2, scale).bytes
    return restorer, room, networks_beside(upscaler, held)
