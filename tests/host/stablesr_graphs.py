"""Graphs of StableSR on the tiny checkpoint."""

from __future__ import annotations

from zlib import crc32

import torch
from graphs import custom_sampler, defaults, load, node, save

BASE, LAYERS, OTHER, WRAP = (
    "v2-1_512-ema-pruned.safetensors",
    "stablesr_000117.ckpt",
    "stablesr_turbo.ckpt",
    "vqgan_cfw_00011.ckpt",
)
STEPS, SEED = 4, 5
SIDES = (128, 96)  # of the encoded picture, width and height


def prompt(text=""):
    return node("ProbePrompt", text=text, clip=["20", 1])


def sd(**more):
    """The checkpoint, prompts, and a picture enlarged and encoded."""
    width, height = SIDES
    return {
        "20": node("ProbeStableDiffusion", ckpt_name=BASE),
        "21": prompt("sharp"),
        "22": prompt("blurry"),
        "1": load(),
        "2": node(
            "ImageScale",
            image=["1", 0],
            upscale_method="bicubic",
            width=width,
            height=height,
            crop="disabled",
        ),
        "3": node("VAEEncode", pixels=["2", 0], vae=["20", 2]),
        "23": node("PriorSRLoadStableSR", stablesr=LAYERS),
        "24": applied(),
        **more,
    }


def parts(
    chosen, model="24", cfg=1.0, start="noise", steps=STEPS, prefix="stablesr", latent_image=("3", 0), **more
):
    """StableSR as published, from parts; the latents are saved as they are."""
    return sd(
        **{
            "7": node("PriorSRSigmasByRespacing", model=[model, 0], respacing=str(steps), start=-1),
            "8": node("CFGGuider", model=[model, 0], positive=["21", 0], negative=["22", 0], cfg=cfg),
            "10": node("PriorSRStableSRStart", model=[model, 0], sigmas=["7", 0], start=start, seed=SEED),
            "11": chosen,
            "12": custom_sampler(latent_image=latent_image),
            "9": node("SaveLatent", samples=["12", 0], filename_prefix=prefix),
        }
        | more
    )


def ksampler(
    name="euler",
    scheduler="normal",
    model="24",
    steps=3,
    cfg=2.0,
    latent_image=("3", 0),
    prefix="native",
    seed=SEED,
    **more,
):
    run = {
        "seed": seed,
        "steps": steps,
        "cfg": cfg,
        "sampler_name": name,
        "scheduler": scheduler,
        "denoise": 1.0,
    }
    conditions = {"positive": ["21", 0], "negative": ["22", 0], "latent_image": list(latent_image)}
    return sd(
        **{
            "12": node("KSampler", model=[model, 0], **run, **conditions),
            "9": node("SaveLatent", samples=["12", 0], filename_prefix=prefix),
        }
        | more
    )


def tiles(model="24", tile=8, overlap=4, batch=1, weights="symmetric"):
    manual = {"tiles": "manual", "tiles.tile": tile, "tiles.overlap": overlap}
    return node("PriorSRTiledDenoiser", model=[model, 0], tile_batch=batch, weights=weights, **manual)


def decoded(image=("2", 0), tile=64, w=0.5, samples=("3", 0), **more):
    coder = {"fidelity": w, "vae_tile": tile, "vae_overlap": 32}
    made = node(
        "PriorSRDecodeCFW", latent=list(samples), vae=["20", 2], cfw=["26", 0], image=list(image), **coder
    )
    graph = sd(**{"26": node("PriorSRLoadCFW", cfw=WRAP), "13": made, "9": save(["13", 0], "cfw")} | more)
    return {key: value for key, value in graph.items() if key not in ("21", "22", "23", "24")}


def one_node(definitions, tile=64, wrap=True, image=("1", 0), scale=1.25, **changes):
    made = defaults(
        definitions,
        "PriorSRUpscaleStableSR",
        image=list(image),
        model=["20", 0],
        positive=["21", 0],
        negative=["22", 0],
        vae=["20", 2],
        stablesr=["23", 0],
        seed=SEED,
        steps=STEPS,
        scale=scale,
        tiles="manual",
        vae_tile=64,
        vae_overlap=32,
        **{"tiles.tile": tile, "tiles.overlap": tile // 2, "tiles.tile_batch": 2},
        **({"cfw": ["26", 0]} if wrap else {}),
    )
    made["inputs"] |= changes
    graph = sd(**{"26": node("PriorSRLoadCFW", cfw=WRAP), "13": made, "9": save(["13", 0], "whole")})
    return {key: value for key, value in graph.items() if key not in ("2", "3", "24")}


def applied(model="20", **more):
    return node("PriorSRApplyStableSR", model=[model, 0], stablesr=["23", 0], **more)


def empty(width, height, count=1):
    return {
        "6": node("EmptyLatentImage", width=width, height=height, batch_size=count),
        "24": applied(latent=["6", 0]),
    }


def tokens(text):
    return torch.randn(1, 7, 24, generator=torch.Generator().manual_seed(crc32(text.encode()))) * 0.3


def close(a, b, limit=1e-5):
    assert a.shape == b.shape
    worst = (a - b).abs().max() / b.abs().max()
    assert worst <= limit, worst
    return float(worst)


def far(a, b):
    assert (a - b).abs().max() > 1e-2 * b.abs().max()
