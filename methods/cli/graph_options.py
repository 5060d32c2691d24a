"""What the verbs of `priorsr graph` share: the engines that a command names, the graph with what it sets."""

from __future__ import annotations

import argparse
import shlex
from contextlib import ExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..graph.engine import Engine
    from ..graph.graph import Graph


def engines_of(options: argparse.Namespace, stack: ExitStack) -> list[Engine]:
    """The hosts that are named; none for a run without."""
    if options.comfyui and options.server:
        raise ValueError("give --comfyui or --server, not both")
    if not options.comfyui and not options.server:
        return []
    from ..api.graph import open_engine

    engines = [open_engine(url) for url in options.server]
    if options.comfyui:
        engines = [open_engine(None, options.comfyui, options=shlex.split(options.comfyui_options))]
    for engine in engines:
        stack.callback(engine.close)
    return engines


def graph_of(options: argparse.Namespace, engines: list[Engine]) -> Graph:
    """The graph with what is set. Raises ValueError."""
    from ..graph.graph import load

    graph = load(options.flow, engines[0].definitions if engines else None)
    for text in options.set:
        name, equal, value = text.partition("=")
        if not equal:
            raise ValueError(f"--set {text} sets nothing: write it as NODE.INPUT=VALUE")
        graph.set(name, value)
    return graph
