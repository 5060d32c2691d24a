"""Pages of reference, made of what they are about: commands of their parsers, nodes of their schemas and
help, methods of the registry, Python of its docstrings. tools/make_site.py puts them into the site.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import priorsr
from priorsr.methods.cli.main import TABLE, build_parser
from priorsr.methods.graph.definitions import OURS
from priorsr.methods.method import Method
from priorsr.methods.registry import methods

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = "96"  # of a command's help
SOURCES = "https://github.com/priorsr/priorsr/blob/main"
CITED = re.compile(
    r"(?:Eq\. ?|Algorithms? |Lemma |Theorem |[Ss]ection |[Tt]able )[0-9][0-9.]*(?:(?:-| to | and |, )[0-9]+)*"
)
SENTENCE = re.compile(r"(?<!\bEq)(?<!\bal)(?<!\bAlg)\. (?=[A-Z])")
WORDS = ROOT / "locales" / "en" / "nodeDefs.json"


def pages() -> dict[str, str]:
    """Every page by its path below the site's folder."""
    found = {f"reference/commands/{name}.md": command_page(name) for name in TABLE}
    found |= {"reference/nodes.md": node_page(), "reference/methods.md": method_page()}
    found |= {"reference/python.md": python_page(), "reference/core.md": core_page()}
    return found | {"reference/equations.md": equation_page()}


def command_page(name: str) -> str:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = COLUMNS
    try:
        (parsers,) = _subparsers(build_parser(name))
        blocks = [f"## {sub.prog}\n\n```text\n{sub.format_help()}```\n" for sub in _all(parsers[name])]
    finally:
        os.environ.pop("COLUMNS") if before is None else os.environ.update(COLUMNS=before)
    return f"# priorsr {name}\n\n{TABLE[name][1]} Made of its parser.\n\n" + "\n".join(blocks)


