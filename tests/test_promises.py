"""What version 1 promises of `import priorsr`: names, parameters and their order, kept in promises.json.

PRIORSR_REFRESH=1 python -m pytest tests/test_promises.py stores what was added.
"""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path

import priorsr

STORED = Path(__file__).with_name("promises.json")


def found() -> dict[str, list[str]]:
    """The parameters of every public function and type, `*` before those that are given by name alone."""
    names = {}
    for name in (*priorsr.FUNCTIONS, *priorsr.TYPES):
        value = getattr(priorsr, name)
        if inspect.ismodule(value):
            names |= {f"{name}.{one}": _parameters(getattr(value, one)) for one in ("load", "open_engine")}
        else:
            names[name] = _parameters(value)
    return names


def _parameters(value) -> list[str]:
    told = []
    for one in inspect.signature(value).parameters.values():
        mark = {one.KEYWORD_ONLY: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
        default = "..." if callable(one.default) else repr(one.default)
        told.append(f"{mark}{one.name}{'' if one.default is one.empty else '=' + default}")
    return told


def test_nothing_public_was_taken_away_or_moved():
    now = json.loads(json.dumps(found()))
    if os.environ.get("PRIORSR_REFRESH"):
        STORED.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    before = json.loads(STORED.read_text(encoding="utf-8"))
    for name, parameters in before.items():
        assert name in now, name
        kept = [one for one in now[name] if one in parameters]
        assert kept == parameters, f"{name}: {now[name]}"
        added = [one for one in now[name] if one not in parameters]
        assert all("=" in one for one in added), f"{name}: what is new is optional"
        places = [one for one in now[name] if not one.startswith("*")]
        assert places[: len([p for p in parameters if not p.startswith("*")])] == [
            p for p in parameters if not p.startswith("*")
        ], f"{name}: what is new comes last"
