"""Which module imports which: circles, who touches the host, and how many floors the folders make.

Imports within functions and for type checkers count: what moves has to move with them.
python tests/test_imports.py prints all of it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("samplers", "methods", "nodes")
HOST = {"comfy", "comfy_extras", "folder_paths", "latent_preview"}  # every node is written in comfy_api

# May only shrink: take out of it what is mended.
TOUCH_THE_HOST = {"nodes.stablesr_upscale"}
MOST_FLOORS = 9

Graph = Mapping[str, set[str]]


@cache
def _trees() -> dict[str, tuple[ast.Module, bool]]:
    """Every module by its dotted name under the package, and whether it is the __init__ of a folder."""
    found = {}
    for path in sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if package else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8")), package
    return found


def imports(modules: Mapping[str, tuple[ast.Module, bool]]) -> Graph:
    """The modules that each one imports.

    To import out of a folder is to import its __init__ too, but not for what lies in that folder or below,
    where it is running already. A name that is no module of a folder comes out of its __init__.
    """
    return {name: set(_imported(name, *modules[name], modules)) for name in modules}


def _imported(name: str, tree: ast.Module, package: bool, modules: Mapping) -> Iterator[str]:
    folder = name.split(".") if package else name.split(".")[:-1]
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = folder[: len(folder) - node.level + 1] + (node.module.split(".") if node.module else [])
        reached = {".".join(base)} | {".".join([*base, alias.name]) for alias in node.names}
        inside = [one for one in reached if one in modules and one != ".".join(base)]
        if len(inside) == len(node.names):  # nothing is asked of the folder itself
            reached.discard(".".join(base))
        for one in reached & modules.keys():
            yield from {one, *_entered(one, name)} - {name}


def _entered(target: str, name: str) -> set[str]:
    """The folders that importing a module enters, without those that the importing one lies in."""
    parts = target.split(".")
    folders = {".".join(parts[:i]) for i in range(1, len(parts))}
    return {folder for folder in folders if not f"{name}.".startswith(f"{folder}.")}


def circles(graph: Graph) -> set[frozenset[str]]:
    """Modules that import each other, on whatever way (strongly connected components of more than one)."""

    @cache
    def reached(start: str) -> frozenset[str]:
        seen, waiting = set(), [start]
        while waiting:
            new = graph[waiting.pop()] - seen
            seen |= new
            waiting += new
        return frozenset(seen)

    mutual = lambda name: (other for other in reached(name) if name in reached(other))  # noqa: E731
    found = {frozenset({name, *mutual(name)}) for name in graph}
    return {circle for circle in found if len(circle) > 1}


def rooms(graph: Graph) -> Graph:
    """The same for whole folders; modules that lie in methods/ itself are rooms of their own."""
    packages = {name for name, (_, package) in _trees().items() if package}

    def room(name: str) -> str:
        parent = name.rpartition(".")[0]
        return name if name in packages or parent == "methods" else parent

    joined: dict[str, set[str]] = {room(name): set() for name in graph}
    for name, others in graph.items():
        joined[room(name)] |= {room(other) for other in others} - {room(name)}
    return joined


def floors(graph: Graph) -> int:
    """The longest chain of folders of which each needs the next, in a graph without circles."""

    @cache
    def height(name: str) -> int:
        return 1 + max(map(height, graph[name]), default=0)

    return max(map(height, graph))


def touching_the_host(modules: Mapping[str, tuple[ast.Module, bool]]) -> set[str]:
    found = set()
    for name, (tree, _) in modules.items():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            found |= {name for one in names if one.partition(".")[0] in HOST}
    return found


def test_no_circles():
    modules = imports(_trees())
    assert not circles(modules), "modules that import each other"
    assert not circles(rooms(modules)), "folders that import each other"


def test_only_modules_of_the_host_import_it():
    found = {name for name in touching_the_host(_trees()) if not name.startswith("nodes.host")}
    assert found == TOUCH_THE_HOST


def test_floors_grow_no_more():
    assert floors(rooms(imports(_trees()))) <= MOST_FLOORS


def parsed(**sources: str) -> dict[str, tuple[ast.Module, bool]]:
    return {name.replace("_", "."): (ast.parse(text), text.startswith("#")) for name, text in sources.items()}


def test_circles_are_found_where_they_are():
    plain = {"a": "#", "a_one": "from .two import x", "a_two": "def f():\n    from . import one"}
    assert circles(imports(parsed(**plain))) == {frozenset({"a.one", "a.two"})}
    siblings = {"a": "#\nfrom .one import x", "a_one": "from . import two", "a_two": ""}
    assert not circles(imports(parsed(**siblings)))
    own_folder = {"a": "#\nfrom .one import x", "a_one": "from . import x"}
    assert circles(imports(parsed(**own_folder))) == {frozenset({"a", "a.one"})}
    entered = {"a": "#\nfrom .one import x", "a_one": "from ..b import y", "a_two": ""}
    entered["b"] = "#\nfrom ..a import two"
    assert circles(imports(parsed(**entered))) == {frozenset({"a", "a.one", "b"})}
    typed = {"a": "#", "a_one": "if TYPE_CHECKING:\n    from .two import x", "a_two": "from .one import y"}
    assert circles(imports(parsed(**typed))) == {frozenset({"a.one", "a.two"})}


if __name__ == "__main__":
    graph = rooms(imports(_trees()))
    print(f"{len(graph)} rooms, {sum(map(len, graph.values()))} arrows, {floors(graph)} floors")
    print("import the host:", sorted(touching_the_host(_trees())))
