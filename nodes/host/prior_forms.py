"""What the host has to know of each kind of prior: another kind registers its form here, and nothing else
asks which kind it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch

import comfy.model_base
import comfy.model_sampling
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...methods.imaging.canvas import to_prior_channels
from ...methods.priors.adm import ADMPrior
from ...methods.priors.edm import EDMPrior
from ...methods.priors.ncsnpp import NCSNppPrior
from ...methods.srdg.method import enlarged
from ...samplers.schedule import Level


class _Discrete(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.EPS):
    def __init__(self, betas: Tensor):
        nn.Module.__init__(self)
        self.sigma_data = 1.0
        self._register_schedule(given_betas=betas)


class _Continuous(comfy.model_sampling.ModelSamplingContinuousEDM, comfy.model_sampling.EPS):
    def __init__(self, smallest: float, largest: float):
        nn.Module.__init__(self)
        self.set_parameters(smallest, largest, 1.0)


class HostForm(nn.Module):
    """A prior as the host samples it: x = x0 + sigma * noise in, clean picture out.

    classes: how many labels the network knows, None for none. needs_label: whether it knows no state without
    one. upsampler: whether it looks at a low-resolution picture.
    """

    classes: int | None = None
    needs_label = True
    upsampler = False

    def __init__(self, prior):
        super().__init__()
        self.prior = prior

    def sampling(self) -> nn.Module:
        """The host's noise levels of this prior."""
        raise NotImplementedError

    def low_resolution(self, low: Tensor, size: tuple[int, int]) -> Tensor:
        """A small picture B C h w enlarged as the network would, so that it can be cut with the picture."""
        raise NotImplementedError

    def x0(self, model, x: Tensor, sigma: Tensor, conds: Mapping[str, Tensor]) -> Tensor:
        """The clean picture B C H W that the network sees in x, whose noise is sigma (B,); model: holds the
        network and the levels, or what the host has put in their place.
        """
        raise NotImplementedError


@singledispatch
def host_form(prior) -> HostForm:
    """The host's form of a prior. Raises TypeError for a kind that registered none."""
    raise TypeError(f"a {type(prior).__name__} has no form for ComfyUI: register one with host_form")


@host_form.register(ADMPrior)
class _ADMForm(HostForm):
    def __init__(self, prior: ADMPrior):
        super().__init__(prior)
        self.register_buffer("c_noise", torch.tensor(prior.schedule.timesteps), persistent=False)
        self.classes = prior.network.config.num_classes
        self.upsampler = prior.network.config.superres

    def sampling(self) -> nn.Module:
        return _Discrete(self.prior.schedule.betas)

    def low_resolution(self, low: Tensor, size: tuple[int, int]) -> Tensor:
        return F.interpolate(low, size, mode="bilinear", align_corners=False)

    def x0(self, model, x: Tensor, sigma: Tensor, conds: Mapping[str, Tensor]) -> Tensor:
        wide = sigma.view(-1, 1, 1, 1)
        alpha = (1 + wide**2).rsqrt()
        scaled, c_noise = x * alpha, self.c_noise[model.model_sampling.timestep(sigma)].float()
        output = model.diffusion_model(scaled, c_noise, **conds).float()
        return self.prior.interpret(output, scaled, Level(c_noise, alpha, wide * alpha)).x0


@host_form.register(EDMPrior)
class _EDMForm(HostForm):
    needs_label = False

    def __init__(self, prior: EDMPrior):
        super().__init__(prior)
        self.classes = prior.network.label_dim or None

    def sampling(self) -> nn.Module:
        network = self.prior.network
        return _Continuous(max(network.sigma_min, 0.002), min(network.sigma_max, 80.0))

    def x0(self, model, x: Tensor, sigma: Tensor, conds: Mapping[str, Tensor]) -> Tensor:
        label = self.prior.one_hot(conds["label"]) if "label" in conds else None
        return model.diffusion_model(x, sigma, label)


@host_form.register(NCSNppPrior)
class _NCSNppForm(HostForm):
    upsampler = True

    def sampling(self) -> nn.Module:
        width, schedule = self.prior.span[1] - self.prior.span[0], self.prior.schedule
        return _Continuous(width * schedule.smallest, width * schedule.largest)

    def low_resolution(self, low: Tensor, size: tuple[int, int]) -> Tensor:
        return enlarged(to_prior_channels(self.prior.channels, low, size)[0], size)

    def x0(self, model, x: Tensor, sigma: Tensor, conds: Mapping[str, Tensor]) -> Tensor:
        prior = self.prior  # the network answers the score times sigma
        score = model.diffusion_model(prior.decode(x), prior.c_noise(sigma), prior.decode(conds["low_res"]))
        return x + sigma.view(-1, 1, 1, 1) * score
