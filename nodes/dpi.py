"""Diffusion Prior Interpolation: DPI Face Super-Resolution, Load Corrector, DPI Conditions, DPI Masks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from comfy_api.latest import io
from torch import Tensor, nn

from ..methods.dpi.corrector import load_corrector
from ..methods.dpi.masks import UniformDraws, adaptive_mask, chances, fixed_mask, sparse
from ..methods.dpi.method import PRESETS, DPISettings, dpi_upscale, grid_condition, levels_of, tiles_of
from ..methods.dpi.presets import AUTO, NONE, REAL, choose_corrector, choose_settings, shipped_correctors
from ..methods.imaging.canvas import TileSettings, to_prior_channels
from ..methods.imaging.resize import resize, scale_for
from ..methods.memory import gradient_bytes
from ..methods.metrics.compare import side_by_side
from ..methods.priors.load import PriorSettings, load_prior, shipped_priors
from ..methods.priors.typicality import ood_warnings, size_warning
from ..samplers.noise import Noise
from ..samplers.tiled import Tiled
from . import host
from .guidance import CATEGORY, Guidance, more_guidance
from .host import managed as managed_models
from .host import model as host_model
from .host.images import join, split
from .posterior import SEED

Corrector = io.Custom("PRIORSR_CORRECTOR")
CUSTOM = "custom"
STRENGTH = ("tau", "s", "omega")
SCALE = {"default": 4.0, "min": 2.0, "max": 64.0, "step": 0.05}


def _preset(*custom: str) -> io.Input:
    own = io.DynamicCombo.Option(CUSTOM, host.settings_inputs(DPISettings, custom, advanced=False))
    return io.DynamicCombo.Input(
        "preset",
        options=[*(io.DynamicCombo.Option(name, []) for name in (AUTO, *PRESETS)), own],
        tooltip=(
            "How strong the conditions are: auto as the scale asks, the paper's for x4, x8, x16 and "
            "real photographs, or by hand."
        ),
    )


def _settings(choice: dict | None, scale: float, steps: int = 0, **own) -> DPISettings:
    given = dict(choice or {})
    name = given.pop("preset", None)
    return choose_settings(AUTO if name == CUSTOM else name, scale, steps, **own, **given)


def _corrector_file(name: str) -> str:
    return name if name in (AUTO, NONE, *shipped_correctors()) else str(host.weight_path(name))


class DPIUpscale(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRUpscaleDPI",
            display_name="DPI Face Super-Resolution",
            category=f"{host.CATEGORY}/upscale",
            description=(
                "Enlarge faces with a diffusion prior, held by conditions on a sparse grid that a "
                "corrector refines (DPI, Yang et al. 2025)."
            ),
            search_aliases=[
                "super resolution",
                "diffusion",
                "dpi",
                "face restoration",
                "face hallucination",
                "upscale",
            ],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip=(
                        "The low-resolution faces; each is restored by itself, with the same seed. "
                        "Alpha is kept."
                    ),
                ),
                io.Float.Input(
                    "scale", tooltip="Enlargement, 2 or more. Correctors are trained for one.", **SCALE
                ),
                host.longest_input(),
                io.Combo.Input(
                    "prior",
                    options=[*shipped_priors(), *host.weight_files()],
                    tooltip=(
                        "face64 comes along, for upright and tightly cropped faces of 64 pixels; or an "
                        "ADM or EDM file of models/priorsr."
                    ),
                ),
                io.Combo.Input(
                    "corrector",
                    options=[AUTO, NONE, *shipped_correctors(), *host.weight_files()],
                    tooltip=(
                        "What refines the conditions. auto: the shipped one of the scale, if there is "
                        "one; none: nothing."
                    ),
                ),
                _preset(*STRENGTH, "sampler", "eta"),
                io.Int.Input(
                    "seed",
                    tooltip="Decides what the prior invents; the same picture and seed give the same result.",
                    **SEED,
                ),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Network calls; 0: 20 for dpi20, 1000 for x4 to real, else 100.",
                ),
                *host.settings_inputs(DPISettings, ("k", "refine", "weighted", "convention")),
                *host.settings_inputs(PriorSettings),
                *host.settings_inputs(TileSettings),
            ],
            outputs=[
                io.Image.Output("image", display_name="image"),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip="Corrector and settings that were chosen, and what to beware of.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        image,
        scale,
        longest,
        prior,
        corrector,
        seed,
        steps,
        k,
        refine,
        weighted,
        convention,
        schedule,
        train_steps,
        target,
        tile,
        overlap,
        tile_batch,
        preset=None,
    ):
        scale = scale_for(longest, tuple(image.shape[1:3])) if longest else scale
        settings = _settings(
            preset, scale, steps, k=k, refine=refine, weighted=weighted, convention=convention
        )
        canvas, kind = TileSettings(tile, overlap, tile_batch), PriorSettings(schedule, train_steps, target)
        said: list[str] = []
        with torch.inference_mode(False), torch.no_grad():
            pixels, alpha = split(image.clone())
            loaded = load_prior(prior if prior in shipped_priors() else str(host.weight_path(prior)), kind)
            correct = choose_corrector(
                _corrector_file(corrector), loaded.channels, scale, k, preset["preset"] == REAL, said.append
            )
            taken = len(levels_of(loaded, settings)) - 1
            said.append(
                f"tau {settings.tau:g}, s {settings.s:g}, omega {settings.omega:g}, {settings.sampler}, "
                f"{taken} steps"
            )
            if warning := size_warning(loaded, tuple(pixels.shape[-2:]), scale):
                host.log.warning("PriorSR: %s", warning)
                said.append(warning)
            if correct is not None:
                correct.check(loaded.channels, k, scale)
            networks, room = _needs(loaded, correct, tiles_of(loaded, correct, k, canvas))
            with host.on_device(*networks, activations=room) as device:
                said += [
                    f"image {i + 1}: {text}"
                    for i, text in enumerate(ood_warnings(loaded, pixels.to(device), scale))
                    if text
                ]
                seeds, progress = [seed] * len(pixels), host.sampling_progress(taken)
                larger = dpi_upscale(
                    loaded, correct, pixels.to(device), scale, settings, canvas, seeds, progress
                )
            if alpha is not None:
                alpha = resize(alpha, tuple(larger.shape[-2:])).to(larger)
            return io.NodeOutput(host.result(join(larger, alpha)), "\n".join(said))


def _needs(prior, corrector, tiles: Tiled) -> tuple[list[nn.Module], int]:
    """The networks of a run, and the bytes of one call of whichever needs more."""
    shape = tiles.batch, prior.channels, tiles.size, tiles.size
    room = gradient_bytes(prior.network, shape) // managed_models.BACKWARD
    if corrector is None:
        return [prior.network], room
    return [prior.network, corrector.network], max(room, managed_models.correction_bytes(corrector, shape))


class LoadCorrector(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRLoadCorrector",
            display_name="Load Corrector",
            category=CATEGORY,
            description=(
                "A condition corrector, which DPI Conditions refines its conditions with. Those of "
                "the small face prior come along."
            ),
            search_aliases=["dpi", "crt", "condition corrector", "load model"],
            inputs=[
                io.Combo.Input(
                    "corrector",
                    options=[*shipped_correctors(), *host.weight_files()] or host.weight_choices(),
                    tooltip=(
                        "dpi_x4 to dpi_x16 are for one scale, dpi_real is for damaged pictures of any; "
                        "or a file of models/priorsr."
                    ),
                )
            ],
            outputs=[Corrector.Output("corrector", display_name="corrector")],
        )

    @classmethod
    def execute(cls, corrector):
        with torch.inference_mode(False):
            return io.NodeOutput(managed_models.as_corrector(load_corrector(_corrector_file(corrector))))


class DPIConditions(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRGuideDPI",
            display_name="DPI Conditions",
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
                _preset(*STRENGTH),
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
        settings = _settings(preset, scale, k=k, refine=refine, weighted=weighted)
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
        split(image.clone())[0],
    )
    seen, _ = to_prior_channels(prior.channels, pixels, tuple(pixels.shape[-2:]))
    return grid_condition(seen, scale, k, prior.multiple)[0]


def _latent_condition(model, vae, image: Tensor, scale: float, k: int) -> Tensor:
    """Latents of the image enlarged to the grid, which is what the latents of the result are at every k-th
    place.
    """
    base, _ = grid_condition(split(image.clone())[0], scale, k, k)
    return host_model.latents_of(model, vae, join(base.expand(-1, 3, -1, -1) / 2 + 0.5)).float().clone()


class DPIMasks(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRDPIMasks",
            display_name="DPI Masks",
            category=CATEGORY,
            description=(
                "Where DPI's conditions lie: the fixed grid, how likely the second stage keeps "
                "each of its pixels, and one draw of them."
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
        fixed = fixed_mask(sides, k).float()
        wide, kept = F.interpolate(p, scale_factor=k, mode="nearest"), sparse(drawn, k)
        shown = [
            [(c + 1) / 2, *masks] for c, *masks in zip(base, fixed.expand_as(wide), wide, kept, strict=True)
        ]
        preview = torch.stack([side_by_side([x.expand(3, -1, -1) for x in row]) for row in shown])
        return io.NodeOutput(
            *(host.result(mask[:, 0]) for mask in (fixed, wide, kept)), host.result(join(preview))
        )