def _subparsers(parser: argparse.ArgumentParser) -> Iterator[dict[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield dict(action.choices)


def _all(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for choices in _subparsers(parser):
        for one in choices.values():
            yield from _all(one)


def node_page() -> str:
    nodes = json.loads(OURS.read_text(encoding="utf-8"))
    words = json.loads(WORDS.read_text(encoding="utf-8"))
    text = "# Nodes, one by one\n\nMade of their schemas and of the help that each node shows (its ?).\n"
    for key in sorted(nodes, key=lambda key: (nodes[key]["category"], nodes[key]["display_name"])):
        node, said = nodes[key], words.get(key, {}).get("inputs", {})
        rows = list(_input_rows(node["inputs"], said))
        outputs = (
            ", ".join(f"{one['name'] or one['id']} ({one['type']})" for one in node["outputs"]) or "none"
        )
        text += f"\n## {node['display_name']}\n\n`{key}`, under {node['category']}. Outputs: {outputs}.\n"
        text += table(("input", "type", "default", "limits", "meaning"), rows) if rows else ""
        help = ROOT / "web" / "docs" / f"{key}.md"
        text += re.sub(r"^(#+) ", r"##\1 ", without_title(help.read_text(encoding="utf-8")), flags=re.M)
    return text


def _input_rows(inputs: list[dict], said: dict, prefix: str = "") -> Iterator[tuple[str, ...]]:
    for one in inputs:
        key, options = prefix + one["id"], one.get("options", [])
        limits = _range(one.get("min"), one.get("max")) or ", ".join(map(str, options))
        kind = one["type"].removeprefix("COMFY_").removesuffix("_V3").lower()
        meaning = said.get(key.replace(".", "_"), {}).get("tooltip", "")
        yield f"`{key}`", kind, str(one.get("default", "")), limits, meaning
        for nested in options.values() if isinstance(options, dict) else ():
            yield from _input_rows(nested, said, f"{key}.")


def method_page() -> str:
    head = "# Methods, one by one\n\nMade of the registry. `priorsr.list_methods()` has the same.\n"
    return head + "".join(map(_method, methods().values()))


def _method(method: Method) -> str:
    scales = (
        f"Scales {method.scales.least:g} to {method.scales.most:g}, {method.scales.default:g} by default."
    )
    faces = " Restores faces." if method.faces else ""
    presets = f" Presets: auto, {', '.join(method.presets)}." if method.presets else ""
    text = f"\n## {method.title} (`{method.name}`)\n\n{method.about}\n\n{scales}{faces}{presets}"
    rows = [(f"`{one.name}`", one.default or "needed", "file", one.help) for one in method.weights]
    for name, field in method.fields().items():
        rule = field.metadata
        limits = ", ".join(map(str, rule["choices"])) or _range(rule["low"], rule["high"])
        rows.append((f"`{name}`", str(field.default), limits, rule["help"]))
    return text + "\n" + (table(("setting", "default", "limits", "meaning"), rows) if rows else "")


def _range(low: float | None, high: float | None) -> str:
    words = [f"from {low:g}"] if low is not None else []
    return " ".join([*words, *([f"to {high:g}"] if high is not None else [])])


def python_page() -> str:
    text = "# Python, name by name\n\nWhat `import priorsr` has; [examples](../python.md). "
    text += "Made of the docstrings.\n"
    for name in (*priorsr.FUNCTIONS, *priorsr.TYPES):
        one = getattr(priorsr, name)
        text += _module(f"priorsr.{name}", one) if inspect.ismodule(one) else entry(f"priorsr.{name}", one)
    return text


def core_page() -> str:
    text = "# Diffusion core, name by name\n\nWhat lies in `priorsr.samplers`; [the words](../core.md). "
    text += "Made of the docstrings.\n"
    for path in sorted((ROOT / "samplers").rglob("*.py")):
        if path.name != "__init__.py":
            name = ".".join(("priorsr", *path.relative_to(ROOT).with_suffix("").parts))
            text += _module(name, importlib.import_module(name))
    return text


def _module(name: str, module: ModuleType) -> str:
    listed = getattr(module, "__all__", None) or [
        key for key, one in vars(module).items() if getattr(one, "__module__", "") == module.__name__
    ]
    found = [key for key in listed if not key.startswith("_") and callable(getattr(module, key))]
    return f"\n## {name}\n\n{prose(module)}\n" + "".join(
        entry(f"{name}.{key}", getattr(module, key), 3) for key in sorted(found)
    )


def equation_page() -> str:
    """What of a paper stands where: every docstring that names an equation, algorithm, lemma or section."""
    text = (
        "# Equations and functions\n\nWhich function is which equation of its paper, as its docstring says. "
    )
    text += "Papers without a year are those of the folder's method ([to cite](../cite.md)).\n"
    folders: dict[str, list[tuple[str, ...]]] = {}
    for path in sorted(path for part in ("methods", "samplers") for path in (ROOT / part).rglob("*.py")):
        place = path.relative_to(ROOT)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node, name in _documented(tree):
            said = " ".join((ast.get_docstring(node) or "").split())
            if marks := list(dict.fromkeys(CITED.findall(said))):
                cell = f"[`{name or place.name}`]({SOURCES}/{place.as_posix()}#L{getattr(node, 'lineno', 1)})"
                folder = folders.setdefault("/".join(place.parts[:2]).removesuffix(".py"), [])
                folder.append((", ".join(marks), cell, SENTENCE.split(said)[0]))
    return text + "".join(
        f"\n## {folder}\n{table(('paper', 'where', 'what'), rows)}" for folder, rows in folders.items()
    )


def _documented(tree: ast.Module) -> Iterator[tuple[Any, str]]:
    """Everything in a module that may have a docstring, and its name."""
    yield tree, ""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node, node.name
            functions = (one for one in node.body if isinstance(one, ast.FunctionDef))
            yield from ((one, f"{node.name}.{one.name}") for one in functions)
    yield from ((node, node.name) for node in tree.body if isinstance(node, ast.FunctionDef))


def entry(name: str, one: Any, level: int = 2) -> str:
    """A heading, the signature and the docstring of a function or class, and of a class's own methods."""
    text = f"\n{'#' * level} {name}\n\n```python\n{signature(name, one)}\n```\n\n{prose(one)}\n"
    for key, member in vars(one).items() if inspect.isclass(one) else ():
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if inspect.isfunction(function) and function.__doc__ and not key.startswith("_"):
            told = key if isinstance(member, property) else signature(key, function)
            text += f"\n- `{' '.join(told.split())}`: {' '.join(prose(function).split())}"
    return text + "\n"


def signature(name: str, one: Any) -> str:
    """How a function or class is called, its annotations as they are written."""
    try:
        found = inspect.signature(one)
    except (TypeError, ValueError):  # a protocol or a type without one
        return name
    parts, marked = [], False
    for parameter in found.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not marked:
            parts.append("*")
        marked = marked or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        if parameter.name != "self":
            parts.append(_parameter(parameter))
    end = (
        ""
        if found.return_annotation in (found.empty, None, "None")
        else f" -> {_type(found.return_annotation)}"
    )
    short = f"{name.rsplit('.', 1)[-1]}({', '.join(parts)}){end}"
    return short if len(short) <= 100 else short.replace("(", "(\n    ", 1).replace(", ", ",\n    ")


def _parameter(one: inspect.Parameter) -> str:
    stars = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
    kind = f": {_type(one.annotation)}" if one.annotation is not one.empty else ""
    if one.default is one.empty:
        return f"{stars}{one.name}{kind}"
    return f"{one.name}{kind} = {getattr(one.default, '__name__', None) or repr(one.default)}"


def _type(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def prose(one: object) -> str:
    """A docstring as text of a page."""
    return (inspect.getdoc(one) or "").replace("<", "&lt;").replace("*", r"\*")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    cells = [
        [cell.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") for cell in row] for row in lines
    ]
    return "\n" + "\n".join(f"| {' | '.join(row)} |" for row in cells) + "\n"


def without_title(text: str) -> str:
    """A page without its first heading, which the entry has already."""
    return re.sub(r"\A# .*\n", "", text)
