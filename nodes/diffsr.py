"""Diff-SR: Load Shipped Prior, Noise Level by Recoverable Field."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..methods.diffsr.method import choose_level, spaced_levels, start_of
from ..methods.diffsr.plot import field_plot
from ..methods.drawing import can_plot, in_words
from ..methods.priors.calibration import AIMS
from ..methods.priors.load import load_prior, shipped_priors
from . import host
from .guidance import CATEGORY
from .host import model as host_model
from .host.images import join, split
from .pixel_priors import clip_input, conditioning, loaded_outputs

LEVEL = {"default": 0.0, "min": 0.0, "max": 100.0, "step": 1.0}


class LoadShippedPrior(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRLoadShippedPrior",
            display_name="Load Shipped Prior",
            category=CATEGORY,
            description="A small diffusion prior that comes with PriorSR, as a MODEL: nothing to download.",
            search_aliases=["face prior", "load model", "diffusion"],
            inputs=[
                io.Combo.Input(
                    "prior",
                    options=shipped_priors(),
                    default="face64",
                    tooltip="face128: whole heads of 128 x 128 pixels. face64: tight faces of 64 x 64. "
                    "Both are grey: colour comes from the small picture.",
                ),
                clip_input(),
            ],
            outputs=loaded_outputs(),
        )

    @classmethod
    def execute(cls, prior, clip):
        if prior not in shipped_priors():
            raise ValueError(
                f"no prior {prior!r} comes along: choose {' or '.join(shipped_priors())}, or take Load Pixel "
                "Prior for files"
            )
        with host.loading():
            return io.NodeOutput(host_model.as_model(load_prior(prior), clip), conditioning())


class RecoverableField(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRRecoverableField",
            display_name="Noise Level by Recoverable Field",
            category=CATEGORY,
            description=(
                "How much noise an enlarged image needs so that a prior can restore it and still "
                "keep it (Diff-SR), as SIGMAS."
            ),
            search_aliases=["prf", "diff-sr", "denoise strength", "noise level", "sigmas"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip=(
                        "A prior of Load Shipped Prior or Load Pixel Prior whose file knows the "
                        "prior's errors."
                    ),
                ),
                io.Image.Input(
                    "image",
                    tooltip="The small image, before it is enlarged; a batch gets the level of its mean.",
                ),
                io.Float.Input(
                    "scale",
                    default=4.0,
                    min=1.0,
                    max=64.0,
                    step=0.05,
                    tooltip="How much it will be enlarged.",
                ),
                io.Int.Input(
                    "steps",
                    default=20,
                    min=1,
                    max=1000,
                    tooltip="Network calls from the level down to a clean picture.",
                ),
                io.Float.Input(
                    "level", tooltip="By hand, in percent of the schedule; 0: the field chooses.", **LEVEL
                ),
                io.Combo.Input(
                    "aim",
                    options=list(AIMS),
                    default=AIMS[0],
                    tooltip="fidelity invents less, detail is the field as published.",
                ),
            ],
            outputs=[
                io.Sigmas.Output("sigmas", display_name="SIGMAS"),
                io.Float.Output("level", display_name="level", tooltip="In percent of the schedule."),
                io.Image.Output(
                    "plot", display_name="plot", tooltip="Both losses, their limits and the level."
                ),
            ],
        )

    @classmethod
    def execute(cls, model, image, scale, steps, level, aim):
        prior, (pixels, _) = host_model.prior_of(model), split(image)
        field, table = choose_level(prior, pixels, scale, aim=aim), prior.noise_levels()
        start = start_of(table, level) if level else field.chosen
        sigmas = torch.tensor([lv.sigma / lv.alpha for lv in spaced_levels(table, start, steps)])
        plot = field_plot(field, f"x{scale:g}, aim: {aim}", start) if can_plot() else in_words()
        return io.NodeOutput(sigmas, 100 * (start + 1) / len(table), host.result(join(plot)))
