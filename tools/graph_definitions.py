"""The definitions of the host's own nodes that graphs of ours use, from a running ComfyUI.

python tools/graph_definitions.py http://127.0.0.1:8188
"""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path

from priorsr.methods.graph.definitions import CORE, HOSTLESS, from_object_info
from priorsr.methods.graph.saved import VIRTUAL

ROOT = Path(__file__).resolve().parents[1]
FILES = {  # inputs that list files, and the folder that they list
    ("LoadImage", "image"): "input",
    ("LoadImageMask", "image"): "input",
    ("CheckpointLoaderSimple", "ckpt_name"): "checkpoints",
    ("VAELoader", "vae_name"): "vae",
    ("LoraLoaderModelOnly", "lora_name"): "loras",
    ("LoadVideo", "file"): "input",
}


def kinds() -> list[str]:
    """The host's own nodes that run without it or that the example workflows have."""
    found = set(HOSTLESS)
    for path in sorted((ROOT / "example_workflows").glob("*.json")):
        found |= {node["type"] for node in json.loads(path.read_text("utf-8"))["nodes"]}
    return sorted(kind for kind in found if kind not in VIRTUAL and not kind.startswith("PriorSR"))


def core(info: dict) -> dict:
    """Their definitions, without the names of one machine's files."""
    found = {kind: from_object_info({kind: info[kind]})[kind] for kind in kinds()}
    for (kind, name), folder in FILES.items():
        if kind not in found:
            continue
        one = next(one for one in found[kind]["inputs"] if one["id"] == name)
        one |= {"files": folder, "options": [o for o in one["options"] if o == "pixel_space"]}
        one.pop("default", None)
    return found


def written(definitions: dict) -> str:
    """JSON with an input or output a line."""
    rows = []
    for kind, told in definitions.items():
        parts = [f'  "{key}": {json.dumps(told[key])}' for key in ("display_name", "category", "output_node")]
        for key in ("inputs", "outputs"):
            lines = ",\n".join(f"   {json.dumps(one)}" for one in told[key])
            parts.append(f'  "{key}": [\n{lines}\n  ]' if lines else f'  "{key}": []')
        rows.append(f' "{kind}": {{\n' + ",\n".join(parts) + "\n }")
    return "{\n" + ",\n".join(rows) + "\n}\n"


if __name__ == "__main__":
    with urllib.request.urlopen(f"{sys.argv[1]}/object_info") as answer:
        CORE.write_text(written(core(json.load(answer))), encoding="utf-8")
