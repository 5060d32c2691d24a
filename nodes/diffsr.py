"""Diff-SR: Load Shipped Prior, Noise Level by Recoverable Field, Diff-SR Super-Resolution."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..methods.diffsr.method import DiffSRSettings, choose_level, diffsr_upscale, spaced_levels, start_of
from ..methods.diffsr.plot import field_plot
from ..methods.imaging.canvas import TileSettings
from ..methods.imaging.resize import resize, scale_for
from ..methods.memory import gradient_bytes
from ..methods.priors.calibration import AIMS
from ..methods.priors.load import PriorSettings, load_prior, shipped_priors
from . import host
from .guidance import CATEGORY
from .host import managed as managed_models
from .host import model as host_model
from .host.images import join, split
from .posterior import SEED, tile_shape
from .sampling import conditioning

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
                    tooltip="face64: grey faces of 64 x 64 pixels, upright and tightly cropped.",
                ),
                io.Boolean.Input(
                    "clip",
                    default=True,
                    tooltip="Keep predicted pictures within their range, as the published samplers do.",
                ),
            ],
            outputs=[
                io.Model.Output("model", display_name="MODEL"),
                io.Conditioning.Output(
                    "conditioning",
                    display_name="CONDITIONING",
                    tooltip="Empty: what samplers ask for beside the model.",
                ),
            ],
        )

    @classmethod
    def execute(cls, prior, clip):
        with torch.inference_mode(False):
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
        plot = field_plot(field, f"x{scale:g}, aim: {aim}", start)
        return io.NodeOutput(sigmas, 100 * (start + 1) / len(table), host.result(join(plot)))


class DiffSRUpscale(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRUpscaleDiffSR",
            display_name="Diff-SR Super-Resolution",
            category=f"{host.CATEGORY}/upscale",
            description=(
                "Enlarge images by any factor with one diffusion prior: noise hides what was lost, "
                "the prior restores it (Diff-SR)."
            ),
            search_aliases=[
                "super resolution",
                "diffusion",
                "diff-sr",
                "sdedit",
                "face restoration",
                "upscale",
            ],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip=(
                        "The low-resolution images; each is restored by itself, with the same seed. "
                        "Alpha is kept."
                    ),
                ),
                io.Combo.Input(
                    "prior",
                    options=[*shipped_priors(), *host.weight_files()],
                    tooltip=(
                        "face64 comes along, for upright and tightly cropped faces; or an ADM or EDM "
                        "file of models/priorsr."
                    ),
                ),
                io.Float.Input(
                    "scale",
                    default=4.0,
                    min=1.0,
                    max=64.0,
                    step=0.05,
                    tooltip="Enlargement, any real number.",
                ),
                host.longest_input(),
                io.Int.Input(
                    "seed",
                    tooltip="Decides what the prior invents; the same picture and seed give the same result.",
                    **SEED,
                ),
                *host.settings_inputs(DiffSRSettings),
                *host.settings_inputs(PriorSettings),
                *host.settings_inputs(TileSettings),
            ],
            outputs=[
                io.Image.Output("image", display_name="image"),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip="The noise level of each image, and what to beware of.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        image,
        prior,
        scale,
        longest,
        seed,
        level,
        steps,
        sampler,
        eta,
        aim,
        consistency,
        schedule,
        train_steps,
        target,
        tile,
        overlap,
        tile_batch,
    ):
        settings = DiffSRSettings(level, steps, sampler, eta, aim, consistency)
        canvas, kind = TileSettings(tile, overlap, tile_batch), PriorSettings(schedule, train_steps, target)
        said: list[str] = []
        with torch.inference_mode(False), torch.no_grad():
            pixels, alpha = split(image.clone())
            scale = scale_for(longest, tuple(pixels.shape[-2:])) if longest else scale
            loaded = load_prior(prior if prior in shipped_priors() else str(host.weight_path(prior)), kind)
            shape = tile_shape(canvas, loaded)
            with host.on_device(
                loaded.network, activations=gradient_bytes(loaded.network, shape) // managed_models.BACKWARD
            ) as device:
                progress = host.sampling_progress(settings.steps)
                tell = lambda i, text: said.append(f"image {i + 1}: {text}")  # noqa: E731
                larger = diffsr_upscale(
                    loaded, pixels.to(device), scale, settings, canvas, [seed] * len(pixels), progress, tell
                )
            if alpha is not None:
                alpha = resize(alpha, tuple(larger.shape[-2:])).to(larger)
            return io.NodeOutput(
                host.result(join(larger, alpha)), "\n".join(said) or f"noise level {level:g} %, as given"
            )
