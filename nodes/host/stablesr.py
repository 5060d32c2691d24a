"""StableSR's layers on the host's Stable Diffusion: a patch of a MODEL's copy, and the noise that a run
starts with.

Per run, the low-resolution latent is found and checked; per step it joins the conditions, so that the host
crops it to areas and the Tiled Denoiser to tiles; per network call the encoder sees it, and the UNet is
hooked for as long as that call lasts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import comfy.conds
import comfy.model_base
import comfy.model_management as mm
import comfy.model_patcher
import comfy.model_sampling
import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor, nn

from ...methods.nets.cfw import CFW
from ...methods.nets.spade import Place
from ...methods.stablesr import prior
from ...methods.stablesr.layers import StableSRLayers
from ...samplers.noise import Noise
from ...samplers.run import Draw
from .images import check_count

KEY, LR, SHARED = "priorsr_stablesr", "priorsr_lr", "priorsr_lr_shared"
PRECISIONS = [torch.float16, torch.bfloat16, torch.float32]
VAE_PRECISIONS = [torch.bfloat16, torch.float32]  # those that the host runs Stable Diffusion's VAE in


@dataclass(frozen=True)
class ManagedLayers:
    """StableSR's layers, whose place in memory the host manages, and the file they are from."""

    name: str
    layers: StableSRLayers
    patcher: comfy.model_patcher.ModelPatcher


@torch.inference_mode(False)
def as_layers(layers: StableSRLayers, name: str) -> ManagedLayers:
    device, networks = mm.get_torch_device(), nn.ModuleList([layers.encoder, layers.sft])
    size = sum(p.numel() for p in networks.parameters())
    networks.to(mm.unet_dtype(device, size, PRECISIONS))
    return ManagedLayers(
        name, layers, comfy.model_patcher.ModelPatcher(networks, device, mm.unet_offload_device())
    )


@dataclass(frozen=True)
class ManagedCFW:
    """CFW's blocks, whose place in memory the host manages."""

    cfw: CFW
    patcher: comfy.model_patcher.ModelPatcher


@torch.inference_mode(False)
def as_cfw(cfw: CFW) -> ManagedCFW:
    cfw.to(mm.vae_dtype(mm.vae_device(), VAE_PRECISIONS))
    return ManagedCFW(cfw, comfy.model_patcher.ModelPatcher(cfw, mm.vae_device(), mm.vae_offload_device()))


def predicts_v(model) -> bool:
    return isinstance(model.get_model_object("model_sampling"), comfy.model_sampling.V_PREDICTION)


def spare_memory(model) -> int:
    """Bytes of the compute device that are left beside the MODEL's weights."""
    return mm.get_free_memory(model.load_device) - model.model_size()


