"""Restore Faces With."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..methods.diffsr.method import DiffSRSettings
from ..methods.dpi.choice import AUTO, NONE, shipped_correctors
from ..methods.dpi.method import PRESETS
from ..methods.faces.restore import RestoreSettings
from ..methods.faces.restorers import SIDE, EnlargingRestorer, by_diffsr, by_dpi, by_srcnn, frame_of
from ..methods.priors.load import load_prior, shipped_priors
from . import host, host_model
from .face_inputs import CATEGORY, detect_inputs, detect_settings, detector_input, given_inputs, parser_input, restored
from .memory import gradient_bytes
from .posterior import SEED

PASTE = ("mask", "strength")
MORE = ("rule", "robust", "blend", "keep_grey", "batch")
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
        io.Combo.Input("corrector", options=[AUTO, NONE, *shipped_correctors(), *host.weight_files()], tooltip="What refines the conditions."),
        io.Combo.Input("preset", options=[AUTO, *PRESETS], tooltip="How strong the conditions are; auto: as the scale of each face asks."),
        io.Int.Input("dpi_steps", default=0, min=0, max=1000, tooltip="Network calls for each face; 0: as the preset says."),
    ]
    size = io.Int.Input("size", default=SIDE, min=32, max=4096, tooltip="Pixels across of an aligned face, about half of which are the face itself.")
    return [io.DynamicCombo.Option(name, inputs) for name, inputs in (("diffsr", diffsr), ("dpi", dpi), ("srcnn", [size]))]


class RestoreFacesWith(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRRestoreFaces",
            display_name="Restore Faces With",
            category=CATEGORY,
            description="Find the faces of a picture, restore each with a method of this pack, and put it back. Needs no download.",
            search_aliases=["face restoration", "restore face", "diff-sr", "dpi", "srcnn", "face enhance"],
            inputs=[
                io.Image.Input("image", tooltip="Images of any size, in colour or grey, with any number of faces; alpha is kept."),
                io.DynamicCombo.Input("method", options=_methods(), tooltip="A diffusion prior by Diff-SR or DPI, or SRCNN, which invents nothing."),
                *host.settings_inputs(RestoreSettings, ("scale",), advanced=False),
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
                *host.settings_inputs(RestoreSettings, PASTE, advanced=False),
                parser_input(),
                *detect_inputs(),
                io.Combo.Input(
                    "frame",
                    options=["auto", "tight", "ffhq"],
                    tooltip="How tightly the prior's own faces are cropped: chin to forehead, or as in FFHQ.",
                    extra_dict={"advanced": True},
                ),
                *host.settings_inputs(RestoreSettings, MORE),
                *given_inputs(),
            ],
            outputs=[
                io.Image.Output("image", display_name="image"),
                io.String.Output("report", display_name="report", tooltip="What became of every face, how far its identity moved."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image,
        scale,
        coarse,
        detector,
        seed,
        mask,
        strength,
        parser,
        which,
        confidence,
        smallest,
        order,
        limit,
        turned,
        frame,
        rule,
        robust,
        blend,
        keep_grey,
        batch,
        method=None,
        faces=None,
        background=None,
    ):
        said: list[str] = []
        with torch.inference_mode(False), torch.no_grad():
            restorer, room = _restorer(dict(method or {}), frame, coarse, batch, said)
            settings = RestoreSettings(mask, rule, strength, restorer.size, restorer.frame, scale, robust, blend, keep_grey, batch)
            which = detect_settings(which, confidence, smallest, order, limit, turned)
            return restored(
                image, restorer, restorer.networks, room, settings, which, seed, detector, parser, faces, background, host.progress(), said
            )


def _restorer(chosen: dict, frame: str, coarse: float, batch: int, said: list[str]) -> tuple[EnlargingRestorer, int]:
    """The restorer, and the bytes that a call of it needs. Raises ValueError."""
    name = chosen.pop("method", None)
    if name == "srcnn":
        restorer = by_srcnn(chosen["size"], coarse)
        return restorer, 4 * SRCNN_MAPS * restorer.size**2
    if name not in ("diffsr", "dpi"):
        raise ValueError(f"there is no method {name!r} for faces: choose diffsr, dpi or srcnn")
    named = chosen.pop("prior")
    prior = load_prior(named if named in shipped_priors() else str(host.weight_path(named)))
    frame = frame_of(named) if frame == "auto" else frame
    shape = batch, prior.channels, prior.size, prior.size
    room = gradient_bytes(prior.network, shape) // host_model.BACKWARD
    if name == "diffsr":
        return by_diffsr(prior, frame, DiffSRSettings(**chosen), coarse, host.cancellable(), said.append), room
    corrector = chosen["corrector"]
    path = corrector if corrector in (AUTO, NONE, *shipped_correctors()) else str(host.weight_path(corrector))
    return by_dpi(prior, frame, chosen["preset"], chosen["dpi_steps"], path, coarse, host.cancellable(), said.append), 2 * room
