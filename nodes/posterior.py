"""DPS Super-Resolution and EDM-DPS Super-Resolution."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

from ..methods.dps.edm_dps import EDMDPSSettings
from ..methods.dps.posterior import posterior_upscale, steps_of
from ..methods.dps.sampling import DPSSettings
from ..methods.imaging.canvas import TileSettings
from ..methods.imaging.resize import resize
from ..methods.memory import gradient_bytes
from ..methods.priors.load import PriorSettings, load_prior
from . import host
from .host.images import join, split

SEED = {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF, "control_after_generate": True}


def _inputs(own: type, prior: type | None) -> list[io.Input]:
    return [
        io.Image.Input(
            "image",
            tooltip=(
                "The low-resolution images; each gets the same seed and is restored by itself. Alpha is kept."
            ),
        ),
        io.Combo.Input(
            "prior",
            options=host.weight_choices(),
            tooltip="The weight file of the diffusion prior, from models/priorsr.",
        ),
        io.Float.Input(
            "scale",
            default=4.0,
            min=1.0,
            max=16.0,
            step=0.5,
            tooltip="Enlargement; the result, reduced again, is the input.",
        ),
        io.Int.Input(
            "seed",
            tooltip="Decides what the prior invents; the same picture and seed give the same result.",
            **SEED,
        ),
        *host.settings_inputs(own),
        *(host.settings_inputs(prior) if prior else []),
        *host.settings_inputs(TileSettings),
    ]


def _restore(
    image: Tensor, name: str, scale: float, seed: int, settings, canvas: TileSettings, kind: PriorSettings
) -> Tensor:
    """The restored images; everything a gradient touches is made outside the host's inference mode."""
    with torch.inference_mode(False), torch.no_grad():
        pixels, alpha = split(image.clone())
        prior = load_prior(str(host.weight_path(name)), kind)
        steps = steps_of(prior, settings)
        with host.on_device(
            prior.network, activations=gradient_bytes(prior.network, tile_shape(canvas, prior))
        ) as device:
            seeds = [seed] * len(pixels)
            restored = posterior_upscale(
                prior, pixels.to(device), scale, settings, canvas, seeds, host.sampling_progress(steps)
            )
        if alpha is not None:
            alpha = resize(alpha, tuple(restored.shape[-2:])).to(restored)
        return host.result(join(restored, alpha))


def tile_shape(canvas: TileSettings, prior) -> tuple[int, int, int, int]:
    """What one network call sees."""
    tiles = canvas.tiles(prior)
    return tiles.batch, prior.channels, tiles.size, tiles.size


class DPSUpscale(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRUpscaleDPS",
            display_name="DPS Super-Resolution",
            category=f"{host.CATEGORY}/upscale",
            description=(
                "Enlarge images with an ADM diffusion prior, guided so that the result agrees with "
                "the input (Chung et al. 2023)."
            ),
            search_aliases=["super resolution", "diffusion", "posterior sampling", "dps", "upscale"],
            inputs=_inputs(DPSSettings, PriorSettings),
            outputs=[io.Image.Output("image", display_name="image")],
        )

    @classmethod
    def execute(
        cls,
        image,
        prior,
        scale,
        seed,
        sampler,
        respacing,
        eta,
        guidance,
        squared,
        joint,
        schedule,
        train_steps,
        target,
        tile,
        overlap,
        tile_batch,
    ):
        settings = DPSSettings(sampler, respacing, eta, guidance, squared, joint)
        canvas, kind = TileSettings(tile, overlap, tile_batch), PriorSettings(schedule, train_steps, target)
        return io.NodeOutput(_restore(image, prior, scale, seed, settings, canvas, kind))


class EDMDPSUpscale(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRUpscaleEDMDPS",
            display_name="EDM-DPS Super-Resolution",
            category=f"{host.CATEGORY}/upscale",
            description=(
                "Enlarge images with an EDM diffusion prior and its Heun sampler, guided by the "
                "input (VisionRefine, Algorithm 3)."
            ),
            search_aliases=[
                "super resolution",
                "diffusion",
                "posterior sampling",
                "edm",
                "karras",
                "upscale",
            ],
            inputs=_inputs(EDMDPSSettings, None),
            outputs=[io.Image.Output("image", display_name="image")],
        )

    @classmethod
    def execute(
        cls,
        image,
        prior,
        scale,
        seed,
        steps,
        zeta,
        weight,
        joint,
        sigma_min,
        sigma_max,
        rho,
        churn,
        churn_min,
        churn_max,
        churn_noise,
        tile,
        overlap,
        tile_batch,
    ):
        settings = EDMDPSSettings(
            steps, zeta, weight, joint, sigma_min, sigma_max, rho, churn, churn_min, churn_max, churn_noise
        )
        return io.NodeOutput(
            _restore(
                image,
                prior,
                scale,
                seed,
                settings,
                TileSettings(tile, overlap, tile_batch),
                PriorSettings(),
            )
        )
