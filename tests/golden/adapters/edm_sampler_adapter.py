"""EDM's levels, its sampler, and posterior sampling on it."""

from __future__ import annotations

import math

import torch
from golden_cases import Case, adapter
from torch import Tensor

from priorsr.methods.dps.edm_dps import EDMDPSSettings, edm_dps, guide, pixels
from priorsr.methods.imaging.operators import Reduction
from priorsr.methods.nets.edm_precond import build_edm
from priorsr.methods.priors.edm import EDMPrior
from priorsr.samplers.karras import Heun
from priorsr.samplers.run import Hook, run
from priorsr.samplers.schedule import c_noise, karras_sigmas


@adapter("edm", "schedule")
def edm_schedule(case: Case) -> dict[str, Tensor]:
    c = case.config
    smallest, largest = (
        max(c["sigma_min"], c["net_sigma_min"]),
        min(c["sigma_max"], c["net_sigma_max"] or math.inf),
    )
    return {
        f"t_{n}": torch.tensor(karras_sigmas(n, smallest, largest, c["rho"]), dtype=torch.float64)
        for n in c["num_steps"]
    }


@adapter("edm", "sampler")
def edm_sampler(case: Case) -> dict[str, Tensor]:
    c, s, trace = case.config, case.config["sampler"], []
    prior, noise = EDMPrior(case.fill(build_edm(c["net"]))), case.noise(c["prefix"])
    levels = prior.levels(s["num_steps"], s["sigma_min"], s["sigma_max"], s["rho"])
    start = (
        noise((c["batch"], c["net"]["img_channels"], *[c["net"]["img_resolution"]] * 2)).double()
        * levels[0].sigma
    )
    churn = Heun(s["S_churn"], s["S_min"], s["S_max"], s["S_noise"], c_noise)
    run(prior, start, levels, churn, noise=noise, on_step=lambda step, x: trace.append(x))
    return {"x_trace": torch.stack(trace)}


class Recorder(Hook):
    """Asks the guidance for what it is about to do."""

    needs_grad = True

    def __init__(self, guidance):
        self.guidance, self.rows = guidance, []

    def state(self, step, x):
        self.rows.append((pixels(step.pred.x0).detach(), *self.guidance.gradient(step)))
        return x


@adapter("edm", "edm_dps")
def edm_dps_case(case: Case) -> dict[str, Tensor]:
    c, size = case.config, (case.config["net"]["img_resolution"],) * 2
    prior, noise, trace = EDMPrior(case.fill(build_edm(c["net"]))), case.noise(c["prefix"]), []
    operator = Reduction(size, c["scale"])
    image = case.inputs["image"].clamp(0, 255).round()[None]
    y = operator(image).expand(c["batch"], -1, -1, -1)
    settings = EDMDPSSettings(
        c["num_steps"],
        c["zeta"],
        "inverse",
        True,
        c["sigma_min"],
        c["sigma_max"],
        c["rho"],
        c["S_churn"],
        c["S_min"],
        c["S_max"],
        c["S_noise"],
    )
    recorder = Recorder(guide(y, operator, settings))
    end = edm_dps(prior, y, operator, size, settings, noise, (recorder,), lambda step, x: trace.append(x))
    x0, norm, gradient = (torch.stack(column) for column in zip(*recorder.rows, strict=True))
    levels = prior.levels(settings.steps, settings.sigma_min, settings.sigma_max, settings.rho)
    return {
        "measurement": operator(image),
        "t_steps": torch.tensor([level.sigma for level in levels], dtype=torch.float64),
        "x_trace": torch.stack(trace),
        "x0_pixels": x0,
        "norm": norm.flatten(),
        "norm_grad": gradient,
        "uint8": torch.cat(list(pixels(end).to(torch.uint8)), 2).permute(1, 2, 0),
    }
