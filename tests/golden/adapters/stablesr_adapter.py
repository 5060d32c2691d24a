"""StableSR: schedule, runs, aggregation, colours, and the released canvas."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from golden_cases import Case, adapter
from reference.stablesr import published_canvas
from stablesr_networks import Together, autoencoder, networks
from torch import Tensor, nn

from priorsr.methods.stablesr.color_fix import METHODS, blur, split_bands
from priorsr.methods.stablesr.levels import CHAIN, released_ddim, released_table, start
from priorsr.methods.stablesr.method import LATENT, StableSR, StableSRSettings, sample
from priorsr.methods.stablesr.prior import CONTEXT, LR, WEIGHTS, Reference, diffusion_prior, modulated
from priorsr.samplers.denoiser import Cond, Denoiser, Prediction
from priorsr.samplers.run import run
from priorsr.samplers.schedule import CLEAN, respaced
from priorsr.samplers.tiled import Tiled, grid, starts
from priorsr.samplers.transition import DDPM, Posterior

PUBLISHED = WEIGHTS["published"]


@adapter("stablesr", "schedule")
def stablesr_schedule(case: Case) -> dict[str, Tensor]:
    outputs = {"betas_1000": CHAIN.betas, "alphas_cumprod_1000": CHAIN.alphas_cumprod}
    for n in case.config["steps"]:
        kept = CHAIN.respace(n)
        abar = kept.alphas_cumprod
        tables = {name: getattr(kept, name) for name in ("betas", "alphas_cumprod", "posterior_variance")}
        tables |= {name: getattr(kept, name) for name in ("posterior_mean_coef1", "posterior_mean_coef2")}
        tables["timesteps"] = torch.tensor(kept.timesteps)
        tables["posterior_log_variance_clipped"] = kept.posterior_variance.clamp(min=1e-20).log()
        tables |= {
            "sqrt_recip_alphas_cumprod": abar.rsqrt(),
            "sqrt_recipm1_alphas_cumprod": (1 / abar - 1).sqrt(),
        }
        outputs |= {f"n{n}/{name}": table for name, table in tables.items()}
    outputs["start_q_sample_t999"] = start("lr", case.inputs["lr"], lambda shape: case.inputs["noise"])
    return outputs


class Analytic(nn.Module):
    """The network that the cases define by a formula, and what it answers in terms of eps or v."""

    def __init__(self, kernel: Tensor, target: str):
        super().__init__()
        self.kernel, self.target = kernel, target

    def forward(self, x: Tensor, t: Tensor, lr: Tensor) -> Tensor:
        a = CHAIN.alphas_cumprod[int(t[0])].item()
        x0 = 0.8 * lr + 0.4 * torch.tanh(F.conv2d(x, self.kernel, padding=1))
        eps = (x - math.sqrt(a) * x0) / math.sqrt(1 - a)
        return eps if self.target == "eps" else (eps - math.sqrt(1 - a) * x) / math.sqrt(a)


def analytic(case: Case) -> Denoiser:
    target = case.config.get("parameterization", "eps")
    return diffusion_prior(Analytic(case.inputs["kernel"], target), target)


def sampling(case: Case, **more) -> StableSRSettings:
    c = case.config
    tiles = (
        {"tile": c["tile"] * LATENT, "overlap": c["overlap"] * LATENT, "weights": "published"}
        if "tile" in c
        else {}
    )
    return StableSRSettings(steps=c["steps"], **tiles, **more)


class Trace:
    """States and predictions of a run by the released index, which counts down to 0."""

    def __init__(self, count: int):
        self.count, self.outputs = count, {}

    def __call__(self, step, x):
        index = self.count - 1 - step.i
        if step.i == 0:
            self.outputs["x_T"] = step.x
        self.outputs |= {f"x_after_index{index}": x, f"x0_at_index{index}": step.pred.x0}


@adapter("stablesr", "ddpm")
def stablesr_ddpm(case: Case) -> dict[str, Tensor]:
    c, noise, trace = case.config, case.noise(case.spec["noise"]["prefix"]), Trace(case.config["steps"])
    cond, hooks = Cond({LR: case.inputs["lr"]}), []
    if c["model"] == "networks":
        network, layers = networks(case)
        denoiser = modulated(diffusion_prior(network, c["parameterization"]), layers)
        cond = Cond(cond.spatial, {CONTEXT: case.inputs["context"]})
    else:
        denoiser = analytic(case)
    if "reference" in c:
        r = c["reference"]
        hooks = [Reference(case.inputs["reference"], r["lr"], r["step"], *r["range"], shared=True)]
    final = sample(denoiser, cond, sampling(case, start=c["start"]), noise, hooks, trace)
    return {**trace.outputs, "final": final}


@adapter("stablesr", "ddim")
def stablesr_ddim(case: Case) -> dict[str, Tensor]:
    c, noise, trace = case.config, case.noise(case.spec["noise"]["prefix"]), Trace(case.config["steps"])
    settings, cond = (
        sampling(case, sampler="ddim-released", eta=c["eta"], start="noise"),
        Cond({LR: case.inputs["lr"]}),
    )
    final = sample(analytic(case), cond, settings, noise, on_step=trace)
    tile = Tiled(analytic(case), settings.tile // LATENT, settings.overlap // LATENT, weights=PUBLISHED)
    last = tile(
        final, released_ddim(c["steps"])[-1], cond
    )  # the released loop asks once more, and changes nothing
    table = released_table(c["steps"])
    levels = [CHAIN.table[i] for i in table]
    abar = CHAIN.alphas_cumprod[table]
    return {
        **trace.outputs,
        "x_after_index0": final,
        "x0_at_index0": last.x0,
        "final": final,
        "network_timesteps": torch.tensor(respaced(len(CHAIN.table), c["steps"])),
        "alpha_table_timesteps": torch.tensor(table),
        "ddim_alphas": abar,
        "ddim_alphas_prev": torch.cat([abar[:1], abar[:-1]]),
        "ddim_sigmas": torch.tensor(
            [0.0, *(c["eta"] * math.sqrt(Posterior.between(b, a).variance) for a, b in pairwise(levels))]
        ),
    }


class Enough(Exception):
    """Ends a run after its first step, which it carries."""


def first_step(denoiser: Denoiser, x: Tensor, levels, cond: Cond):
    def stop(step, state):
        raise Enough(step)

    try:
        run(denoiser, x, levels, DDPM("small"), noise=torch.zeros, cond=cond, on_step=stop)
    except Enough as enough:
        return enough.args[0]


@adapter("stablesr", "cfg")
def stablesr_cfg(case: Case) -> dict[str, Tensor]:
    c = case.config
    network, layers = networks(case)
    cond = Cond({LR: case.inputs["lr"]}, {CONTEXT: case.inputs["null_context"]})
    outputs = {}
    for s in c["scales"]:
        denoiser = modulated(diffusion_prior(network), layers, case.inputs["negative_context"], s)
        step = first_step(denoiser, case.inputs["x"], CHAIN.respace(c["steps"]).levels(c["t_index"]), cond)
        outputs |= {f"eps_s{s}": step.pred.eps, f"x0_s{s}": step.pred.x0, f"mean_s{s}": step.mean}
    return outputs


@adapter("stablesr", "gaussian_weights")
def stablesr_gaussian_weights(case: Case) -> dict[str, Tensor]:
    return {f"w{w}_h{h}": PUBLISHED(h, w) for w, h in case.config["tiles"]}


@adapter("stablesr", "tile_grid")
def stablesr_tile_grid(case: Case) -> dict[str, Tensor]:
    layouts = {
        f"h{h}_w{w}_tile{tile}_overlap{o}": torch.tensor(grid(h, w, tile, o))
        for h, w, tile, o in case.config["layouts"]
    }
    axes = {
        f"pixel_starts_len{n}_size{size}_stride{by}": torch.tensor(starts(n, size, size - by))
        for n, size, by in case.config["pixel_axes"]
    }
    return {**layouts, **axes}


@adapter("stablesr", "aggregate")
def stablesr_aggregate(case: Case) -> dict[str, Tensor]:
    c, denoiser, cond = case.config, analytic(case), Cond({LR: case.inputs["lr"]})
    level = CHAIN.respace(c["steps"]).table[c["t_index"]]

    def smooth(x: Tensor, level, cond) -> Prediction:
        x0 = torch.tanh(F.conv2d(x, case.inputs["pixel_kernel"], padding=1))
        return Prediction(x0, x0[:, :0])

    pixels = Tiled(smooth, c["pixel_tile"], c["pixel_tile"] - c["pixel_stride"], weights=PUBLISHED)
    return {
        "eps": Tiled(denoiser, c["tile"], c["overlap"], weights=PUBLISHED)(case.inputs["x"], level, cond).eps,
        "eps_untiled": denoiser(case.inputs["x"], level, cond).eps,
        "pixel_aggregate": pixels(case.inputs["image"], CLEAN).x0,
    }


@adapter("stablesr", "color_fix")
def stablesr_color_fix(case: Case) -> dict[str, Tensor]:
    c, (target, source, other) = (
        case.config,
        (case.inputs[name] for name in ("target", "source", "source_other")),
    )
    high, low = split_bands(target, c["levels"])
    return {
        "adain": METHODS["adain"](target, source),
        "adain_other_size": METHODS["adain"](target, other),
        "wavelet": METHODS["wavelet"](target, source, c["levels"]),
        "target_high": high,
        "target_low": low,
        **{f"blur_r{radius}": blur(target, radius) for radius in c["radii"]},
    }


@adapter("stablesr", "pipeline")
@torch.no_grad()
def stablesr_pipeline(case: Case) -> dict[str, Tensor]:
    c = case.config
    network, layers = networks(case)
    vae, cfw = autoencoder(c["vae"]["ddconfig"])
    case.fill(Together(("", vae), ("decoder.", cfw)), "vq_model")
    model = StableSR(diffusion_prior(network), layers, vae, cfw)
    settings = StableSRSettings(
        steps=c["steps"],
        start="lr",
        fidelity=c["dec_w"],
        tile=c["input_size"],
        overlap=c["overlap"] * LATENT,
        weights="published",
        vae_tile=0,
    )
    noise = case.noise(case.spec["noise"]["prefix"])
    done = published_canvas(
        model, case.inputs["lr_image"], c["upscale"], case.inputs["context"], settings, noise
    )
    return {
        "init_latent": done.restored.lr,
        "x_T": done.x_T,
        "samples": done.restored.latent,
        "padded_size": torch.tensor(done.padded.shape[-2:]),
        **{f"image_{name}": image for name, image in done.images.items()},
    }
