"""Diffusion Prior Interpolation: Load Corrector, Guide by DPI Conditions, DPI Masks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from comfy_api.latest import io
from torch import Tensor

from ..methods.dpi.corrector import load_corrector
from ..methods.dpi.masks import UniformDraws, adaptive_mask, chances, fixed_mask, sparse
from ..methods.dpi.method import PRESETS, DPISettings, grid_condition
from ..methods.dpi.presets import AUTO, choose_settings, shipped_correctors
from ..methods.imaging.canvas import to_prior_channels
from ..methods.metrics.compare import side_by_side
from ..samplers.noise import Noise
from . import host
from .guidance import CATEGORY, Guidance, more_guidance
from .host import managed as managed_models
from .host import model as host_model
from .host.images import join, own, split
from .upscale import CUSTOM, SEED

Corrector = io.Custom("PRIORSR_CORRECTOR")
STRENGTH = ("tau", "s", "omega")
SCALE = {"default": 4.0, "min": 2.0, "max": 64.0, "step": 0.05}


class LoadCorrector(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRLoadCorrector",
            display_name="Load Corrector",
            category=CATEGORY,
            description=(
                "A condition corrector, which Guide by DPI Conditions refines its conditions with. Those of "
                "the small face prior come along."
            ),
            search_aliases=["dpi", "crt", "condition corrector", "load model"],
            inputs=[
                host.file_input(
                    "corrector",
                    ("corrector",),
                    "dpi_x4 to dpi_x16 are for one scale, dpi_real is for damaged pictures of any; "
                    "or a file of models/priorsr.",
                    shipped_correctors(),
                )
            ],
            outputs=[Corrector.Output("corrector", display_name="corrector")],
        )

    @classmethod
    def execute(cls, corrector):
        name = host.weight_name(corrector, shipped_correctors())
        with host.loading():
            return io.NodeOutput(managed_models.as_corrector(load_corrector(name)))


class DPIConditions(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRGuideDPI",
            display_name="Guide by DPI Conditions",
            category=CATEGORY,
            description=(
                "Hold samples of any MODEL to a low-resolution image at the pixels of a sparse "
                "grid, in every step (DPI, Yang et al. 2025)."
            ),
            search_aliases=[
                "dpi",
                "diffusion prior interpolation",
                "conditions",
                "guidance",
                "super resolution",
            ],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip=(
                        "The MODEL that will sample: a pixel prior, or a latent one, which needs its "
                        "VAE below."
                    ),
                ),
                io.Image.Input(
                    "image",
                    tooltip=(
                        "The low-resolution image, or one for each sample of the batch; alpha is ignored."
                    ),
                ),
                io.Float.Input(
                    "scale", tooltip="How much larger than the image the result will be, 2 or more.", **SCALE
                ),
                io.DynamicCombo.Input(
                    "preset",
                    options=[
                        *(io.DynamicCombo.Option(name, []) for name in (AUTO, *PRESETS)),
                        io.DynamicCombo.Option(
                            CUSTOM, host.settings_inputs(DPISettings, STRENGTH, advanced=False)
                        ),
                    ],
                    tooltip=(
                        "How strong the conditions are: auto as the scale asks, the paper's for x4, x8, x16 "
                        "and real photographs, or by hand."
                    ),
                ),
                io.Int.Input("seed", tooltip="Of the masks alone; the noise has its own.", **SEED),
                *host.settings_inputs(DPISettings, ("k", "refine", "weighted")),
                Corrector.Input(
                    "corrector",
                    optional=True,
                    tooltip="From Load Corrector; without one the conditions stay as they are.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip=(
                        "Of a latent MODEL: its conditions are latents of the image. Pixel priors need none."
                    ),
                ),
                more_guidance(),
            ],
            outputs=[
                Guidance.Output("guidance", display_name="guidance", tooltip="For the Sampler of this pack.")
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        image,
        scale,
        seed,
        k,
        refine,
        weighted,
        preset=None,
        corrector=None,
        vae=None,
        guidance=(),
    ):
        name, own = host.chosen(preset, "preset", (AUTO, *PRESETS, CUSTOM))
        own |= {"k": k, "refine": refine, "weighted": weighted}
        settings = choose_settings(AUTO if name == CUSTOM else name, scale, **own)
        with torch.inference_mode(False), torch.no_grad():
            low = (
                _latent_condition(model, vae, image, scale, k)
                if vae
                else _pixel_condition(model, image, scale, k)
            )
            if corrector is not None:
                corrector.corrector.check(low.shape[1], k, scale)
            return io.NodeOutput(
                (*guidance, managed_models.ManagedConditions(low, corrector, settings, seed))
            )


def _pixel_condition(model, image: Tensor, scale: float, k: int) -> Tensor:
    prior, pixels = (
        host_model.prior_of(model, ", or connect the VAE of a latent MODEL"),
        split(own(image))[0],
    )
    seen, _ = to_prior_channels(prior.channels, pixels, tuple(pixels.shape[-2:]))
    return grid_condition(seen, scale, k, prior.multiple)[0]


def _latent_condition(model, vae, image: Tensor, scale: float, k: int) -> Tensor:
    """Latents of the image enlarged to the grid, which is what the latents of the result are at every k-th
    place.
    """
    base, _ = grid_condition(split(own(image))[0], scale, k, k)
    return host_model.latents_of(model, vae, join(base.expand(-1, 3, -1, -1) / 2 + 0.5)).float().clone()


class DPIMasks(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRDPIMasks",
            display_name="DPI Masks",
            category=CATEGORY,
            description=(
                "Where DPI's conditions lie, 1 where the result is held: the fixed grid, the chance of "
                "each of its pixels, one draw. A noise mask is the inverse."
            ),
            search_aliases=["dpi", "mask", "edges", "sparse", "grid"],
            inputs=[
                io.Image.Input(
                    "image", tooltip="The low-resolution images; each gets the same seed. Alpha is ignored."
                ),
                io.Float.Input("scale", tooltip="How much they will be enlarged, 2 or more.", **SCALE),
                *host.settings_inputs(DPISettings, ("s", "k"), advanced=False),
                io.Int.Input("seed", tooltip="Of the draw.", **SEED),
            ],
            outputs=[
                io.Mask.Output("fixed", display_name="fixed", tooltip="Every k-th pixel of the result."),
                io.Mask.Output(
                    "probability",
                    display_name="probability",
                    tooltip="The chance of each grid pixel, over the whole of its cell.",
                ),
                io.Mask.Output(
                    "adaptive", display_name="adaptive", tooltip="The grid pixels that were drawn."
                ),
                io.Image.Output(
                    "preview",
                    display_name="preview",
                    tooltip="The condition and the three masks side by side.",
                ),
            ],
        )

    @classmethod
    def execute(cls, image, scale, s, k, seed):
        DPISettings(s=s, k=k)  # raises for what cannot work
        base, sides = grid_condition(split(image)[0], scale, k, k)
        p = chances(base, s)
        drawn = adaptive_mask(base, s, UniformDraws(Noise([seed] * len(base)).child("dpi"))).float()
        fixed = fixed_mask(sides, k).float().expand(len(base), -1, -1, -1)
        wide, kept = F.interpolate(p, scale_factor=k, mode="nearest"), sparse(drawn, k)
        shown = [[(c + 1) / 2, *masks] for c, *masks in zip(base, fixed, wide, kept, strict=True)]
        preview = torch.stack([side_by_side([x.expand(3, -1, -1) for x in row]) for row in shown])
        return io.NodeOutput(
            *(host.result(mask[:, 0]) for mask in (fixed, wide, kept)), host.result(join(preview))
        )
