"""Names that people find: whole phrases, and words in place of the papers' symbols."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HELP = ROOT / "web" / "docs"
CHINESE = json.loads((ROOT / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
SYMBOL = re.compile(r"[a-z]|tau|omega|eta(_b)?|zeta|rho|sigma_m\w+")


def every_input(inputs):
    for one in inputs:
        yield one
        for option in getattr(one, "options", None) or ():
            yield from every_input(getattr(option, "inputs", ()))


def test_symbols_are_labelled_in_words(bare):
    seen = set()
    for node in bare.nodes.values():
        for one in every_input(node.GET_SCHEMA().inputs):
            if SYMBOL.fullmatch(one.id):
                seen.add(one.id)
                assert len(one.display_name) > 3, one.id
                assert one.tooltip.endswith(f"In the paper: {one.id}.")
                assert one.tooltip.count("In the paper") == 1
    assert {"h", "s", "k", "t", "w", "tau", "omega", "eta"} <= seen


def test_no_two_inputs_of_a_node_have_one_label(bare):
    for name, node in bare.nodes.items():
        labels = [one.display_name or one.id.replace("_", " ") for one in node.GET_SCHEMA().inputs]
        assert len(labels) == len(set(labels)), name


@pytest.mark.parametrize("kind", ["Measurement", "Consistency", "Classifier", "Attributes", "Clip", "DPI"])
def test_guidance_is_one_family(bare, kind):
    assert bare.nodes[f"PriorSRGuide{kind}"].GET_SCHEMA().display_name.startswith("Guide by ")


def test_display_names_are_unique_and_end_in_no_preposition(bare):
    names = [node.GET_SCHEMA().display_name for node in bare.nodes.values()]
    assert len(names) == len(set(names))
    assert not [name for name in names if re.search(r" (with|by|from|to|of)$", name.lower())]


def test_every_node_has_help_in_every_language(bare):
    """NODE.md is shown wherever a language has no page of its own, so that English needs no second one."""
    for name, node in bare.nodes.items():
        schema = node.GET_SCHEMA()
        english, chinese = (
            path.read_text(encoding="utf-8") for path in (HELP / f"{name}.md", HELP / name / "zh.md")
        )
        assert english.startswith(f"# {schema.display_name}\n")
        assert chinese.startswith(f"# {CHINESE[name]['display_name']}\n")
        for one in every_input(schema.inputs):
            assert f"`{one.id}`" in english, (name, one.id)
            assert f"`{one.id}`" in chinese, (name, one.id)
    assert not list(HELP.glob("*/en.md"))
    assert {path.stem for path in HELP.glob("*.md")} == set(bare.nodes)


def test_every_help_page_names_a_template_that_has_its_node(bare):
    """Or, where none has it, one to put it into."""
    have = {path.stem: types(path) for path in (ROOT / "example_workflows").glob("*.json")}
    for name in bare.nodes:
        shown = {stem for stem, kinds in have.items() if name in kinds} or set(have)
        for page in (HELP / f"{name}.md", HELP / name / "zh.md"):
            told = set(re.findall(r"→ `(\w+)`", page.read_text(encoding="utf-8").splitlines()[-1]))
            assert told, f"the last line of {page} shows no template"
            assert told <= shown, f"{page} names {told}, say one of {sorted(shown)}"


def types(workflow: Path) -> set[str]:
    """Of the nodes of a workflow and of the subgraphs in it."""
    saved = json.loads(workflow.read_text(encoding="utf-8"))
    graphs = [saved, *saved.get("definitions", {}).get("subgraphs", [])]
    return {node["type"] for graph in graphs for node in graph["nodes"]}
