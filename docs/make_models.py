"""docs/models.md and the workflows' lists of files, from the table in methods/weights/known.py: python
docs/make_models.py.
"""

from __future__ import annotations

import json
from pathlib import Path

from priorsr.methods.weights.known import KNOWN, find_known

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "models.md"
WORKFLOWS = ROOT / "example_workflows"
HEAD = """# Files that others publish

What comes along with the package needs nothing of this page: `priorsr models` lists it, and each file's model
card lies in [weights/](../weights). These are the files of others that methods take. Made by `python
docs/make_models.py`.

```
priorsr models list                               # this table, and which of the files are here
priorsr models fetch codeformer --folder MODELS   # only on this word; a broken download goes on
priorsr models check MODELS/codeformer.pth        # what it is, whether complete, its hash
```

The environment's `PRIORSR_MODELS` names the folders that are searched; `fetch` takes the first of them.
ComfyUI looks into the folder below `models/` that the table names. What is called a folder of diffusers is
fetched with all its files, and gets its name when all of them are there. `ask`: the licence sets conditions,
or none is stated; ask whoever publishes the file.
"""
TAIL = """
A hash that is not known for sure is not in the table: `check` prints the one it finds, and `fetch` says that
it had none to compare with. A file without an address is fetched by hand from its page, or with
`--address URL`; what came is compared with the hash either way.
"""


def page() -> str:
    rows = ["| name | file | method | for | size | licence | commercial use | folder |", "|---" * 8 + "|"]
    for one in KNOWN:
        file = f"[`{one.file}`](https://{one.page})"
        cells = (one.name, file, one.method, one.purpose, one.size, one.licence, one.commercial, one.folder)
        rows.append(f"| {' | '.join(cells)} |")
    hashes = ["| file | SHA-256 |", "|---|---|"]
    named = [(one.file, one) for one in KNOWN if not one.parts]
    named += [(f"{one.file}/{part.file}", part) for one in KNOWN for part in one.parts]
    hashes += [f"| `{file}` | {one.sha256 or 'unknown'} |" for file, one in named]
    return "\n".join([HEAD, *rows, "", "## Hashes", "", *hashes, TAIL])


def models_of(node: dict) -> list[dict]:
    """What a node's values name of the table, as the host's templates list it."""
    named = [find_known(v) for v in node.get("widgets_values", []) if isinstance(v, str)]
    return [
        {"name": one.file, "url": one.addresses[0], "directory": one.folder}
        for one in named
        if one is not None and one.addresses and not one.parts and one.file in node["widgets_values"]
    ]


def workflow(text: str) -> str:
    """The same with the files of the table that its nodes name, written anew only where they change."""
    content = json.loads(text)
    for node in content["nodes"]:
        node["properties"].pop("models", None)
        if models := models_of(node):
            node["properties"]["models"] = models
    if content == json.loads(text):
        return text
    indent = 1 if text.startswith("{\n") else None
    return json.dumps(content, indent=indent, ensure_ascii=False) + ("\n" if text.endswith("\n") else "")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    for path in sorted(WORKFLOWS.glob("*.json")):
        path.write_text(workflow(path.read_text(encoding="utf-8")), encoding="utf-8")
