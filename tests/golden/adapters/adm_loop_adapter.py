"""Whole runs of ADM priors: ancestral and implicit, free, guided by a classifier, and the guided
upsampler.
"""

from __future__ import annotations

import torch
from adm_diffusion_adapter import schedule
from adm_net_adapter import adm_network
from golden_cases import Case, adapter
from torch import Tensor

from priorsr.methods.priors.adm import ADMPrior
from priorsr.methods.visionrefine.guided import GuidedSettings, class_log_prob, guided_upsample
from priorsr.samplers.denoiser import Cond
from priorsr.samplers.guidance.classifier import ClassifierGuidance
from priorsr.samplers.hooks import ClipX0
from priorsr.samplers.run import run
from priorsr.samplers.schedule import CLEAN, DiscreteSchedule, Level
from priorsr.samplers.transition import DDIM, DDPM


class Trace:
    """States and predictions of a run, step by step."""

    def __init__(self):
        self.states, self.x0, self.levels = [], [], []

    def __call__(self, step, x):
        self.states.append(x)
        self.x0.append(step.pred.x0.detach())
        self.levels.append(step.cur)


@adapter("adm", "loop")
def adm_loop(case: Case) -> dict[str, Tensor]:
    c, trace, noise = case.config, Trace(), case.noise(case.config["noise_prefix"])
    alone = "classifier" not in c
    prior = ADMPrior(case.fill(adm_network(c["model"]), None if alone else "model"), schedule(c["diffusion"]))
    random = c["sampler"] == "p_sample"
    hooks = [ClipX0()]
    if not alone:
        classifier = case.fill(adm_network(c["classifier"]), "classifier")
        log_prob = class_log_prob(classifier, case.inputs["y"])
        hooks.append(ClassifierGuidance(log_prob, c["classifier_scale"], "mean" if random else "score"))
    flat = {"label": case.inputs["y"]} if c.get("model_takes_y") else {}
    spatial = {"low_res": case.inputs["low_res"]} if "low_res" in case.inputs else {}
    transition = DDPM() if random else DDIM(c["eta"])
    run(
        prior,
        noise(c["shape"]),
        prior.schedule.levels(),
        transition,
        hooks,
        noise,
        Cond(spatial, flat),
        trace,
    )
    return {"samples": torch.stack(trace.states), "pred_xstarts": torch.stack(trace.x0)}


@adapter("edm", "guided")
def edm_guided(case: Case) -> dict[str, Tensor]:
    c, trace, noise = case.config, Trace(), case.noise(case.config["prefix"])
    unet = case.fill(adm_network({"factory": "SuperResModel", "args": c["unet"]}), "unet")
    classifier = case.fill(
        adm_network({"factory": "EncoderUNetModel", "args": c["classifier"]}), "classifier"
    )
    prior = ADMPrior(unet, DiscreteSchedule.named(c["noise_schedule"], c["diffusion_steps"]))
    settings = GuidedSettings(
        "ddim" if c["ddim"] else "ddpm", c["timestep_respacing"], c["eta"], c["classifier_scale"]
    )
    low, labels, size = case.inputs["low_res"], torch.tensor(c["labels"]), (c["unet"]["image_size"],) * 2
    end = guided_upsample(prior, classifier, low, labels, size, settings, noise, on_step=trace)
    first, t = trace.states[0], torch.full((len(labels),), trace.levels[0].t)
    guidance = ClassifierGuidance(class_log_prob(classifier, labels), c["classifier_scale"])
    with torch.no_grad():
        output, logits = unet(first, t, label=labels, low_res=low), classifier(first, t)
    return {
        "x_trace": torch.stack(trace.states),
        "x0_trace": torch.stack(trace.x0),
        "uint8": ((end + 1) * 127.5).clamp(0, 255).to(torch.uint8),
        "model_timesteps": torch.tensor([level.t for level in trace.levels]),
        "unet_at_first": output,
        "logits_at_first": logits,
        "grad_at_first": guidance.gradient(first, Level(trace.levels[0].t, CLEAN.alpha, CLEAN.sigma)),
    }
