"""The Gaussian diffusion of ADM: tables and single steps."""

from __future__ import annotations

import torch
from golden_cases import Case, adapter
from torch import Tensor

from priorsr.methods.priors.adm import ADMPrior
from priorsr.samplers.hooks import ClipX0
from priorsr.samplers.schedule import DiscreteSchedule
from priorsr.samplers.transition import DDPM


def schedule(config: dict) -> DiscreteSchedule:
    table = DiscreteSchedule.named(config["noise_schedule"], config["steps"])
    if config.get("rescale_timesteps"):
        table = table.rescale()
    return table.respace(config["timestep_respacing"])


def variance(config: dict) -> str:
    return "learned" if config["learn_sigma"] else "small" if config.get("sigma_small") else "large"


@adapter("adm", "schedule")
def adm_schedule(case: Case) -> dict[str, Tensor]:
    table = schedule(case.config["diffusion"])
    abar = table.alphas_cumprod
    outputs = {name: getattr(table, name) for name in case.spec["outputs"] if hasattr(table, name)}
    return {
        **outputs,
        "sqrt_recip_alphas_cumprod": abar.rsqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / abar - 1).sqrt(),
        "timestep_map": torch.tensor(table.timesteps),
    }


@adapter("adm", "p_mean_variance")
def adm_p_mean_variance(case: Case) -> dict[str, Tensor]:
    config = case.config["diffusion"]
    table = schedule(config)
    prior = ADMPrior(torch.nn.Identity(), table, "x0" if config.get("predict_xstart") else "eps")
    hooks = [ClipX0()] if case.config["clip_denoised"] else []
    rows = []
    for x, output, t in zip(
        case.inputs["x"], case.inputs["model_output"], case.inputs["t"].tolist(), strict=True
    ):
        levels = table.levels(max(t, 1))  # the last step borrows the variance of the one before

        def predict(x, level, output=output):
            pred = prior.interpret(output[None], x, level)
            for hook in hooks:
                pred = hook.predict(x, level, pred)
            return pred

        step = DDPM(variance(config)).begin(levels)(predict, x[None], len(levels) - 2 - t, torch.zeros)
        rows.append(
            (
                step.mean[0],
                torch.as_tensor(step.variance).expand_as(step.mean)[0],
                step.pred.x0[0],
                torch.tensor(step.cur.t),
            )
        )
    mean, var, x0, network_timesteps = (torch.stack(column) for column in zip(*rows, strict=True))
    small = variance(config) == "small"  # whose table of logarithms is clipped where the variance itself is 0
    log_variance = (
        table.posterior_log_variance_clipped[case.inputs["t"]].view(-1, 1, 1, 1).expand_as(mean)
        if small
        else var.log()
    )
    return {
        "mean": mean,
        "variance": var,
        "log_variance": log_variance,
        "pred_xstart": x0,
        "network_timesteps": network_timesteps,
    }
