"""The example workflows with few steps, small pictures and random weights, so that a processor runs them."""

from __future__ import annotations

import re
from pathlib import Path

from graphs import stand_ins

from priorsr.methods.graph.definitions import Definitions
from priorsr.methods.graph.graph import Graph, load

WORKFLOWS = {
    path.stem: path for path in sorted((Path(__file__).parents[2] / "example_workflows").glob("*.json"))
}
FEW = {
    "steps": 2,
    "method.steps": 2,
    "respacing": "2",
    "start": 1,
    "label": 3,
    "lora_name": "tiny.safetensors",
}
PHOTOGRAPHS = (  # whose samples are as large as those that people have: a small one is loaded in their place
    *("codeformer_photo", "face_masks", "faces_through_any_nodes"),
    *("restore_a_region", "restore_faces_in_photo"),
)
REPLACED = {  # nodes of the host that need a tokenizer, by the tests' own
    "CheckpointLoaderSimple": "ProbeStableDiffusion",
    "CLIPTextEncode": "ProbePrompt",
}
SMALL = {  # inputs of workflows that would take minutes, or that a network of random weights does not fit
    "dps_face": {"2.width": 64, "2.height": 64},
    "guided_upsampler": {"2.width": 16, "2.height": 16},
    "srdg_face": {"PriorSRLoadAttributeClassifier.classifier": "tiny_happy.safetensors", "4.attributes": ""},
}


def small(name: str, definitions: Definitions | None = None) -> Graph:
    """A workflow of the repository by its name, as a graph."""
    graph = load(WORKFLOWS[name], definitions)
    if name in PHOTOGRAPHS:
        graph.load_in_place_of(graph.find("PriorSRSamplePicture"))
    for node in graph.nodes.values():
        inputs, latent = node["inputs"], name.startswith("stablesr")
        if latent:
            node["class_type"] = REPLACED.get(node["class_type"], node["class_type"])
            inputs |= {key: side for key, side in (("width", 128), ("height", 96)) if key in inputs}
            inputs |= {"size": 128} if node["class_type"] == "PriorSRCropFaces" else {}
        if node["class_type"] == "LoadImage" and re.search("face|photo|region", name):
            inputs["image"] = "portrait.png"
        inputs |= {key: few for key, few in FEW.items() if type(inputs.get(key)) is type(few)}
        inputs |= stand_ins(inputs)
    for key, value in SMALL.get(name, {}).items():
        graph.set(key, value)
    return graph
