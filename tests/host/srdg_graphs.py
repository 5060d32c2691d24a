"""Graphs of SRDG and of attribute guidance."""

from __future__ import annotations

from graphs import custom_sampler, defaults, load, node, sampler, save, small

from priorsr.methods.srdg.attributes import load_attribute, read_attributes
from priorsr.methods.srdg.classifier_crop import WHOLE

SCALE, STEPS = 8.0, 4
SR, HAPPY, GENDER = "tiny_sr.safetensors", "tiny_happy.safetensors", "tiny_gender.safetensors"


def classifiers(*names, key=40):
    """Nodes that load a chain of classifiers, and the link to the last."""
    nodes = {}
    for i, name in enumerate(names):
        before = {"classifiers": [str(key + i - 1), 0]} if i else {}
        nodes[str(key + i)] = node("PriorSRLoadAttributeClassifier", classifier=name, attribute="", **before)
    return nodes, [str(key + len(names) - 1), 0]


def whole(definitions, *names, side=8, **given):
    nodes, link = classifiers(*names) if names else ({}, None)
    settings = {
        "image": ["2", 0],
        "prior": SR,
        "scale": SCALE,
        "preset": "custom",
        "steps": STEPS,
        "corrections": 1,
        "seed": 5,
        "classifier": "none",
    }
    linked = {"classifiers": link} if names else {}
    made = defaults(definitions, "PriorSRUpscaleSRDG", **settings | linked | given)
    return {
        "1": load(),
        "2": small(side=side),
        "3": made,
        "9": save(["3", 0], "srdg"),
        "16": node("PreviewAny", source=["3", 1]),
        **nodes,
    }


def parts(*names, prior="face64", transition="ddim", attributes="happy=1", size=(64, 64), **given):
    """Unconditional samples with a pull towards attributes."""
    nodes, link = classifiers(*names)
    settings = {
        "weights": "",
        "h": 500.0,
        "limit": 0.0,
        "first": 1.0,
        "last": 0.0,
        "view": "exact",
        "form": "score",
        **given,
    }
    shipped = node("PriorSRLoadShippedPrior", prior=prior, clip=True)
    return {
        "1": load(),
        "2": small(side=64),
        "3": shipped,
        "4": node("PriorSRSigmasByRespacing", model=["3", 0], respacing=str(STEPS), start=-1),
        "5": node(
            "ImageScale",
            image=["1", 0],
            upscale_method="area",
            width=size[1],
            height=size[0],
            crop="disabled",
        ),
        "6": node("PriorSRImageToPixelLatent", model=["3", 0], image=["5", 0]),
        "7": node("PriorSRGuideAttributes", classifiers=link, attributes=attributes, **settings),
        "8": sampler(transition, ["7", 0]),
        "10": node("BasicGuider", model=["3", 0], conditioning=["3", 1]),
        "11": node("RandomNoise", noise_seed=5),
        "12": custom_sampler(noise="11", guider="10", sampler="8", sigmas="4"),
        "13": node("PriorSRPixelLatentToImage", latent=["12", 0], like=["5", 0]),
        "9": save(["13", 0], "attributes"),
        **nodes,
    }


def probability(host, picture, label=1):
    """Of `happy`, by the classifier that guides."""
    (reading,) = read_attributes(
        [load_attribute(str(host.base / "models" / "priorsr" / HAPPY))], picture.pixels, view=WHOLE
    )
    return float(reading.probabilities[0, label])
