"""Guidance in the host's runs: what it needs in memory, and as a patch of a MODEL for any sampler."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import comfy.model_patcher
import comfy.model_sampling
import comfy.patcher_extension
import torch
from comfy.k_diffusion import sampling
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...methods.dpi.conditions import Conditions
from ...samplers.denoiser import Cond, Prediction, from_x0
from ...samplers.guidance.classifier import ClassifierGuidance
from ...samplers.guidance.folded import Folded, check_foldable
from ...samplers.run import Hook
from ...samplers.schedule import CLEAN, Level, sigma_levels
from .managed import BACKWARD, ManagedAttributes, ManagedConditions, ManagedLabelGuidance, grad_ready
from .runtime import loaded
from .tiling import seen

KEY = "priorsr_guidance"


@contextmanager
def hooks_ready(guider, hooks: Sequence[Hook], x: Tensor) -> Iterator[None]:
    """The networks of hooks on the compute device while a run lasts, with room for what they keep, and all of
    them fit for gradients where one asks for some.
    """
    network = guider.inner_model
    managed = [
        hook
        for hook in hooks
        if isinstance(hook, (ManagedLabelGuidance, ManagedConditions, ManagedAttributes))
    ]
    models = [patcher for hook in managed for patcher in hook.models]
    room = sum(hook.memory(x) for hook in managed)
    if any(hook.needs_grad for hook in hooks):
        for module in (network, *(patcher.model for patcher in guider.loaded_models)):
            grad_ready(module)
        room += BACKWARD * int(network.memory_required(seen(guider.model_patcher, x.shape)))
    with (
        loaded(models, room, beside=[guider.model_patcher, *guider.loaded_models])
        if models or room
        else nullcontext()
    ):
        for patcher in models:
            grad_ready(patcher.model)
        yield


def guided(model, hooks: Sequence[Hook]) -> comfy.model_patcher.ModelPatcher:
    """A copy of the MODEL whose predictions carry the hooks, whatever sampler asks for them.

    Raises ValueError for hooks that only our own sampler can follow.
    """
    check_foldable(hooks)
    own = model.clone()
    own.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, KEY, _Patch(tuple(hooks)).sample)
    return own


def guided_guider(guider, hooks: Sequence[Hook]):
    """A copy of any GUIDER of the host, on such a copy of its MODEL. Raises ValueError as `guided`."""
    own = copy.copy(guider)
    own.model_patcher = guided(guider.model_patcher, hooks)
    own.model_options = own.model_patcher.model_options
    return own


class _Patch:
    """The wrapper of a run. It keeps nothing: what belongs to a run is in the options that the host makes for
    it.
    """

    def __init__(self, hooks: Sequence[Hook]):
        self.hooks = hooks

    def sample(self, executor, guider, sigmas: Tensor, extra_args: dict, callback, noise: Tensor, *more):
        sampler, network = executor.class_obj, guider.inner_model
        flow = isinstance(network.model_sampling, comfy.model_sampling.CONST)
        self._check(sampler, noise, flow)
        steps = sigma_levels(sigmas.tolist(), float)
        levels = [Level(s.t, 1 - s.sigma, s.sigma) for s in steps[:-1]] + [CLEAN] if flow else steps
        levels = levels if sigmas[-1] == 0 else levels[:-1]  # a run that another sampler goes on with
        with torch.inference_mode(False):
            x = noise.clone()  # inside inference mode no tensor takes part in a gradient
        folded = Folded(None, self.hooks, levels)  # each call brings its own denoiser
        with hooks_ready(guider, self.hooks, x):
            folded.begin(x)
            comfy.patcher_extension.add_wrapper_with_key(
                WrappersMP.PREDICT_NOISE,
                KEY,
                _Call(folded, flow),
                guider.model_options,
                is_model_options=True,
            )
            return executor(guider, sigmas, extra_args, callback, noise, *more)

    def _check(self, sampler, noise: Tensor, flow: bool) -> None:
        """Raises ValueError for a sampler, latent or MODEL that some hook cannot guide."""
        if noise.ndim != 4:
            raise ValueError(
                f"guidance works on pictures and latents B C H W, not on {tuple(noise.shape)}: leave it out"
            )
        function = getattr(sampler, "sampler_function", None)
        if any(h.replaces_state for h in self.hooks) and function is not sampling.sample_euler:
            raise ValueError(
                "Guide by DPI Conditions sets the state after every step, as a MODEL can for the "
                "samplers euler and ddim alone: choose one of them, or give the guidance to Sampler (PriorSR)"
            )
        if flow and any(isinstance(h, (ClassifierGuidance, Conditions)) for h in self.hooks):
            raise ValueError(
                "classifiers and DPI conditions know noise that is added to a picture, not a flow between "
                "both: guide this MODEL by consistency, measurement or clipping"
            )


@dataclass(frozen=True)
class _Call:
    """A wrapper of every prediction of a run."""

    folded: Folded
    flow: bool

    def __call__(self, executor, x: Tensor, timestep: Tensor, *more) -> Tensor:
        sigma = float(timestep.flatten()[0])
        level = Level(sigma, 1 - sigma if self.flow else 1.0, sigma)
        with torch.inference_mode(False):
            time = timestep.clone()
            x = x if x.requires_grad else x.clone()

            def denoise(x: Tensor, level: Level, cond: Cond | None = None) -> Prediction:
                return from_x0(x, level, executor(x, time, *more))

            return replace(self.folded, denoiser=denoise)(x, level).x0
