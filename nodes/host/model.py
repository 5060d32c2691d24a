"""Our priors as the host's MODEL, our sampling loop as its SAMPLER, our tiles as a patch of any MODEL."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_management as mm
import comfy.model_patcher
import comfy.model_sampling
import comfy.samplers
import comfy.supported_models_base
import torch
import torch.nn.functional as F
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...methods.priors.classifier import class_label
from ...methods.priors.prior import Prior
from ...samplers.denoiser import Cond, Prediction, from_x0
from ...samplers.noise import Noise
from ...samplers.run import Draw, Hook, Step, Transition, run
from ...samplers.schedule import Level, respaced, sigma_levels
from .guided import hooks_ready
from .prior_forms import host_form
from .tiling import TILES, TiledCall

TOLD = "priorsr_told"


class PixelFormat(comfy.latent_formats.LatentFormat):
    """Pictures in -1..1 as they are."""

    def __init__(self, channels: int = 3):
        self.latent_channels = channels
        self.latent_rgb_factors = torch.eye(3).tolist() if channels == 3 else [[1.0] * 3] * channels

    def process_in(self, latent: Tensor) -> Tensor:
        return latent

    def process_out(self, latent: Tensor) -> Tensor:
        return latent


class _NoBlocks(dict):
    """A UNet's configuration that has none: nodes that patch Stable Diffusion's blocks are told why."""

    def __missing__(self, key: str):
        raise ValueError(
            "this MODEL is a pixel prior, without Stable Diffusion's blocks: take out the node that patches "
            f"them (it asked for {key})"
        )


class _Config(comfy.supported_models_base.BASE):
    unet_config: dict = {}  # noqa: RUF012 (the host's own form)
    unet_extra_config: dict = {}  # noqa: RUF012
    latent_format = PixelFormat
    memory_usage_factor = (
        0.044  # a pixel model's feature maps are as large as its picture, a latent model's eight times larger
    )


class PixelModel(comfy.model_base.BaseModel):
    """A prior of ours behind the host's interface: x = x0 + sigma * noise in, clean picture out."""

    def __init__(self, prior: Prior, clip: bool):
        config = _Config({"disable_unet_model_creation": True})
        config.manual_cast_dtype = None
        config.unet_config = _NoBlocks(config.unet_config)
        super().__init__(config, comfy.model_base.ModelType.EPS)
        self.latent_format = PixelFormat(prior.channels)
        self.diffusion_model, self.prior, self.clip = prior.network.eval(), prior, clip
        self.diffusion_model.dtype = torch.float32
        self.form = host_form(prior)
        self.model_sampling = self.form.sampling()

    def extra_conds(self, noise: Tensor, label: int = -1, low_res: Tensor | None = None, **kwargs) -> dict:
        """What the network needs beside the picture.

        The host asks before the first step, so this is where mistakes are told.
        """
        if noise.ndim != 4 or noise.shape[1] != self.prior.channels:
            raise ValueError(
                f"this prior works on pictures of {self.prior.channels} channels, not on latents of "
                f"{tuple(noise.shape)}: make the latent with Image to Pixel Latent"
            )
        form = self.form
        if form.classes is None and label >= 0:
            raise ValueError(
                f"this prior knows no classes, so it cannot take label {label}: give -1, or load a "
                "class-conditional prior"
            )
        if form.upsampler != (low_res is not None):
            wrong = (
                "needs a low-resolution picture: give one with"
                if form.upsampler
                else "does not look at a low-resolution picture: leave it out of"
            )
            raise ValueError(f"this prior {wrong} Condition Pixel Prior")
        conds = {}
        if form.classes is not None and (label >= 0 or form.needs_label):
            conds["label"] = comfy.conds.CONDRegular(class_label(label, form.classes).to(noise.device))
        if low_res is not None:
            larger = form.low_resolution(low_res.to(noise), tuple(noise.shape[-2:]))
            conds["low_res"] = comfy.conds.CONDNoiseShape(larger)
        return conds

    def _apply_model(
        self, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **conds
    ) -> Tensor:
        x0 = self.form.x0(self, x, t, conds)
        return x0.clamp(-1, 1) if self.clip else x0


@torch.inference_mode(False)  # weights made in inference mode could never take part in a gradient
def as_model(prior: Prior, clip: bool) -> comfy.model_patcher.ModelPatcher:
    """The prior as a MODEL that the host loads, offloads and patches like any other."""
    return comfy.model_patcher.ModelPatcher(
        PixelModel(prior, clip), mm.get_torch_device(), mm.unet_offload_device()
    )


def prior_of(model, otherwise: str = "") -> Prior:
    """The prior behind a MODEL of ours.

    Raises ValueError for any other MODEL, which says what to do with it otherwise.
    """
    if not isinstance(model.model, PixelModel):
        raise ValueError(
            f"this MODEL is no pixel prior: give one from Load Shipped Prior or Load Pixel Prior{otherwise}"
        )
    return model.model.prior


def latents_of(model, vae, image: Tensor) -> Tensor:
    """An image B H W 3 in 0..1 as what the MODEL samples, in its own units; edges go on to whole latent
    pixels.
    """
    ratio = vae.spacial_compression_encode()
    height, width = (-n % ratio for n in image.shape[1:3])
    whole = F.pad(image.movedim(-1, 1), (0, width, 0, height), mode="replicate").movedim(1, -1)
    return model.model.process_latent_in(vae.encode(whole))


