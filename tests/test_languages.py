"""The locales: whole in every language, made from tables of sentences, with names and numbers kept."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from itertools import chain

import pytest
from locale_file import FILES, LOCALES, NAMES, PARTS, WORDS, languages, made, read, sentences, translated

from priorsr.methods.graph.definitions import OURS

WANTED = {"de", "es", "fr", "ja", "ko", "ru", "zh", "zh-TW"}
ENGLISH = {name: read(LOCALES / "en" / name) for name in FILES}
NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
NAME = re.compile(
    r"""`[^`]+`                               # what is typed
    |\b[\w/]+\.(?:pth|ckpt|pt)\b|models/\w+   # files
    |\b\w+=\w+|\b\w+_\w+                      # settings
    |\b[A-Z]{2,}(?:-[A-Z]+)*\b               # MODEL, CC BY-NC-SA
    |\b\w*[a-z][A-Z]\w*?(?=s?\b)|\b[A-Z]{2,}[a-z]\w+  # KSampler, LoRAs, ImageNet""",
    re.X | re.ASCII,  # words of other scripts are no part of a name
)
SAYS = "(?:is|takes|keeps|adds|puts|draws|restores|changes|scales)"


def described(words: dict):
    """Inputs of all nodes."""
    return chain.from_iterable(node["inputs"].values() for node in words.values())


@cache
def quoted() -> list[tuple[str, str]]:
    """Sentences of tooltips, and an option of the same input that they name as it is typed."""
    found = {}
    for one in described(ENGLISH["nodeDefs.json"]):
        for option in [*one.get("options", ()), *NAMES]:
            for said in PARTS.split(one["tooltip"]):
                if re.search(rf"(?:^|[;:.] ){re.escape(option)}(?: {SAYS}\b|:)", said):
                    found[said, option] = None
    return list(found)


def test_the_languages_are_those_of_the_front_end_that_were_promised():
    assert set(languages()) == WANTED
    assert {path.name for path in LOCALES.iterdir()} == WANTED | {"en"}
    assert {path.suffix for path in WORDS.iterdir()} == {".json"}


@pytest.mark.parametrize("language", sorted(WANTED))
def test_a_language_is_what_its_table_makes_and_nothing_in_the_table_is_stale(language):
    table = read(WORDS / f"{language}.json")
    asked = sentences(ENGLISH)
    assert not [one for one in asked if not table.get(one)], f"translate in tools/words/{language}.json"
    assert not table.keys() - set(asked), f"gone from English: take out of tools/words/{language}.json"
    texts = made(language)
    assert {name: (LOCALES / language / name).read_text(encoding="utf-8") for name in FILES} == texts, (
        "python tools/locale_file.py"
    )
    assert {path.name for path in (LOCALES / language).iterdir()} == set(FILES)


@pytest.mark.parametrize("language", sorted(WANTED))
def test_names_numbers_and_what_is_typed_are_kept(language):
    table = read(WORDS / f"{language}.json")
    lost = [
        (said, told, one)
        for said, told in table.items()
        for pattern in (NUMBER, NAME)
        for one in Counter(pattern.findall(said)) - Counter(pattern.findall(told))
        if one != said  # the name of a socket alone
    ]
    lost += [(said, table[said], option) for said, option in quoted() if option not in table[said]]
    assert not lost


@pytest.mark.parametrize("language", ["en", *sorted(WANTED)])
def test_the_front_end_can_show_a_language(language):
    """It reads messages with placeholders and plurals, and a node with two inputs of one label misleads."""
    words = read(LOCALES / language / "nodeDefs.json")
    assert not [one for one in sentences(words) if re.search(r"[{}@|]", one)]
    for node, text in words.items():
        inputs = [one["name"] for key, one in text["inputs"].items()]
        top = [inputs[i] for i, key in enumerate(text["inputs"]) if not _nested(key, text["inputs"])]
        assert len(top) == len(set(top)), (node, [one for one, n in Counter(top).items() if n > 1])
    titles = [text["display_name"] for text in words.values()]
    assert len(titles) == len(set(titles))


def _nested(key: str, inputs: dict) -> bool:
    return any(
        key.startswith(f"{other}_") and "options" in one for other, one in inputs.items() if other != key
    )


@pytest.mark.parametrize("language", sorted(WANTED - {"zh", "zh-TW"}))
def test_a_language_is_not_english(language):
    same = [one for one, told in read(WORDS / f"{language}.json").items() if one == told and " " in one]
    assert set(same) <= {"Sampler (PriorSR)", "churn max", "churn min"}


def test_every_option_that_is_a_name_is_an_option():
    stored = json.dumps(json.loads(OURS.read_text(encoding="utf-8")))
    assert not [one for one in NAMES if f'"{one}"' not in stored]


def test_a_sentence_without_translation_is_named():
    with pytest.raises(KeyError, match="new sentence"):
        translated({"PriorSRResize": {"description": "A new sentence."}}, {"An old one.": "…"}, "")