def guided(model, prompts: tuple, cfg: float) -> comfy.samplers.CFGGuider:
    """A run of the MODEL towards the first of two prompts and away from the second."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*prompts)
    guider.set_cfg(cfg)
    return guider


def patched(model, managed: ManagedLayers, latent: Tensor | None = None) -> comfy.model_patcher.ModelPatcher:
    """A copy of the MODEL, modulated by a low-resolution latent B C h w as the VAE gives it; None takes what
    sampling starts from.

    Raises ValueError where the MODEL is of another kind, or has such layers already.
    """
    unet = model.get_model_object("diffusion_model")
    if model.get_additional_models_with_key(KEY):
        raise ValueError(
            "this MODEL has StableSR's layers already: give the MODEL from before the other Apply StableSR"
        )
    managed.layers.check(unet)
    copy, run = model.clone(), _Patch(managed.layers, latent, unet, managed.layers.sft.places(unet))
    copy.set_additional_models(KEY, [managed.patcher])  # loaded, counted and offloaded with the UNet
    copy.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, run.begin)
    copy.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, KEY, run.condition)
    copy.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, run.modulate)
    return copy


def unlike_target(model, name: str) -> str:
    """What to beware of where a file's name speaks of another target than the MODEL's; else nothing."""
    return prior.unlike_target("v" if predicts_v(model) else "eps", name)


@dataclass(frozen=True)
class _Patch:
    """The wrappers. They keep nothing: what belongs to a run lies in the options that the host makes for
    it.
    """

    layers: StableSRLayers
    latent: Tensor | None
    unet: nn.Module
    places: list[Place]

    def begin(self, executor, noise: Tensor, latent_image: Tensor, *args, **kwargs) -> Tensor:
        """Once a run, before models are loaded."""
        guider, lr = executor.class_obj, latent_image if self.latent is None else self.latent
        if self.latent is None and not latent_image.any():
            raise ValueError(
                "StableSR needs the latent of the low-resolution picture, and sampling starts from an "
                "empty one: connect the encoded picture to "
                "Apply StableSR, or to the sampler"
            )
        if noise.ndim != 4 or lr.ndim != 4 or lr.shape[1:] != noise.shape[1:]:
            (h, w), (height, width) = lr.shape[-2:], noise.shape[-2:]
            raise ValueError(
                f"the low-resolution latent is of {w} x {h}, the one that is sampled of {width} x "
                f"{height}: enlarge the picture to the size of the "
                "result before it is encoded, or sample a latent of the same size"
            )
        check_count(len(lr), len(noise), "low-resolution latents", "samples")
        patcher = guider.model_patcher
        guider.model_options["transformer_options"][KEY] = patcher.model.process_latent_in(
            lr.to(patcher.load_device, torch.float32)
        )
        return executor(noise, latent_image, *args, **kwargs)

    def condition(
        self, executor, model, conds: list, x: Tensor, timestep: Tensor, model_options: dict
    ) -> list[Tensor]:
        """Once a step: the latent as one more condition of each prompt."""
        lr = model_options.get("transformer_options", {}).get(KEY)
        if lr is None:
            if self.latent is None:
                raise ValueError(
                    "this guider runs the MODEL without telling it what is sampled: connect the encoded "
                    "picture to Apply StableSR"
                )
            lr = model.process_latent_in(self.latent.to(x))
        shared = not any(
            "area" in cond for some in conds for cond in some or ()
        )  # else the prompts see different parts
        more = {LR: comfy.conds.CONDNoiseShape(lr), SHARED: comfy.conds.CONDConstant(shared)}
        told = [
            some and [{**cond, "model_conds": {**cond["model_conds"], **more}} for cond in some]
            for some in conds
        ]
        return executor(model, told, x, timestep, model_options)

    def modulate(
        self,
        executor,
        x: Tensor,
        timesteps: Tensor,
        context=None,
        y=None,
        control=None,
        transformer_options=None,
        **conds,
    ) -> Tensor:
        """Each network call.

        Its batch is one of tiles, each of prompts, each of pictures; prompts share what the encoder sees.
        """
        if LR not in conds:
            raise ValueError(
                "StableSR's latent did not reach the MODEL: another node calls it in a way of its own; "
                "leave that node out"
            )
        lr, shared, options = conds.pop(LR), conds.pop(SHARED), transformer_options or {}
        if lr.shape[-2:] != x.shape[-2:]:
            raise ValueError(
                f"the MODEL is called on {x.shape[-1]} x {x.shape[-2]} with a low-resolution latent of "
                f"{lr.shape[-1]} x {lr.shape[-2]}: to work in "
                "tiles, take the Tiled Denoiser of PriorSR, which cuts both"
            )
        prompts = len(set(options.get("uuids", ()))) if shared else 1
        tiles = len(options["uuids"]) // prompts if prompts > 1 else 1

        def apart(v: Tensor) -> Tensor:
            return v.unflatten(0, (tiles, prompts, -1))[:, 0].flatten(0, 1) if prompts > 1 else v

        features = self.layers.encoder(apart(lr), apart(timesteps))
        if tiles > 1:  # the layers repeat features for a whole batch, not for each tile of it
            features = [
                f.unflatten(0, (tiles, 1, -1)).expand(-1, prompts, -1, -1, -1, -1).flatten(0, 2)
                for f in features
            ]
        unet = executor.class_obj
        places = (
            self.places if unet is self.unet else self.layers.sft.places(unet)
        )  # where another node put another network
        with self.layers.sft.modulating_at(places, features):
            return executor(x, timesteps, context, y, control, options, **conds)


class StartNoise:
    """The host's NOISE for a run that begins at `sigma`: with nothing but noise, or with the low-resolution
    latent brought to it.

    The host adds its latent to what it is given, in its own scale; that is undone here. seed: of the first
    sample, the next ones follow; or draw from `draw`.
    """

    def __init__(self, model, sigma: float, mode: str, seed: int, draw: Draw | None = None):
        sampling = model.get_model_object("model_sampling")
        if isinstance(sampling, comfy.model_sampling.CONST):
            raise ValueError(
                "this MODEL was trained on a flow between picture and noise, not as Stable Diffusion: take "
                "a native noise"
            )
        self.model, self.sigma, self.mode, self.seed, self.draw = model, sigma, mode, seed, draw
        most = float(sampling.sigma_max)
        self.whole = sigma > most or math.isclose(
            sigma, most, rel_tol=1e-5
        )  # whether the host takes the state for nothing but noise
        self.sampling = sampling

    def generate_noise(self, latent: dict) -> Tensor:
        samples = latent["samples"].float()
        lr = self.model.model.process_latent_in(samples) if samples.any() else samples
        places = latent.get("batch_index") or range(len(samples))
        noise = (self.draw or Noise([self.seed + i for i in places]))(samples.shape)
        begin = noise * math.sqrt(1 + self.sigma**2) if self.mode == "noise" else lr + self.sigma * noise
        one = self.sampling.noise_scaling(
            torch.tensor([self.sigma]), torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), self.whole
        )
        return (begin - lr) / one
