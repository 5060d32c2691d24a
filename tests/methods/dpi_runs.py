"""What the tests of DPI share: tiny networks, and runs whose states are kept."""

from __future__ import annotations

import dataclasses
import math
from functools import cache

import torch
from fill import fill_

from priorsr.methods.dpi.corrector import Corrector
from priorsr.methods.dpi.method import DPISettings
from priorsr.methods.nets.adm_config import ADMConfig
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.nets.corrector import CorrectorUNet
from priorsr.methods.priors.adm import ADMPrior
from priorsr.samplers.hooks import ClipX0
from priorsr.samplers.noise import Noise
from priorsr.samplers.run import Hook, run
from priorsr.samplers.schedule import DiscreteSchedule
from priorsr.samplers.transition import DDPM

from ..samplers.gaussian_prior import GaussianPrior

CONFIG = ADMConfig(
    image_size=16,
    model_channels=32,
    num_res_blocks=1,
    channel_mult=(1, 2),
    attention_factors=(2,),
    num_head_channels=16,
)
CRT = dataclasses.replace(CONFIG, out_channels=3)
VP = DiscreteSchedule.named("linear")
FEW = DPISettings(respacing="6", tau=600.0, omega=900.0)


def filled(network):
    fill_(network)
    return network.eval().requires_grad_(False)


def constant(value):
    """A corrector that always answers the same."""
    return lambda x, t, y_T: torch.full_like(x, value)


def picture(*shape, seed=0):
    return Noise([seed] * shape[0])(shape).clamp(-2, 2) / 2


@cache
def tiny_prior():
    return ADMPrior(filled(build_adm(CONFIG)))


@cache
def tiny_corrector():
    return Corrector(filled(CorrectorUNet(CRT)))


class Watch(Hook):
    """The state before and after the conditions of a run, with what they hold."""

    def __init__(self, conditions):
        self.conditions, self.before, self.after, self.masks, self.y = conditions, [], [], [], []

    def state(self, step, x):
        self.before.append((step, x))
        self.y.append(self.conditions.y)
        after = self.conditions.state(step, x)
        self.after.append(after)
        self.masks.append(self.conditions.mask)
        return after

    def begin(self, x, levels):
        self.conditions.begin(x, levels)

    def predict(self, x, level, pred):
        return self.conditions.predict(x, level, pred)


def watched(conditions, prior=None, size=(8, 8), levels=None, transition=DDPM(), batch=1, channels=3):
    prior = prior or GaussianPrior(torch.zeros(channels, 1, 1), torch.ones(channels, 1, 1))
    levels, watch = levels or VP.respace("8").levels(), Watch(conditions)
    noise = Noise(range(batch))
    run(
        prior,
        noise((batch, channels, *size)) * math.hypot(levels[0].alpha, levels[0].sigma),
        levels,
        transition,
        [watch, ClipX0()],
        noise,
    )
    return watch
