"""Guided Upsampler."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..methods.imaging.canvas import TileSettings
from ..methods.imaging.resize import resize
from ..methods.memory import gradient_bytes
from ..methods.priors.load import PriorSettings, load_classifier, load_prior
from ..methods.visionrefine.guided import GuidedSettings, check_guided, guided_upscale, steps_of
from . import host
from .host.images import join, split
from .posterior import SEED

NONE = "none"


class GuidedUpsampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRUpscaleGuided",
            display_name="Guided Upsampler",
            category=f"{host.CATEGORY}/upscale",
            description=(
                "Enlarge images of a known class with a diffusion upsampler and a classifier that "
                "pushes it (VisionRefine, Algorithms 1-2)."
            ),
            search_aliases=[
                "super resolution",
                "diffusion",
                "guided diffusion",
                "classifier guidance",
                "upscale",
            ],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip=(
                        "The low-resolution images; each is enlarged by itself, with the same seed and "
                        "label. Alpha is kept."
                    ),
                ),
                io.Combo.Input(
                    "prior",
                    options=host.weight_choices(),
                    tooltip="An ADM upsampler such as 64_256_upsampler.pt, from models/priorsr.",
                ),
                io.Combo.Input(
                    "classifier",
                    options=[NONE, *host.weight_files()],
                    default=NONE,
                    tooltip=(
                        "A noise-aware classifier such as 256x256_classifier.pt; none lets the "
                        "upsampler run alone."
                    ),
                ),
                io.Int.Input(
                    "label",
                    default=-1,
                    min=-1,
                    max=100_000,
                    tooltip="What the images show, 0 to 999 of ImageNet. It has to be given.",
                ),
                io.Float.Input(
                    "scale",
                    default=4.0,
                    min=1.0,
                    max=16.0,
                    step=0.5,
                    tooltip="Enlargement; other than 4 follows by a bicubic resize.",
                ),
                io.Int.Input(
                    "seed",
                    tooltip="Decides what is invented; the same picture and seed give the same result.",
                    **SEED,
                ),
                *host.settings_inputs(GuidedSettings),
                *host.settings_inputs(PriorSettings),
                *host.settings_inputs(TileSettings),
            ],
            outputs=[io.Image.Output("image", display_name="image")],
        )

    @classmethod
    def execute(
        cls,
        image,
        prior,
        classifier,
        label,
        scale,
        seed,
        sampler,
        respacing,
        eta,
        classifier_scale,
        schedule,
        train_steps,
        target,
        tile,
        overlap,
        tile_batch,
    ):
        settings = GuidedSettings(sampler, respacing, eta, classifier_scale)
        canvas = TileSettings(tile, overlap, tile_batch)
        with torch.inference_mode(False), torch.no_grad():
            pixels, alpha = split(image.clone())
            upsampler = load_prior(str(host.weight_path(prior)), PriorSettings(schedule, train_steps, target))
            judge = None if classifier == NONE else load_classifier(str(host.weight_path(classifier)))
            check_guided(upsampler, judge, label)
            steps, networks = (
                steps_of(upsampler, settings),
                [n for n in (upsampler.network, judge) if n is not None],
            )
            with host.on_device(*networks, activations=_activations(canvas, upsampler, judge)) as device:
                low, progress = pixels.to(device), host.sampling_progress(steps)
                larger = guided_upscale(
                    upsampler, judge, low, label, scale, settings, canvas, [seed] * len(low), progress
                )
            if alpha is not None:
                alpha = resize(alpha, tuple(larger.shape[-2:])).to(larger)
            return io.NodeOutput(host.result(join(larger, alpha)))


def _activations(canvas: TileSettings, upsampler, judge) -> int:
    """The bytes of one call: the feature maps that the upsampler hands across, and all of the classifier's,
    for its gradient.
    """
    tiles = canvas.tiles(upsampler)
    maps = tiles.batch * tiles.size**2 * 4 * 16 * upsampler.network.config.model_channels
    return maps + (
        0
        if judge is None
        else gradient_bytes(judge, (tiles.batch, 3, judge.config.image_size, judge.config.image_size))
    )
