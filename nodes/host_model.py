"""Our priors as the host's MODEL, and our sampling loop as its SAMPLER."""

from __future__ import annotations

from collections.abc import Sequence

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_management as mm
import comfy.model_patcher
import comfy.model_sampling
import comfy.samplers
import comfy.supported_models_base
import torch
from torch import Tensor, nn

from ..methods.priors.adm import ADMPrior
from ..methods.priors.edm import EDMPrior
from ..samplers.denoiser import Cond, Prediction, from_x0
from ..samplers.noise import Noise
from ..samplers.run import Hook, Step, Transition, run
from ..samplers.schedule import Level, sigma_levels


class PixelFormat(comfy.latent_formats.LatentFormat):
    """Pictures in -1..1 as they are: the core's pixel_space VAE turns them into images."""

    def __init__(self, channels: int = 3):
        self.latent_channels = channels
        self.latent_rgb_factors = torch.eye(3).tolist() if channels == 3 else [[1.0] * 3] * channels

    def process_in(self, latent: Tensor) -> Tensor:
        return latent

    def process_out(self, latent: Tensor) -> Tensor:
        return latent


class _Config(comfy.supported_models_base.BASE):
    unet_config: dict = {}  # noqa: RUF012 (the host's own form)
    unet_extra_config: dict = {}  # noqa: RUF012
    latent_format = PixelFormat
    memory_usage_factor = 0.044  # a pixel model's feature maps are as large as its picture, a latent model's eight times larger


class _DiscreteSampling(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.EPS):
    def __init__(self, betas: Tensor):
        nn.Module.__init__(self)
        self.sigma_data = 1.0
        self._register_schedule(given_betas=betas)


class _ContinuousSampling(comfy.model_sampling.ModelSamplingContinuousEDM, comfy.model_sampling.EPS):
    def __init__(self, smallest: float, largest: float):
        nn.Module.__init__(self)
        self.set_parameters(smallest, largest, 1.0)


class PixelModel(comfy.model_base.BaseModel):
    """A prior of ours behind the host's interface: x = x0 + sigma * noise in, clean picture out."""

    def __init__(self, prior: ADMPrior | EDMPrior, clip: bool):
        config = _Config({"disable_unet_model_creation": True})
        config.manual_cast_dtype = None
        super().__init__(config, comfy.model_base.ModelType.EPS)
        self.latent_format = PixelFormat(prior.channels)
        self.diffusion_model, self.prior, self.clip = prior.network.eval(), prior, clip
        self.diffusion_model.dtype = torch.float32
        if isinstance(prior, EDMPrior):
            limits = max(prior.network.sigma_min, 0.002), min(prior.network.sigma_max, 80.0)
            self.model_sampling = _ContinuousSampling(*limits)
        else:
            self.model_sampling = _DiscreteSampling(prior.schedule.betas)
            self.register_buffer("clock", torch.tensor(prior.schedule.timesteps), persistent=False)

    def extra_conds(self, **kwargs) -> dict:
        return {name: comfy.conds.CONDRegular(kwargs[name]) for name in ("label",) if name in kwargs}

    def _apply_model(self, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, label=None, **kwargs) -> Tensor:
        sigma = t.view(-1, 1, 1, 1)
        if isinstance(self.prior, EDMPrior):
            x0 = self.prior.network(x, t, None if label is None else self.prior.one_hot(label))
        else:
            alpha = (1 + sigma**2).rsqrt()
            scaled, clock = x * alpha, self.clock[self.model_sampling.timestep(t)].float()
            output = self.diffusion_model(scaled, clock, **({} if label is None else {"label": label})).float()
            x0 = self.prior.interpret(output, scaled, Level(clock, alpha, sigma * alpha)).x0
        return x0.clamp(-1, 1) if self.clip else x0


@torch.inference_mode(False)  # weights made in inference mode could never take part in a gradient
def as_model(prior: ADMPrior | EDMPrior, clip: bool) -> comfy.model_patcher.ModelPatcher:
    """The prior as a MODEL that the host loads, offloads and patches like any other."""
    return comfy.model_patcher.ModelPatcher(PixelModel(prior, clip), mm.get_torch_device(), mm.unet_offload_device())


class _HostDenoiser:
    """Any MODEL, with all that is patched into it, as a denoiser of the core."""

    def __init__(self, model, arguments: dict):
        self.model, self.arguments = model, arguments

    def __call__(self, x: Tensor, level: Level, cond: Cond | None = None) -> Prediction:
        x0 = self.model(x, x.new_full((len(x),), level.sigma), **self.arguments)
        return from_x0(x, level, x0)


def as_sampler(transition: Transition, hooks: Sequence[Hook]) -> comfy.samplers.KSAMPLER:
    """The core's loop as a SAMPLER for any MODEL. Hooks work on what the model predicts, in its own space."""

    def sample(model, x: Tensor, sigmas: Tensor, extra_args: dict, callback=None, disable=None) -> Tensor:
        levels = sigma_levels(sigmas.tolist(), float)
        levels = levels if sigmas[-1] == 0 else levels[:-1]  # a run that another sampler goes on with
        seed = extra_args.get("seed") or 0
        noise = Noise([seed + i for i in range(len(x))]).child("transition")

        def report(step: Step, state: Tensor) -> None:
            mm.throw_exception_if_processing_interrupted()
            if callback:
                callback({"i": step.i, "denoised": step.pred.x0.detach(), "x": state})

        if any(hook.needs_grad for hook in hooks):
            _grad_ready(model.inner_model.inner_model)
        return run(_HostDenoiser(model, extra_args), x, levels, transition, hooks, noise, on_step=report)

    return comfy.samplers.KSAMPLER(sample)


@torch.inference_mode(False)
def _grad_ready(module: nn.Module) -> None:
    """Replace tensors made in inference mode, which autograd refuses; their values and devices stay."""
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, value in tensors.items():
                if value is not None and value.is_inference():
                    copy = value.clone()
                    tensors[name] = nn.Parameter(copy, requires_grad=False) if isinstance(value, nn.Parameter) else copy
