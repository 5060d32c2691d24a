"""Which module imports which, and on which floor each folder lies; draws docs/architecture.png.

Imports within functions and for type checkers count: what moves has to move with them.
python tools/import_graph.py
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("samplers", "methods", "nodes")
COLOURS = {"nodes": "#d8e8ff", "samplers": "#dff2df", "methods": "#fff3d6"}

Graph = Mapping[str, set[str]]


@cache
def trees() -> dict[str, tuple[ast.Module, bool]]:
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
    packages = {name for name, (_, package) in trees().items() if package}

    def room(name: str) -> str:
        parent = name.rpartition(".")[0]
        return name if name in packages or parent == "methods" else parent

    joined: dict[str, set[str]] = {room(name): set() for name in graph}
    for name, others in graph.items():
        joined[room(name)] |= {room(other) for other in others} - {room(name)}
    return joined


def floors(graph: Graph) -> dict[str, int]:
    """On which floor each lies: 1 for what imports nothing, else above all that it imports; no circles."""

    @cache
    def height(name: str) -> int:
        return 1 + max(map(height, graph[name]), default=0)

    return {name: height(name) for name in graph}


def main() -> None:
    graph = rooms(imports(trees()))
    graph = {name: others - {"methods"} for name, others in graph.items() if name != "methods"}

    @cache
    def below(name: str) -> frozenset[str]:
        return frozenset(graph[name]).union(*(below(other) for other in graph[name]))

    heights = floors(graph)
    levels: dict[int, list[str]] = {}
    for name in sorted(graph):
        levels.setdefault(heights[name], []).append(name)
    places = {}
    for height, names in levels.items():
        for i, name in enumerate(names):
            places[name] = ((i + 1) / (len(names) + 1), height)

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 9), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, others in graph.items():
        for other in others:
            if not any(other in below(between) for between in others):  # which goes without saying
                axes.annotate(
                    "",
                    places[other],
                    places[name],
                    arrowprops={"arrowstyle": "->", "color": "#999999", "shrinkA": 12, "shrinkB": 12},
                )
    for name, (x, y) in places.items():
        colour = COLOURS[name.partition(".")[0]]
        style = {"boxstyle": "round,pad=0.35", "facecolor": colour, "edgecolor": "#666666"}
        axes.text(x, y, name.removeprefix("methods."), ha="center", va="center", fontsize=9, bbox=style)
    axes.set(xlim=(0, 1), ylim=(0.5, max(levels) + 0.5), yticks=sorted(levels), xticks=[], ylabel="floor")
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    canvas.print_png(ROOT / "docs" / "architecture.png")
    print(f"{len(graph)} rooms, {sum(map(len, graph.values()))} arrows, {max(levels)} floors")


if __name__ == "__main__":
    main()
