"""DPI: its masks, corrector, condition synthesis, single steps, whole runs and training loss."""

from __future__ import annotations

import math
from contextlib import suppress

import torch
from adm_diffusion_adapter import schedule
from adm_net_adapter import adm_config, adm_network
from golden_cases import Case, adapter
from reference.dpi import released_pair
from torch import Tensor

from priorsr.methods.dpi.conditions import RELEASED, Conditions
from priorsr.methods.dpi.corrector import Corrector
from priorsr.methods.dpi.masks import SENTINEL, adaptive_mask, chances, fixed_mask, grey, laplacian, sparse
from priorsr.methods.dpi.objective import released_input, released_loss
from priorsr.methods.metrics.fidelity import psnr, ssim
from priorsr.methods.nets.corrector import CorrectorUNet
from priorsr.methods.priors.adm import ADMPrior
from priorsr.samplers.hooks import ClipX0
from priorsr.samplers.run import run
from priorsr.samplers.transition import DDIM, DDPM


def corrector_network(case: Case, part: str | None = None) -> CorrectorUNet:
    return case.fill(CorrectorUNet(adm_config(case.config["corrector"])), part)


def uniform(case: Case):
    """The case's uniform draws, which its noise source makes with zero mean and unit variance."""
    source = case.noise(case.config["uniform_prefix"])
    return lambda shape: (source(shape, torch.float64) / math.sqrt(3) + 1) / 2


@adapter("dpi", "mask")
def dpi_mask(case: Case) -> dict[str, Tensor]:
    base, k = case.inputs["sr"], case.config["k"]
    y_T = sparse(base, k, SENTINEL)
    return {"y_T": y_T, "m_f": fixed_mask(tuple(y_T.shape[-2:]), k).expand_as(y_T)}


@adapter("dpi", "racm")
def dpi_racm(case: Case) -> dict[str, Tensor]:
    s, k = case.config["s"], case.config.get("k", 2)
    y, joint = case.inputs["y"][..., ::k, ::k], RELEASED["ddpm"].joint
    mask = adaptive_mask(y, s, uniform(case), joint)
    return {
        "gray": grey(y),
        "edge": laplacian(grey(y)).abs(),
        "p": chances(y, 1.0, joint),
        "p_pow_s": chances(y, s, joint),
        "m_a": sparse(mask.expand_as(y), k),
    }


@adapter("dpi", "lr")
def dpi_lr(case: Case) -> dict[str, Tensor]:
    c = case.config
    picture = case.inputs["hr"].to(torch.uint8).permute(2, 0, 1)
    high, base = released_pair(picture, c["image_size"], c["downsampling"], c["k"])
    return {"img_H": high.permute(1, 2, 0), "img_L": base}


@adapter("dpi", "crt")
@torch.no_grad()
def dpi_crt(case: Case) -> dict[str, Tensor]:
    return {"out": corrector_network(case)(*(case.inputs[name] for name in ("x", "t", "y")))}


class Enough(Exception):
    """Ends a run of which the case has the first steps only: how many are left below them counts."""


class Trace:
    """States, predictions, conditions and adaptive masks of a run, step by step, of `count` steps at most."""

    def __init__(self, conditions: Conditions, count: int | None):
        self.conditions, self.count, self.x, self.x0, self.y, self.masks = conditions, count, [], [], [], []

    def __call__(self, step, x):
        self.x.append(x)
        self.x0.append(step.pred.x0)
        self.y.append(sparse(self.conditions.y, self.conditions.k, SENTINEL))
        if self.conditions.mask is not None:
            self.masks.append(self.conditions.mask)
        if len(self.x) == self.count:
            raise Enough


class Published:
    """A case's prior, conditions and transition."""

    def __init__(self, case: Case, low: Tensor, start: Tensor | None = None):
        c = case.config
        self.prior = ADMPrior(case.fill(adm_network(c["model"]), "model"), schedule(c["diffusion"]))
        sampler = {"p_sample": "ddpm", "ddim_sample": "ddim"}[c["sampler"]]
        self.conditions = Conditions(
            low,
            Corrector(corrector_network(case, "corrector")),
            c["tau"],
            c["s"],
            c["omega"],
            c.get("k", 2),
            convention=RELEASED[sampler],
            uniform=uniform(case),
            start=start,
        )
        self.transition = DDPM() if sampler == "ddpm" else DDIM(c["eta"])

    def run(self, x: Tensor, start: int | None, noise, count: int | None = None) -> Trace:
        trace, levels = Trace(self.conditions, count), self.prior.schedule.levels(start)
        with suppress(Enough):
            run(self.prior, x, levels, self.transition, [self.conditions, ClipX0()], noise, on_step=trace)
        return trace


@adapter("dpi", "steps")
def dpi_steps(case: Case) -> dict[str, Tensor]:
    published = Published(case, case.inputs["sr0"], case.inputs["sr"])
    noise = case.noise(case.config["noise_prefix"])
    x = case.inputs["x"]
    traces = [
        published.run(x, t, lambda shape, drawn=noise(x.shape): drawn, 1) for t in case.config["t"]
    ]  # one draw a row, used or not
    x, x0, y = (
        torch.cat([torch.stack(getattr(trace, name)) for trace in traces]) for name in ("x", "x0", "y")
    )
    return {"x_next": x, "pred_xstart": x0, "y_next": y}


@adapter("dpi", "loop")
def dpi_loop(case: Case) -> dict[str, Tensor]:
    c, noise = case.config, case.noise(case.config["noise_prefix"])
    published = Published(case, case.inputs["sr"])
    trace = published.run(
        noise(c["shape"]), c["pre_t"] - 1 if "pre_t" in c else None, noise, c.get("stop_after")
    )
    keep = c.get("keep", range(len(trace.x)))
    outputs = {
        name: torch.stack([values[i] for i in keep])
        for name, values in (("x", trace.x), ("y", trace.y), ("pred_xstart", trace.x0))
    }
    masks = {"m_a": torch.stack(trace.masks).float()} if trace.masks else {}
    return {**outputs, **masks, "final": trace.x[-1]}


@adapter("dpi", "train")
def dpi_train(case: Case) -> dict[str, Tensor]:
    network, noise = corrector_network(case), case.noise(case.config["noise_prefix"])
    truth, base, t = (case.inputs[name] for name in ("hr", "lr", "t"))
    first, second = noise(truth.shape), noise(truth.shape)
    loss = released_loss(network, truth, base, t, first, second)
    loss.mean().backward()
    seen, y_T = released_input(base, t, first, second)
    gradients = {f"grad_{name}": p.grad for name, p in network.named_parameters()}
    return {"loss": loss.detach(), "corrector_input": seen, "corrector_condition": y_T, **gradients}


@adapter("dpi", "metrics")
def dpi_metrics(case: Case) -> dict[str, Tensor]:
    a, b = (case.inputs[name].permute(2, 0, 1)[None] for name in ("a", "b"))
    return {"psnr": psnr(a, b, 255), "ssim": ssim(a, b, 255)}
