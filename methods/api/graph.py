"""Graphs from Python: `priorsr.graph.load("flow.json").set("NODE.INPUT", value).run("photo.png").picture`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from ..graph.definitions import runs_alone
from ..graph.engine import Engine, OnPreview, OnStep, no_steps
from ..graph.engine import Result as Result
from ..graph.graph import LOADERS, SAMPLE, Graph
from ..graph.graph import load as load_graph
from ..imaging.convert import as_planes
from ..imaging.images import Picture, read

CURE = "needs --comfyui or --server"


class Flow(Graph):
    """A graph that can be run."""

    def set(self, name: str, value: Any) -> Flow:
        super().set(name, value)
        return self

    def run(
        self,
        input: Any = None,
        into: str = "",
        *,
        server: str | None = None,
        comfyui: str | os.PathLike | None = None,
        engine: Engine | None = None,
        device: str = "auto",
        on_step: OnStep = no_steps,
        on_preview: OnPreview | None = None,
    ) -> Result:
        """What the graph gives: pictures by the nodes that save them, and texts.

        input: a picture of any kind that `priorsr.upscale` takes, for the only node that loads one or the one
        called `into`. Without server (its address), comfyui (a checkout) or an engine of `open_engine`, it
        runs here, on `device`. on_step(node, done, all) hears of steps, on_preview of previews as PIL images.
        Raises ValueError that says what is wrong with the graph, FileNotFoundError.
        """
        if engine is None:
            check_alone(self, bool(server or comfyui))
            with closing(open_engine(server, comfyui, device)) as opened:
                return self.run(input, into, engine=opened, on_step=on_step, on_preview=on_preview)
        given = {} if input is None else {loader_of(self, into): picture_of(input)}
        pictures = {**other_pictures(self, given), **given}
        check(self, engine, pictures)
        return engine.run(self, pictures, on_step, on_preview)


def load(flow: str | os.PathLike | Mapping, engine: Engine | None = None) -> Flow:
    """The graph of a saved workflow, an API file, a PNG or WebP that carries one, or what such a file says.

    engine: whose nodes it may have beside ours and the few that run without ComfyUI. Raises ValueError and
    FileNotFoundError.
    """
    found = load_graph(flow, None if engine is None else engine.definitions)
    return Flow(found.nodes, found.definitions, found.path)


def open_engine(
    server: str | None = None,
    comfyui: str | os.PathLike | None = None,
    device: str = "auto",
    options: Sequence[str] = (),
) -> Engine:
    """What runs graphs: a server, a checkout of ComfyUI, or without both this process; `close()` ends it.

    options: of the checkout's main.py. Raises ValueError and OSError.
    """
    if server and comfyui:
        raise ValueError("a graph runs on a server or by a checkout of ComfyUI: give one of them")
    if server:
        from ..graph.server import Server

        return Server(server)
    if comfyui:
        from ..graph.comfyui import ComfyUI

        return ComfyUI(comfyui, options)
    from ..device import compute_device
    from ..graph.standin.engine import StandIn

    return StandIn(compute_device(device))


def check_alone(graph: Graph, hosted: bool) -> None:
    """Raises ValueError that names the nodes that need a ComfyUI, where there is none."""
    foreign = [key for key, one in graph.nodes.items() if not runs_alone(one["class_type"])]
    if foreign and not hosted:
        names = ", ".join(f"{key} ({graph.nodes[key]['class_type']})" for key in foreign)
        raise ValueError(f"node{'s' if len(foreign) > 1 else ''} {names}: {CURE}, a ComfyUI that has them")


def loader_of(graph: Graph, into: str = "") -> str:
    """The node that the input picture goes to: the one named, else the only one that loads one; a sample
    picture of a template becomes one that does.

    Raises ValueError.
    """
    loaders = graph.loaders()
    samples = [key for key, one in graph.nodes.items() if one["class_type"] == SAMPLE]
    if into:
        key = graph.find(into)
        if key not in [*loaders, *samples]:
            known = ", ".join([*loaders, *samples])
            raise ValueError(f"{graph.name(key)} loads no picture: choose from {known}")
        images = [key]
    else:
        images = (
            [key for key in loaders if graph.nodes[key]["class_type"] == LOADERS[0]] or loaders or samples
        )
    if not images:
        raise ValueError("the graph loads no picture, so there is no place for an input")
    if len(images) > 1:
        raise ValueError(
            f"several nodes load a picture: name the one for the input, {' or '.join(images)}, by --into"
        )
    if images[0] in samples:
        graph.load_in_place_of(images[0])
    return images[0]


def other_pictures(graph: Graph, but: Mapping[str, Any]) -> dict[str, Picture]:
    """The pictures that loaders name and this machine has. Raises ValueError for files that are none."""
    paths = {key: graph.picture_path(key) for key in graph.loaders() if key not in but}
    return {key: read(path) for key, path in paths.items() if path}


def check(graph: Graph, engine: Engine, pictures: Mapping[str, Any]) -> None:
    """Raises ValueError for the first thing that keeps a graph from running."""
    names = {graph.nodes[key]["inputs"]["image"] for key in pictures}

    def exists(folder: str, name: str) -> bool:
        return (folder == "input" and name in names) or engine.exists(folder, name)

    if problems := graph.problems(exists):
        more = f" (and {len(problems) - 1} more, which `priorsr graph check` lists)" if problems[1:] else ""
        raise ValueError(f"{problems[0]}{more}")


def picture_of(input: Any) -> Picture:
    """Raises as `as_planes`, and ValueError for a batch."""
    planes = as_planes(input)
    if len(planes.pixels) != 1:
        raise ValueError("a graph runs for one picture at a time: give them one by one")
    return Picture(planes.pixels.cpu().float(), None if planes.alpha is None else planes.alpha.cpu().float())
