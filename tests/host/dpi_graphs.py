"""Graphs of DPI: the one node, and the same of its parts."""

from __future__ import annotations

from graphs import custom_sampler, defaults, load, node, sampler, save, small

SCALE, STEPS = 4.0, 4
TINY = "tiny_corrector.safetensors"
STRONG = {"preset": "custom", "preset.tau": 600.0, "preset.s": 0.5, "preset.omega": 900.0}
ANCESTRAL, IMPLICIT = ({"preset.sampler": name, "preset.eta": 0.0} for name in ("ddpm", "ddim"))


def conditions(chosen=TINY, image=("2", 0), model=("3", 0), strength=STRONG, **given):
    """Guide by DPI Conditions and what loads its corrector."""
    settings = {"scale": SCALE, "seed": 5, "k": 2, "refine": True, "weighted": True, **strength, **given}
    linked = {"corrector": ["14", 0]} if chosen else {}
    loader = {"14": node("PriorSRLoadCorrector", corrector=chosen)} if chosen else {}
    return {
        **loader,
        "7": node("PriorSRGuideDPI", model=list(model), image=list(image), **settings, **linked),
    }


def parts(side=16, width=None, transition="ddim", **conditioned):
    """The same as the one node, from native parts."""
    larger = round(side * SCALE), round((width or side) * SCALE)
    return {
        "1": load(),
        "2": small(side=side, width=width),
        "3": node("PriorSRLoadShippedPrior", prior="face64", clip=True),
        "4": node("PriorSRSigmasByRespacing", model=["3", 0], respacing=str(STEPS), start=-1),
        "5": small(("2", 0), *larger),
        "6": node("PriorSRImageToPixelLatent", model=["15", 0], image=["5", 0]),
        "8": sampler(transition, ["7", 0]),
        "10": node("BasicGuider", model=["15", 0], conditioning=["3", 1]),
        "11": node("RandomNoise", noise_seed=5),
        "12": custom_sampler(noise="11", guider="10", sampler="8", sigmas="4"),
        "13": node("PriorSRPixelLatentToImage", latent=["12", 0], like=["5", 0]),
        "15": node(
            "PriorSRTiledDenoiser",
            model=["3", 0],
            tiles="manual",
            tile_batch=1,
            **{"tiles.tile": 64, "tiles.overlap": 32},
        ),
        "9": save(["13", 0], "dpi_parts"),
        **conditions(**conditioned),
    }


def whole(definitions, side=16, width=None, **given):
    settings = {
        "image": ["2", 0],
        "scale": SCALE,
        "prior": "face64",
        "corrector": TINY,
        "steps": STEPS,
        "seed": 5,
        **STRONG,
        **ANCESTRAL,
        **given,
    }
    node_ = defaults(definitions, "PriorSRUpscaleDPI", **settings)
    return {
        "1": load(),
        "2": small(side=side, width=width),
        "3": node_,
        "9": save(["3", 0], "dpi"),
        "16": node("PreviewAny", source=["3", 1]),
    }
