"""Diffusion posterior sampling: its gradient, single steps and whole runs."""

from __future__ import annotations

import torch
from adm_net_adapter import adm_network
from golden_cases import Case, adapter
from torch import Tensor

from priorsr.methods.dps.sampling import DPSSettings, dps, guide
from priorsr.methods.imaging.operators import Reduction
from priorsr.methods.priors.adm import ADMPrior
from priorsr.samplers.denoiser import Prediction
from priorsr.samplers.run import Hook, Step, run
from priorsr.samplers.schedule import CLEAN, DiscreteSchedule
from priorsr.samplers.transition import DDIM, DDPM


class Before(Hook):
    """What a step holds before the guidance changes it."""

    def __init__(self):
        self.states, self.x0 = [], []

    def state(self, step, x):
        self.states.append(x.detach())
        self.x0.append(step.pred.x0.detach())
        return x


class Guided(Hook):
    """Asks the guidance for its residual and gradient."""

    needs_grad = True

    def __init__(self, guidance):
        self.guidance, self.rows = guidance, []

    def state(self, step, x):
        self.rows.append(self.guidance.gradient(step))
        return x


class PublishedDraws:
    """After each step's draw the published loop makes another of the measurement's shape and ignores it."""

    def __init__(self, source, ignored):
        self.source, self.ignored, self.started = source, ignored, False

    def __call__(self, shape):
        draw = self.source(shape)
        if self.started:
            self.source(self.ignored)
        self.started = True
        return draw


def settings(config: dict) -> DPSSettings:
    sampler = config.get("sampler", "ddpm")
    return DPSSettings(sampler, str(config.get("timestep_respacing", "")), 0.0, config["scale"], joint=True)


def prior(case: Case) -> ADMPrior:
    return ADMPrior(case.fill(adm_network(case.config["model"])).requires_grad_(False))


@adapter("dps", "gradient")
def dps_gradient(case: Case) -> dict[str, Tensor]:
    c, x = case.config, case.inputs["x_prev"].requires_grad_()
    x0 = (c["slope"] * x + 0.1 * x**2).clamp(-1, 1)  # the case's own stand-in for a network
    operator = Reduction(tuple(x.shape[-2:]), c["scale_factor"])
    guidance = guide(case.inputs["measurement"], operator, settings(c))[1]
    step = Step(0, x, CLEAN, CLEAN, Prediction(x0, x0), x, shared_graph=True)  # asked twice
    residual, gradient = guidance.gradient(step)
    return {"x_t_after": guidance.state(step, case.inputs["x_t"]), "norm": residual[0], "gradient": gradient}


@adapter("dps", "step")
def dps_step(case: Case) -> dict[str, Tensor]:
    c, x, t = case.config, case.inputs["x"], int(case.inputs["t"])
    den, s = prior(case), settings(case.config)
    clip, guidance = guide(case.inputs["measurement"], Reduction(tuple(x.shape[-2:]), c["scale_factor"]), s)
    before, asked = Before(), Guided(guidance)
    levels = DiscreteSchedule.named().respace(s.respacing).levels(t)[:2]
    transition = DDPM() if s.sampler == "ddpm" else DDIM(s.eta)
    after = run(den, x, levels, transition, [clip, before, asked, guidance], case.noise(c["noise_prefix"]))
    ((residual, gradient),) = asked.rows
    return {
        "pred_xstart": before.x0[0],
        "sample_before": before.states[0],
        "sample_after": after,
        "norm": residual[0],
        "gradient": gradient,
    }


@adapter("dps", "loop")
def dps_loop(case: Case) -> dict[str, Tensor]:
    c, x, source = case.config, case.inputs["reference"], case.noise(case.config["noise_prefix"])
    size, states, before = tuple(x.shape[-2:]), [], Before()
    operator = Reduction(size, c["scale_factor"])
    clean = operator(x)
    measurement = clean + c["sigma"] * source(clean.shape)
    s, den = settings(c), prior(case)
    guidance, noise = Guided(guide(measurement, operator, s)[1]), PublishedDraws(source, clean.shape)
    dps(den, measurement, operator, size, s, noise, (before, guidance), lambda step, x: states.append(x))
    return {
        "measurement_clean": clean,
        "measurement": measurement,
        "sample_before": torch.stack(before.states),
        "x": torch.stack(states),
        "pred_xstart": torch.stack(before.x0),
        "norm": torch.cat([residual for residual, _ in guidance.rows]),
    }
