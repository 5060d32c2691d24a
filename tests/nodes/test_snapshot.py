"""What work of users rests on: the inputs and outputs of every node, the options of every command.

PRIORSR_REFRESH=1 python -m pytest tests/nodes/test_snapshot.py stores a change that is meant.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
from pathlib import Path

import pytest

from priorsr.methods.cli.main import build_parser
from priorsr.methods.graph.definitions import OURS
from priorsr.methods.graph.standin.describing import PROBE, described_node

COMMANDS = Path(__file__).parents[1] / "methods" / "commands.json"
WIDTH = 150
CURE = (
    "Saved work of users depends on this. If the change is meant: "
    "PRIORSR_REFRESH=1 python -m pytest tests/nodes/test_snapshot.py"
)


def described_option(action: argparse.Action) -> dict:
    told = {"name": action.dest, "flags": list(action.option_strings), "action": type(action).__name__}
    told |= {"type": getattr(action.type, "__name__", None), "default": action.default, "nargs": action.nargs}
    choices = (
        action.choices
        if action.choices is None or isinstance(action.choices, range)
        else list(action.choices)
    )
    told |= {"choices": choices, "required": action.required}
    return {name: value for name, value in told.items() if value not in (None, [])}


def described_parser(parser: argparse.ArgumentParser) -> dict:
    """Options in their order, groups of which one excludes another, and commands below it."""
    options, commands = [], {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            commands = {name: described_parser(sub) for name, sub in action.choices.items()}
        elif not isinstance(action, (argparse._HelpAction, argparse._VersionAction)):
            options.append(described_option(action))
    told = {"options": options}
    if excluding := [
        [action.dest for action in group._group_actions] for group in parser._mutually_exclusive_groups
    ]:
        told["excluding"] = excluding
    return {**told, "commands": commands} if commands else told


def written(value: object, indent: str = "") -> str:
    """JSON with what fits on a line on one, so that a diff shows whole inputs and options."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or (len(indent) + len(text) <= WIDTH and "{" not in text[1:]):
        return text
    inner = indent + " "
    if isinstance(value, dict):
        rows = [f"{inner}{json.dumps(key)}: {written(one, inner)}" for key, one in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + written(one, inner) for one in value) + f"\n{indent}]"


def check(found: dict, path: Path) -> None:
    text = written(found) + "\n"
    if os.environ.get("PRIORSR_REFRESH"):
        path.write_text(text, encoding="utf-8")
    stored = path.read_text(encoding="utf-8") if path.exists() else ""
    if text != stored:
        diff = difflib.unified_diff(
            stored.splitlines(), text.splitlines(), path.name, "now", n=6, lineterm=""
        )
        again = "PRIORSR_REFRESH=1 python -m pytest tests/nodes/test_snapshot.py"
        pytest.fail(
            "\n".join([*diff, "", f"Saved work of users depends on this. If it is meant: {again}"]),
            pytrace=False,
        )


def test_nodes_are_as_stored(bare):
    """In the package, which checks graphs by it."""
    Path(bare.host.folders["priorsr"][0][0], PROBE).write_bytes(b"")
    check({name: described_node(node) for name, node in bare.nodes.items()}, OURS)


def test_commands_are_as_stored():
    check(described_parser(build_parser()), COMMANDS)


def test_a_change_is_shown_with_its_cure(tmp_path, monkeypatch):
    monkeypatch.delenv("PRIORSR_REFRESH", raising=False)
    stored = tmp_path / "nodes.json"
    stored.write_text('{"steps": 50}\n')
    with pytest.raises(
        pytest.fail.Exception, match=r'(?s)-{"steps": 50}.*\+{"steps": 100}.*PRIORSR_REFRESH=1'
    ):
        check({"steps": 100}, stored)


def test_weight_files_are_choices_of_the_nodes_that_load_them(pack, bare):
    """The stored choices are those without files."""
    paths, suffixes = pack.host.folders["priorsr"]
    Path(paths[0], "mine.safetensors").write_bytes(b"")
    Path(paths[0], "notes.txt").write_bytes(b"")
    offering = set()
    for name, node in bare.nodes.items():
        described = json.dumps(described_node(node))
        assert "notes.txt" not in described
        if "mine.safetensors" in described:
            offering.add(name.removeprefix("PriorSR"))
    assert {
        "UpscaleDPS",
        "UpscaleSRCNN",
        "LoadCFW",
        "LoadStableSR",
        "CodeFormer",
        "DetectFaces",
        "RestoreFaces",
    } < offering
    assert ".safetensors" in suffixes
