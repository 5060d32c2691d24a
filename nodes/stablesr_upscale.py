"""StableSR Upscale: the whole method in one node, from the same parts as the graphs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import latent_preview
import torch
from comfy_api.latest import io
from torch import Tensor

from ..methods.imaging.alpha import upscale_with_alpha
from ..methods.imaging.region import RegionSettings, within
from ..methods.method import seeds_from
from ..methods.stablesr.autoencoder import SCALE
from ..methods.stablesr.levels import in_place_of, start_mode
from ..methods.stablesr.method import LATENT, StableSRSettings, on_canvas, restore_at_scale, working_size
from ..methods.stablesr.prior import WEIGHTS, Reference
from ..methods.stablesr.upscaler import METHOD
from ..samplers.noise import Noise
from ..samplers.run import Hook
from ..samplers.transition import DDIM, DDPM
from . import host
from .cfw import TILES, Fusion, autoencoder, decode, encode
from .host import model as host_model
from .host import stablesr as host_stablesr
from .host.images import check_count, join, split
from .region import region_inputs, region_of
from .stablesr import StableSRLayers
from .upscale import SEED, vary_input

MOST = 16  # tiles in a call; more are no faster


class StableSRUpscale(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        manual = host.settings_inputs(StableSRSettings, ("tile", "overlap", "tile_batch"), advanced=False)
        return host.schema(
            node_id="PriorSRUpscaleStableSR",
            display_name="StableSR Upscale",
            category=f"{host.CATEGORY}/upscale",
            description=(
                "Enlarge and restore images of any size with Stable Diffusion 2.1 and StableSR's "
                "layers (Wang et al. 2024)."
            ),
            search_aliases=["super resolution", "diffusion", "stablesr", "restoration", "upscale", "tiled"],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip=(
                        "The low-resolution images; each is restored by itself, with the same seed. "
                        "Alpha is kept."
                    ),
                ),
                io.Model.Input(
                    "model",
                    tooltip=(
                        "Stable Diffusion 2.1 base, SD-Turbo, or the 768-pixel model with its own "
                        "weights; LoRAs work."
                    ),
                ),
                io.Conditioning.Input("positive", tooltip="StableSR was trained with an empty prompt."),
                io.Conditioning.Input(
                    "negative", tooltip="Works where guidance is above 1: such as blurry, low quality."
                ),
                io.Vae.Input("vae", tooltip="Stable Diffusion 2.1's."),
                StableSRLayers.Input("stablesr", tooltip="From Load StableSR."),
                io.Float.Input(
                    "scale",
                    default=4.0,
                    min=1.0,
                    max=64.0,
                    step=0.05,
                    tooltip="Enlargement of both sides; 1 restores only.",
                ),
                host.longest_input(),
                io.Int.Input(
                    "seed",
                    tooltip="Decides what the model invents; the same picture and seed give the same result.",
                    **SEED,
                ),
                *host.settings_inputs(
                    StableSRSettings, ("steps", "guidance", "fidelity", "color"), advanced=False
                ),
                io.DynamicCombo.Input(
                    "tiles",
                    options=[io.DynamicCombo.Option("auto", []), io.DynamicCombo.Option("manual", manual)],
                    tooltip=(
                        "Larger pictures are restored in overlapping pieces. auto: as published, as "
                        "many at once as memory allows."
                    ),
                ),
                *host.settings_inputs(StableSRSettings, ("sampler", "eta", "start", "weights", *TILES)),
                vary_input(),
                Fusion.Input(
                    "cfw",
                    optional=True,
                    tooltip="From Load CFW, for fidelity above 0; without it the decoder is a plain one.",
                ),
                *region_inputs(),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip=(
                        "The images as another node restored them, such as CodeFormer: the result is held to "
                        "them until the last ten steps, as released for the face weights."
                    ),
                ),
            ],
            outputs=[
                io.Image.Output("image", display_name="image"),
                io.String.Output(
                    "report", display_name="report", tooltip="What was chosen, and what to beware of."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        image,
        model,
        positive,
        negative,
        vae,
        stablesr,
        scale,
        longest,
        seed,
        steps,
        guidance,
        fidelity,
        color,
        sampler,
        eta,
        start,
        weights,
        vae_tile,
        vae_overlap,
        tiles=None,
        cfw=None,
        vary=True,
        region=None,
        feather=RegionSettings.feather,
        reference=None,
    ):
        said, limits = [], region_of(region, feather)
        if limits:
            said += filter(None, [limits.said()])
        if cfw is None and fidelity:
            said.append(f"no CFW is connected, so fidelity {fidelity:g} has no effect")
        chosen = StableSRSettings(
            steps=steps,
            guidance=guidance,
            fidelity=fidelity if cfw else 0.0,
            color=color,
            sampler=sampler,
            eta=eta,
            start=start,
            weights=weights,
            vae_tile=vae_tile,
            vae_overlap=vae_overlap,
            **_pieces(tiles, model),
        )
        pixels, alpha = split(image)
        references = [None] * len(pixels) if reference is None else _one_each(reference, len(pixels))
        if longest:
            scale = METHOD.scales.for_longest(longest, tuple(pixels.shape[-2:]), METHOD.name)
        autoencoder(vae, cfw, vae_tile, vae_overlap)
        host_stablesr.patched(model, stablesr)  # raises before anything is computed
        said.append(f"{chosen.sampler}, {steps} steps, pieces of {chosen.tile}, {chosen.tile_batch} at once")
        if warning := host_stablesr.unlike_target(model, stablesr.name):
            host.log.warning("PriorSR: %s", warning)
            said.append(warning)
        multiple = LATENT * stablesr.layers.encoder.config.reduction  # the UNet's too
        run = _Run(model, (positive, negative), vae, stablesr, cfw, chosen, seed)

        def held(low: Tensor, picture: Tensor | None) -> Callable[[Tensor], Tensor] | None:
            size = working_size(tuple(low.shape[-2:]), scale, chosen.tile)
            return None if picture is None else partial(on_canvas, picture[None], size)

        def enlarge(low: Tensor) -> Tensor:
            return torch.cat(
                [
                    restore_at_scale(x[None], scale, replace(run, seed=s, held=held(x, r)), chosen, multiple)
                    for x, s, r in zip(low, seeds_from(seed, len(low), vary), references, strict=True)
                ]
            )

        larger, alpha = upscale_with_alpha(pixels, alpha, within(limits, enlarge))
        report = "\n".join(said)
        return host.told(host.result(join(larger.expand(-1, 3, -1, -1), alpha)), report, text=report)


def _one_each(reference: Tensor, count: int) -> Tensor:
    """Pictures B 3 H W, one for each of so many."""
    pictures, _ = split(reference, "reference")
    check_count(len(pictures), count, "references", "images")
    return pictures.expand(count, 3, -1, -1)


def _pieces(choice: dict | None, model) -> dict[str, int]:
    kind, given = host.chosen(choice, "tiles", ("auto", "manual"))
    if kind == "manual":
        return given
    side = (768 if host_stablesr.predicts_v(model) else 512) // LATENT  # of Stable Diffusion 2.1's two models
    one = model.model.memory_required([2, 4, side, side])  # with and without guidance's second prompt
    left = host_stablesr.spare_memory(model)
    return {
        "tile": side * LATENT,
        "overlap": side * LATENT // 2,
        "tile_batch": min(MOST, max(1, math.floor(left / 2 / one))),
    }


@dataclass(frozen=True)
class _Run:
    """One enlarged picture 1 3 H W in -1..1 to the restored one, as `restore` of the library does with its
    own networks. held: from the shape of that picture to the one that the result is held to.
    """

    model: object
    prompts: tuple
    vae: object
    layers: object
    cfw: object
    settings: StableSRSettings
    seed: int
    held: Callable[[Tensor], Tensor] | None = None

    def __call__(self, canvas: Tensor) -> Tensor:
        s, noise = (
            self.settings,
            Noise([self.seed]),
        )  # drawn for the latent, the start and the steps, in this order
        lr = encode(self.vae, canvas, s.vae_tile, s.vae_overlap, noise)
        hooks = []
        if self.held:
            hooks.append(Reference(encode(self.vae, self.held(canvas), s.vae_tile, s.vae_overlap)))
        z = self._sampled(lr / SCALE, noise, hooks)
        return decode(self.vae, self.cfw, z * SCALE, canvas, s.fidelity, s.vae_tile, s.vae_overlap)

    def _sampled(self, latent: Tensor, noise: Noise, hooks: Sequence[Hook]) -> Tensor:
        """In the host's units, which the MODEL turns into its own, as hooks see them."""
        s, tile = self.settings, self.settings.tile // LATENT
        model = host_stablesr.patched(self.model, self.layers, latent)
        cut = max(latent.shape[-2:]) > tile
        if cut:
            model = host_model.tiled(model, tile, s.overlap // LATENT, s.tile_batch, WEIGHTS[s.weights])
        transition = DDPM("small") if s.sampler == "ddpm" else DDIM(s.eta)
        sampler = host_model.as_sampler(
            transition, hooks, noise, in_place_of if s.sampler == "ddim-released" else None
        )
        sigmas = host_model.respaced_sigmas(model, str(s.steps), -1)
        begin = host_stablesr.StartNoise(model, float(sigmas[0]), start_mode(s.start, cut), self.seed, noise)
        guider = host_stablesr.guided(model, self.prompts, s.guidance)
        state, preview = (
            begin.generate_noise({"samples": latent}),
            latent_preview.prepare_callback(model, len(sigmas) - 1),
        )
        return guider.sample(
            state, latent, sampler, sigmas, callback=preview, disable_pbar=True, seed=self.seed
        ).to(latent)
