"""Graphs of one node as it is dropped: its defaults, its obvious neighbours by the types of its sockets, and
what becomes of its outputs; and what a picture that comes out must be like.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from priorsr.methods.graph.definitions import Definitions, defaults, is_widget
from priorsr.methods.imaging.resize import resize

OURS = "PriorSR"
ALIKE = 0.7  # correlation of luma
Link = list  # a node's key and the number of its output
PROVIDERS = {  # of the host's types; for ours the first node that makes one
    "IMAGE": ("PriorSRSamplePicture", 0),
    "MODEL": ("PriorSRLoadShippedPrior", 0),
    "CONDITIONING": ("PriorSRLoadShippedPrior", 1),
    "SIGMAS": ("PriorSRRecoverableField", 0),
    "SAMPLER": ("PriorSRSampler", 0),
    "LATENT": ("PriorSRImageToPixelLatent", 0),
    "MASK": ("PriorSRFaceMask", 0),
    "NOISE": ("RandomNoise", 0),
    "GUIDER": ("BasicGuider", 0),
}
STABLE_DIFFUSION = PROVIDERS | {  # where a node asks for a VAE or for StableSR's layers
    "MODEL": ("ProbeStableDiffusion", 0),
    "CLIP": ("ProbeStableDiffusion", 1),
    "VAE": ("ProbeStableDiffusion", 2),
    "CONDITIONING": ("ProbePrompt", 0),
    "SIGMAS": ("PriorSRSigmasByRespacing", 0),
    "LATENT": ("VAEEncode", 0),
}
LATENT_TYPES = {"VAE", "PRIORSR_STABLESR", "PRIORSR_CFW"}
NEIGHBOURS = {  # of single sockets
    ("PriorSRPasteFaces", "restored"): ("PriorSRCropFaces", 0),
    ("PriorSRImageToPixelLatent", "image"): ("PriorSRUpscaleBicubic", 0),
    ("PriorSRPixelLatentToImage", "like"): ("PriorSRUpscaleBicubic", 0),
    ("VAEEncode", "pixels"): ("PriorSRUpscaleBicubic", 0),
    ("PriorSRDecodeCFW", "image"): ("PriorSRUpscaleBicubic", 0),
    ("PriorSRGuideClassifier", "model"): ("PriorSRLoadPixelPrior", 0),
}
RUN = {"MODEL": "model", "CONDITIONING": "conditioning", "SIGMAS": "sigmas", "SAMPLER": "sampler"}
RUN |= {"PRIORSR_GUIDANCE": "guidance", "NOISE": "noise", "GUIDER": "guider"}
PORTRAIT = {"picture": "portrait", "damage": "none"}
SMALL = {"picture": "tight face", "damage": "small x8"}  # 16 pixels, 64 once they are enlarged
FACES = ("Faces", "Face", "CodeFormer")
ASKED = {  # what no default can say, or files of which several fit
    "PriorSRGuideAttributes": {"attributes": "happy=1"},
    "PriorSRGuideClassifier": {"label": 1},
    "PriorSRLoadAttributeClassifier": {"classifier": "happy64"},
    "PriorSRLoadNoiseClassifier": {"classifier": "tiny_classifier.safetensors"},
    "PriorSRLoadPixelPrior": {"prior": "tiny_adm.safetensors"},
    "PriorSRUpscaleDPS": {"prior": "tiny_adm.safetensors", "respacing": "10"},
    "PriorSRUpscaleEDMDPS": {"prior": "tiny_edm.safetensors", "steps": 4},
    "PriorSRUpscaleGuided": {"prior": "tiny_upsampler.safetensors", "respacing": "10", "label": 0},
    "ProbePrompt": {"text": ""},
    "ProbeStableDiffusion": {"ckpt_name": "v2-1_512-ema-pruned.safetensors"},
}
OPTIONAL = {"PriorSRPreClean": ("cleaned",)}  # of which one has to be connected


class Dropped:
    """The graph of one node: `graph` in the form that a server runs, `outputs` the link of what it shows, by
    the names of its outputs, and `source` that of the picture it works on.
    """

    def __init__(self, definitions: Definitions, kind: str):
        self.definitions, self.kind = definitions, kind
        needs = {one["type"] for one in definitions[kind]["inputs"] if not one.get("optional")}
        gives = {one["type"] for one in definitions[kind]["outputs"]}
        self.latent = bool((needs | gives) & LATENT_TYPES)
        self.providers = STABLE_DIFFUSION if self.latent else PROVIDERS
        self.picture = PORTRAIT if any(word in kind for word in FACES) else SMALL
        self.graph: dict[str, dict] = {}
        self.node(kind)
        self.source: Link = self.node("PriorSRSamplePicture")
        self.outputs: dict[str, Link] = dict(self._shown())

    def node(self, kind: str, **links: Link) -> Link:
        """A node of a kind, once a graph, with everything connected that it requires; the link of its first
        output.
        """
        if kind not in self.graph:
            inputs = self.definitions[kind]["inputs"]
            given = defaults([one for one in inputs if not one.get("optional") or is_widget(one)])
            given |= ASKED.get(kind, {}) | (self.picture if kind == "PriorSRSamplePicture" else {})
            self.graph[kind] = {"class_type": kind, "inputs": {**given, **links}}
            for one in inputs:
                asked = not one.get("optional") or one["id"] in OPTIONAL.get(kind, ())
                if asked and not is_widget(one) and one["id"] not in links:
                    self.graph[kind]["inputs"][one["id"]] = self.neighbour(kind, one)
        return [kind, 0]

    def neighbour(self, kind: str, one: Mapping) -> Link:
        provider, i = NEIGHBOURS.get((kind, one["id"])) or self.providers.get(one["type"]) or self.maker(one)
        return [self.node(provider)[0], i]

    def maker(self, one: Mapping) -> tuple[str, int]:
        """The first of our nodes that makes a type without needing it."""
        for kind, told in self.definitions.items():
            types = [output["type"] for output in told["outputs"]]
            needed = [i["type"] for i in told["inputs"] if not i.get("optional")]
            if kind.startswith(OURS) and one["type"] in types and one["type"] not in needed:
                return kind, types.index(one["type"])
        raise LookupError(f"nothing makes {one['type']}")

    def _shown(self) -> Iterator[tuple[str, Link]]:
        for i, output in enumerate(self.definitions[self.kind]["outputs"]):
            link = [self.kind, i]
            if output["type"] in RUN:
                link = self.sampled(output["type"], link)
            if output["type"] == "LATENT" or output["type"] in RUN:
                yield output["id"], self.pictured(link)
            else:
                yield output["id"], link

    def sampled(self, kind: str, link: Link) -> Link:
        """A run of which one part is given, the others are as they are dropped."""
        parts = {RUN[kind]: link}
        model = parts.get("model") or self._part("MODEL")
        if "guidance" in parts:
            parts["sampler"] = self.node("PriorSRSampler", guidance=parts["guidance"])
        conditioning = parts.get("conditioning") or self._part("CONDITIONING")
        guider = parts.get("guider") or self.node("BasicGuider", model=model, conditioning=conditioning)
        latent = (
            self.node("PriorSRImageToPixelLatent", model=model) if not self.latent else self._part("LATENT")
        )
        sigmas = parts.get("sigmas") or self._sigmas(model)
        noise = parts.get("noise") or self.node("RandomNoise")
        sampler = parts.get("sampler") or self._part("SAMPLER")
        given = {
            "noise": noise,
            "guider": guider,
            "sampler": sampler,
            "sigmas": sigmas,
            "latent_image": latent,
        }
        return self.node("SamplerCustomAdvanced", **given)

    def _sigmas(self, model: Link) -> Link:
        known = self.latent or model[0] == "PriorSRLoadPixelPrior"  # the field needs calibrated priors
        return self.node("PriorSRSigmasByRespacing" if known else "PriorSRRecoverableField", model=model)

    def _part(self, kind: str) -> Link:
        own = self.graph.get(self.kind, {"inputs": {}})["inputs"].get(RUN.get(kind, ""))
        if own is not None:
            return own
        if kind == "MODEL" and (found := NEIGHBOURS.get((self.kind, "model"))):
            return [self.node(found[0])[0], found[1]]
        provider, i = self.providers[kind]
        return [self.node(provider)[0], i]

    def pictured(self, link: Link) -> Link:
        if self.latent:
            return self.node("VAEDecode", samples=link)
        return self.node(
            "PriorSRPixelLatentToImage", latent=link, like=[self.node("PriorSRUpscaleBicubic")[0], 0]
        )


def misshapen(image: Tensor) -> list[str]:
    """What keeps an IMAGE B H W C from being one."""
    if image.ndim != 4 or image.shape[-1] not in (3, 4):
        return [f"is of {tuple(image.shape)}"]
    if not torch.isfinite(image).all() or image.min() < 0 or image.max() > 1:
        return ["holds what is no colour"]
    return []


def faults(image: Tensor, source: Tensor) -> list[str]:
    """What is wrong with an IMAGE that was made of the source: no picture, flat, blots, or another one."""
    found = misshapen(image)
    if found:
        return found
    luma, own = (x[:1, ..., :3].mean(-1)[None].float() for x in (image, source))
    if luma.std() < 0.02:
        found.append("is flat")
    if (cut := _cut(luma) - _cut(own)) > 0.2:
        found.append(f"is cut at black or white in {cut:.0%} more of it than the source")
    size = tuple(min(a, b) for a, b in zip(luma.shape[-2:], own.shape[-2:], strict=True))
    pair = torch.stack([resize(x, size).flatten() for x in (luma, own)])
    if (likeness := float(torch.corrcoef(pair)[0, 1])) < ALIKE:
        found.append(f"is like the source by {likeness:.2f} only")
    return found


def _cut(luma: Tensor) -> float:
    return float(((luma < 1e-3) | (luma > 1 - 1e-3)).float().mean())
