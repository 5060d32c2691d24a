"""Graphs in the form that the server runs, and what they leave."""

from __future__ import annotations

import json
import urllib.error

from safetensors.torch import load_file
from torch import Tensor

from priorsr.methods.graph.definitions import from_object_info
from priorsr.methods.graph.saved import convert
from priorsr.methods.imaging.images import Picture, read
from priorsr.methods.weights import SHIPPED

STAND_INS = {
    "srdg_face64": "tiny_sr.safetensors",
    "happy64": "tiny_happy.safetensors",
    "edm-ffhq-64x64-uncond-vp.pkl": "tiny_edm.safetensors",
}  # for weights that do not come along


def stand_ins(inputs: dict) -> dict:
    """Files of random weights in place of those that the inputs of a node name and the package lacks."""
    named = {key: value for key, value in inputs.items() if isinstance(value, str) and value in STAND_INS}
    return {
        key: STAND_INS[value]
        for key, value in named.items()
        if not (SHIPPED / f"{value}.safetensors").is_file()
    }


def to_graph(workflow: dict, info: dict) -> dict:
    """The graph of a saved workflow, by what the server says of its nodes."""
    return convert(workflow, from_object_info(info))


def node(kind, /, **inputs):
    return {"class_type": kind, "inputs": inputs}


def load(name="example.png"):
    return node("LoadImage", image=name)


def save(image, prefix):
    return node("SaveImage", images=image, filename_prefix=prefix)


def result(host, graph, key="9") -> Picture:
    return read(host.image(host.run(graph)[key]["images"][0]))


def latent(host, graph, key="9") -> Tensor:
    return saved(host, host.run(graph)[key])


def saved(host, output) -> Tensor:
    """What a SaveLatent node wrote."""
    return load_file(host.base / "output" / output["latents"][0]["filename"])["latent_tensor"]


def failure(host, graph) -> str:
    """The message of a graph that must fail, in validation or when it runs."""
    try:
        prompt = host.start(graph)
    except urllib.error.HTTPError as refused:
        nodes = json.loads(refused.read())["node_errors"].values()
        return "; ".join(f"{e['message']} {e['details']}" for one in nodes for e in one["errors"])
    entry = host.wait(prompt)
    assert entry["status"]["status_str"] == "error", "it should have failed"
    return host.error(entry)


def defaults(definitions, name, **given):
    """A node with every widget at its default but the given ones."""
    values = {}
    for specs in definitions[name]["input"].values():
        values |= {key: spec[1]["default"] for key, spec in specs.items() if "default" in spec[1]}
    return node(name, **{**values, **given})


def custom_sampler(noise="10", guider="8", sampler="11", sigmas="7", latent_image=("6", 0)):
    """SamplerCustomAdvanced, on nodes by their keys."""
    linked = {"noise": noise, "guider": guider, "sampler": sampler, "sigmas": sigmas}
    inputs = {name: [key, 0] for name, key in linked.items()}
    return node("SamplerCustomAdvanced", **inputs, latent_image=list(latent_image))


def sampler(transition="ddim", guidance=None, **settings):
    chosen = {"ddim": {"eta": 0.0}, "ddpm": {"variance": "small"}, "heun": {"churn": 0.0}}.get(
        transition, {}
    ) | settings
    nested = {f"transition.{key}": value for key, value in chosen.items()}
    return node(
        "PriorSRSampler", transition=transition, **nested, **({"guidance": guidance} if guidance else {})
    )


def prior(name="tiny_adm.safetensors", clip=True, target="auto"):
    return node("PriorSRLoadPixelPrior", prior=name, clip=clip, schedule="auto", train_steps=0, target=target)


def pixels(sampler, size=(16, 16), model="3", prefix="pixels", conditioning=("3", 1), seed=5, **more):
    """From pure noise to a picture through native nodes; `more` holds further nodes, and "3" where the prior
    is another.
    """
    return {
        "3": prior(),
        "4": node("VAELoader", vae_name="pixel_space"),
        "6": node("EmptyLatentImage", width=size[1] * 8, height=size[0] * 8, batch_size=1),
        "7": node("PriorSRSigmasByRespacing", model=["3", 0], respacing="6", start=-1),
        "8": node("BasicGuider", model=[model, 0], conditioning=list(conditioning)),
        "10": node("RandomNoise", noise_seed=seed),
        "11": sampler,
        "12": custom_sampler(),
        "13": node("VAEDecode", samples=["12", 0], vae=["4", 0]),
        "9": save(["13", 0], prefix),
        **more,
    }


def latents(
    sampler, kind="unet", conditions="", side=16, tiled=None, batch=1, model="20", prefix="latents", **more
):
    """The same on a latent MODEL with CFG, the latents saved as they are; `tiled` settings put a Tiled
    Denoiser between.
    """
    tiles = {} if tiled is None else {"21": node("PriorSRTiledDenoiser", model=[model, 0], **tiled)}
    return {
        "20": node("ProbeModel", kind=kind, conditions=conditions, side=side),
        **tiles,
        "6": node("EmptyLatentImage", width=side * 8, height=side * 8, batch_size=batch),
        "7": node("BasicScheduler", model=["20", 0], scheduler="normal", steps=5, denoise=1.0),
        "8": node(
            "CFGGuider", model=["21" if tiles else model, 0], positive=["20", 1], negative=["20", 2], cfg=3.0
        ),
        "10": node("RandomNoise", noise_seed=5),
        "11": sampler,
        "12": custom_sampler(),
        "9": node("SaveLatent", samples=["12", 0], filename_prefix=prefix),
        **more,
    }


def classifier(name="tiny_classifier.safetensors"):
    """Of noisy pictures, for "30", where `toward` looks for it."""
    return node("PriorSRLoadNoiseClassifier", classifier=name, schedule="auto", train_steps=0)


def toward(label, scale=4.0, form="score", **more):
    return node("PriorSRGuideClassifier", classifier=["30", 0], label=label, scale=scale, form=form, **more)


def resized(to, image=("1", 0), method="bicubic", **choice):
    """Resize Image to a scale, size or multiple."""
    nested = {f"to.{key}": value for key, value in choice.items()}
    settings = {"method": method, "antialias": method != "nearest", "matlab_border": False}
    return node("PriorSRResize", image=list(image), to=to, **nested, **settings)


def small(image=("1", 0), side=16, width=None):
    return resized("size", image, width=width or side, height=side)


def upscale(image, scale=2.0, **changes):
    defaults = {
        "weights": "shipped",
        "channels": "luma",
        "border": "replicate",
        "space": "bt601",
        "tile": 256,
        "half": False,
    }
    return node("PriorSRUpscaleSRCNN", image=image, scale=scale, **{**defaults, **changes})


def consistency(image, low):
    """A node that tells how well a picture agrees with the small one that it was made from."""
    given = {"channels": "rgb", "border": 0, "when_sizes_differ": "error"}
    return node("PriorSRImageQuality", image=image, reference=image, low_resolution=low, **given)


def agreement(outputs, key="14"):
    """What it told, in dB."""
    return float(outputs[key]["text"][0].split("consistency ")[1].split(" ")[0])
