"""The English locale, made from the node definitions of a running server: python
tools/locale_file.py http://127.0.0.1:8188.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "locales" / "en" / "nodeDefs.json"


def english(definitions: dict) -> dict:
    """{node: display_name, description, inputs, outputs} as the front end looks them up."""
    return {name: _node(definition) for name, definition in sorted(definitions.items())}


def _node(definition: dict) -> dict:
    outputs = zip(definition["output_name"], definition["output_tooltips"], strict=True)
    return {
        "display_name": definition["display_name"],
        "description": definition["description"],
        "inputs": dict(_inputs(definition["input"])),
        "outputs": {
            str(i): {"name": name, **({"tooltip": tip} if tip else {})}
            for i, (name, tip) in enumerate(outputs)
        },
    }


def _inputs(specs: dict, prefix: str = ""):
    for group in ("required", "optional"):
        for name, spec in specs.get(group, {}).items():
            key = f"{prefix}{name}"
            yield (
                key,
                {
                    "name": spec[1].get("display_name") or name.replace("_", " "),
                    "tooltip": spec[1]["tooltip"],
                },
            )
            for option in spec[1].get("options", []):
                if isinstance(option, dict):
                    yield from _inputs(
                        option["inputs"], f"{key}_"
                    )  # the front end writes the dots of nested names as underscores


if __name__ == "__main__":
    with urllib.request.urlopen(sys.argv[1] + "/object_info") as answer:
        found = json.loads(answer.read())
    own = {name: d for name, d in found.items() if name.startswith("PriorSR")}
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(english(own), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
