"""The locales: English from the node definitions of a running server, every other language from English.

python tools/locale_file.py http://127.0.0.1:8188   English anew, and all languages by tools/words
python tools/locale_file.py                         all languages by tools/words
"""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCALES = ROOT / "locales"
WORDS = ROOT / "tools" / "words"
FILES = ("nodeDefs.json", "main.json")
CATEGORIES = {"image", "sampling", "PriorSR"}  # the front end's own words, or a name
PARTS = re.compile(r" (?=From models/priorsr|Licences of published files:|In the paper:)")
UNSPACED = ("zh", "zh-TW", "ja")  # no space after a full stop
WORD = re.compile(r"[a-z]+(?:[ -][a-z]+)*(?: x\d)?")
NAMES = {  # options that are names in every language
    "adain",
    "codeformer",
    "ddim",
    "ddim-released",
    "ddnm",
    "ddpm",
    "ddrm",
    "diffsr",
    "dpi",
    "dps",
    "edm-dps",
    "eps",
    "euler",
    "facexlib",
    "ffhq",
    "heun",
    "ilvr",
    "jpeg",
    "lab",
    "lab-ab",
    "lanczos",
    "lr",
    "luma",
    "mtcnn",
    "repaint",
    "retinaface",
    "retinaface-mobile",
    "rgb",
    "sde-sr",
    "sigmoid",
    "srcnn",
    "srcnn-pytorch",
    "srdg",
    "stablesr",
    "v",
    "wavelet",
    "webp",
}


def english(definitions: dict) -> dict:
    """{node: display_name, description, inputs, outputs} as the front end looks them up."""
    return {name: _node(definition) for name, definition in sorted(definitions.items())}


def categories(definitions: dict) -> dict:
    """What main.json says: the words of our menus that the front end has no word for."""
    parts = {part for definition in definitions.values() for part in definition["category"].split("/")}
    return {"nodeCategories": {part: part for part in sorted(parts - CATEGORIES)}}


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
            options = spec[1].get("options", [])
            keys = [one["key"] if isinstance(one, dict) else one for one in options]
            words = {one: one for one in keys if WORD.fullmatch(str(one)) and one not in NAMES}
            told = {
                "name": spec[1].get("display_name") or name.replace("_", " "),
                "tooltip": spec[1]["tooltip"],
            }
            yield key, {**told, **({"options": words} if words else {})}  # web/options.js shows the options
            for option in options:
                if isinstance(option, dict):
                    yield from _inputs(
                        option["inputs"], f"{key}_"
                    )  # the front end writes the dots of nested names as underscores


def languages() -> list[str]:
    """Those that have a table."""
    return sorted(path.stem for path in WORDS.glob("*.json"))


def sentences(words: object) -> list[str]:
    """Everything that is said in a locale, once each, in its order."""
    found: dict[str, None] = {}
    for one in words.values() if isinstance(words, dict) else ():
        said = PARTS.split(one) if isinstance(one, str) else sentences(one)
        found |= dict.fromkeys(said)
    return list(found)


def translated(words: dict, table: dict[str, str], space: str) -> dict:
    """A locale of another language. Raises KeyError for a sentence that its table lacks."""
    return {
        key: translated(one, table, space)
        if isinstance(one, dict)
        else space.join(table[part] for part in PARTS.split(one))
        for key, one in words.items()
    }


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def written(words: dict) -> str:
    return json.dumps(words, indent=2, ensure_ascii=False) + "\n"


def made(language: str) -> dict[str, str]:
    """The files of a language by their names, as text. Raises ValueError for what is not translated."""
    table, source = read(WORDS / f"{language}.json"), {name: read(LOCALES / "en" / name) for name in FILES}
    if missing := [one for one in sentences(source) if one not in table]:
        raise ValueError(f"translate in tools/words/{language}.json: {json.dumps(missing, indent=1)}")
    space = "" if language in UNSPACED else " "
    return {name: written(translated(words, table, space)) for name, words in source.items()}


def store(language: str, texts: dict[str, str]) -> None:
    folder = LOCALES / language
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for url in sys.argv[1:2]:
        with urllib.request.urlopen(url + "/object_info") as answer:
            found = json.loads(answer.read())
        own = {name: d for name, d in found.items() if name.startswith("PriorSR")}
        store("en", dict(zip(FILES, map(written, (english(own), categories(own))), strict=True)))
    for language in languages():
        store(language, made(language))