def natural_tile(model) -> int:
    """The side that a MODEL was trained on, in its own pixels; 64 for latent ones, which is 512 pixels of
    Stable Diffusion.
    """
    if not isinstance(model.model, PixelModel):
        return 64
    return model.model.prior.size


def tiled(
    model, size: int, overlap: int, batch: int, weights: Callable[[int, int], Tensor]
) -> comfy.model_patcher.ModelPatcher:
    """A copy of the MODEL that sees its picture or latent in tiles, whatever the sampler."""
    patched, cut = model.clone(), TiledCall(size, overlap, batch, weights)
    patched.add_wrapper_with_key(WrappersMP.APPLY_MODEL, TILES, cut)

    # the host makes room for what a call sees, not for the whole picture
    def prepare(executor, model, shape, *args, **kwargs):
        return executor(model, cut.shape(shape), *args, **kwargs)

    patched.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, TILES, prepare)
    return patched


def respaced_sigmas(model, rule: str, start: int) -> Tensor:
    """The noise levels of the kept training steps of a MODEL, from kept step `start` (-1: the noisiest) down,
    then zero.
    """
    sampling = model.get_model_object("model_sampling")
    if isinstance(sampling, comfy.model_sampling.ModelSamplingContinuousEDM):
        raise ValueError(
            "this MODEL was not trained in steps that could be kept: take a scheduler such as KarrasScheduler"
        )
    table = sampling.sigmas.tolist()
    kept = respaced(len(table), rule)
    if not -1 <= start < len(kept):
        raise ValueError(
            f"cannot start at step {start} of {len(kept)} kept ones: give 0..{len(kept) - 1}, or -1 for "
            "the noisiest"
        )
    return torch.tensor([*(table[i] for i in reversed(kept[: start + 1] if start >= 0 else kept)), 0.0])


class _HostDenoiser:
    """Any MODEL, with all that is patched into it, as a denoiser of the core."""

    def __init__(self, model, arguments: dict):
        self.model, self.arguments = model, arguments

    def __call__(self, x: Tensor, level: Level, cond: Cond | None = None) -> Prediction:
        x0 = self.model(x / level.alpha, x.new_full((len(x),), level.sigma / level.alpha), **self.arguments)
        return from_x0(x, level, x0)


class _ToldDenoiser(_HostDenoiser):
    """The same, whose network hears the levels' own times in place of those of their noise."""

    def __init__(self, model, arguments: dict):
        super().__init__(model, arguments)
        self.options = arguments["model_options"]["transformer_options"]  # of this run alone
        wrappers = self.options.setdefault("wrappers", {})
        # the first, so that every other wrapper hears these times
        wrappers[WrappersMP.DIFFUSION_MODEL] = {
            TOLD: [self._tell],
            **wrappers.get(WrappersMP.DIFFUSION_MODEL, {}),
        }

    def __call__(self, x: Tensor, level: Level, cond: Cond | None = None) -> Prediction:
        self.options[TOLD] = level.t
        return super().__call__(x, level, cond)

    def _tell(self, executor, x: Tensor, timesteps: Tensor, *args, **kwargs) -> Tensor:
        return executor(x, torch.full_like(timesteps, self.options[TOLD]), *args, **kwargs)


def as_sampler(
    transition: Transition,
    hooks: Sequence[Hook],
    noise: Draw | None = None,
    levels_for: Callable[[Sequence[Level]], list[Level]] | None = None,
) -> comfy.samplers.KSAMPLER:
    """The core's loop as a SAMPLER for any MODEL. Hooks work on what the model predicts, in its own space.

    noise: of the steps; by default each sample's own, from the run's seed. levels_for: other levels, with
    times that the network is told, in place of those that the SIGMAS are; the state that the run begins with
    is taken for the first of them, unscaled.
    """

    def sample(model, x: Tensor, sigmas: Tensor, extra_args: dict, callback=None, disable=None) -> Tensor:
        guider, network = model.inner_model, model.inner_model.inner_model
        if isinstance(network.model_sampling, comfy.model_sampling.CONST):
            raise ValueError(
                "this MODEL was trained on a flow between picture and noise, which this sampler does not "
                "follow: take a native one"
            )
        levels = sigma_levels(sigmas.tolist(), float)
        levels = levels if sigmas[-1] == 0 else levels[:-1]  # a run that another sampler goes on with
        denoiser = _HostDenoiser(model, extra_args)
        if levels_for is not None:
            x, levels = x / (1 + levels[0].sigma ** 2) ** 0.5, levels_for(levels)
            denoiser = _ToldDenoiser(model, extra_args)
        seed = extra_args.get("seed") or 0
        draw = noise or Noise([seed + i for i in range(len(x))]).child("transition")

        def report(step: Step, state: Tensor) -> None:
            mm.throw_exception_if_processing_interrupted()
            if callback:
                callback({"i": step.i, "denoised": step.pred.x0.detach(), "x": state})

        with hooks_ready(guider, hooks, x):
            return run(denoiser, x, levels, transition, hooks, draw, on_step=report)

    return comfy.samplers.KSAMPLER(sample)
