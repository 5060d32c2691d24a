"""Graphs around faces, and the scenes that they look at."""

from __future__ import annotations

import torch
from graphs import defaults, load, node, save

from priorsr.methods.imaging.images import read

LEFT, TOP, SIDE = 50, 30, 56
FEW = {
    "method": "diffsr",
    "method.prior": "face64",
    "method.level": 30.0,
    "method.steps": 2,
    "method.aim": "fidelity",
    "method.consistency": 1.0,
}
SRDG = {
    "method.prior": "tiny_sr.safetensors",
    "method.classifier": "none",
    "method.attributes": "",
    "method.weights": "",
    "method.srdg_preset": "sde-sr",
    "method.srdg_steps": 2,
    "method.h": 50.0,
    "method.view": "exact",
}


def found(definitions, name="scene.png", **settings):
    return {
        "1": load(name),
        "2": defaults(definitions, "PriorSRDetectFaces", image=["1", 0], detector="mtcnn", **settings),
    }


def mask(definitions, kind, **settings):
    inputs = {"image": ["1", 0], "faces": ["2", 0], **kind, **settings}
    return {
        "3": defaults(definitions, "PriorSRFaceMask", **inputs),
        "4": node("MaskToImage", mask=["3", 0]),
        "9": save(["4", 0], "mask"),
    }


def restored(definitions, kind, name="scene.png", **settings):
    chosen = {"detector": "mtcnn", "parser": "parsing_parsenet", "frame": "auto", "codeformer": "codeformer"}
    chosen["clean"] = False  # what lies beside the faces stays as it is
    made = defaults(
        definitions,
        kind,
        image=["1", 0],
        **{k: v for k, v in chosen.items() if k in inputs_of(definitions, kind)} | settings,
    )
    return {
        "1": load(name),
        "5": made,
        "6": node("PreviewAny", source=["5", 1]),
        "9": save(["5", 0], "faces"),
    }


def inputs_of(definitions, kind):
    return {name for group in definitions[kind]["input"].values() for name in group}


def report(host, graph):
    return host.run(graph)["6"]["text"][0]


def run(host, graph):
    """Picture and report of one run: what the server still holds it would not tell again."""
    outputs = host.run(graph)
    return read(host.image(outputs["9"]["images"][0])).pixels, outputs["6"]["text"][0]


def outside(pixels):
    """What is further from the portrait than a face's square reaches."""
    return torch.cat([pixels[..., :8, :].flatten(), pixels[..., -8:].flatten()])
