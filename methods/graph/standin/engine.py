"""Graphs of our nodes and a few of the host's, run without it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import torch

from ... import weights
from ...imaging.images import Picture
from ..definitions import Definitions, carried
from ..engine import Engine, Result, Watch
from ..graph import LOADERS, Graph
from ..values import is_link
from . import calling, core, installed

PACKAGE = f"{__name__.split('.methods.')[0]}.nodes"
CURE = "needs --comfyui or --server, a ComfyUI that has it"


class StandIn(Engine):
    """Our nodes on the stand-in of the host, for as long as it is open: one at a time in a process."""

    def __init__(self, device: torch.device | None = None):
        self.definitions: Definitions = carried()
        self._open = ExitStack()
        folders = weights.folders()
        self.host, module = self._open.enter_context(installed(folders[0], PACKAGE, device))
        own = [str(folder) for folder in folders if folder != weights.SHIPPED]
        self.host.folders["priorsr"] = (own, set())
        listed = _awaited(module.PriorSRExtension().get_node_list())
        self.nodes = {node.GET_SCHEMA().node_id: node for node in listed}
        self._kept: dict[
            str, tuple[list, ...]
        ] = {}  # what nodes gave in the last run, by what they were given

    def exists(self, folder: str, name: str) -> bool:
        return folder == "priorsr" and name in self.host.files(folder)

    def close(self) -> None:
        self._open.close()

    def _run(self, graph: Graph, pictures: Mapping[str, Picture], watch: Watch) -> Result:
        for key, one in graph.nodes.items():
            if one["class_type"] not in {*self.nodes, *core.NODES, *core.SHOWING}:
                raise ValueError(f"{graph.name(key)} is of the kind {one['class_type']}, which {CURE}")
        run = _Run(self, graph, pictures, watch)
        self.host.preview = watch.preview or (lambda picture: None)
        with torch.inference_mode():
            for key in _ordered(graph):
                run.node(key)
        self._kept = run.kept
        return run.result


class _Run:
    """One run of a graph: what every node gave, a list of values for each output."""

    def __init__(self, engine: StandIn, graph: Graph, pictures: Mapping[str, Picture], watch: Watch):
        self.engine, self.graph, self.pictures, self.watch = engine, graph, pictures, watch
        self.result = Result()
        self.kept: dict[str, tuple[list, ...]] = {}
        self._outputs: dict[str, tuple[list, ...]] = {}
        self._signatures: dict[str, str] = {}

    def node(self, key: str) -> None:
        """Run a node, unless the last run gave it the same."""
        kind, inputs = self.graph.nodes[key]["class_type"], self.graph.nodes[key]["inputs"]
        signature = self._signatures[key] = self._signature(key)
        if kind in core.SHOWING:
            self._outputs[key] = self._shown(key, kind, self._values(inputs[core.SHOWING[kind]]))
            return
        known = self.engine._kept.get(signature) or self.kept.get(signature)
        ours = self.engine.nodes.get(kind)
        if known is None or (ours is not None and ours.GET_SCHEMA().is_output_node):
            known = self._called(key, kind, {name: self._values(value) for name, value in inputs.items()})
        self.kept[signature] = self._outputs[key] = known

    def _values(self, value: Any) -> list:
        """What an input gets: the values that come by a link, or its own."""
        return self._outputs[value[0]][value[1]] if is_link(value) else [_unwrapped(value)]

    def _called(self, key: str, kind: str, inputs: dict[str, list]) -> tuple[list, ...]:
        """A node called for every value of what is listed, as the host does."""
        if kind in LOADERS:
            if key not in self.pictures:
                raise ValueError(f"{self.graph.name(key)} has no picture to load: give one with --input")
            inputs = {**inputs, "image": [self.pictures[key]]}
        self.watch.step(key, 0, 0)
        self.engine.host.report = lambda done, total: self.watch.step(key, done, total)
        times = max([len(values) for values in inputs.values()], default=1)
        outputs: list[list] = []
        for i in range(times):
            called = {name: values[min(i, len(values) - 1)] for name, values in inputs.items() if values}
            try:
                given, listed = self._call(key, kind, called)
            except (ValueError, FileNotFoundError, RuntimeError) as error:
                raise type(error)(f"{self.graph.name(key)}: {error}") from error
            outputs = outputs or [[] for _ in given]
            for gathered, value, many in zip(outputs, given, listed, strict=True):
                gathered.extend(value if many else [value])
        return tuple(outputs)

    def _call(self, key: str, kind: str, called: dict) -> tuple[tuple, list[bool]]:
        if kind in core.NODES:
            given = core.NODES[kind](**called)
            return given, [False] * len(given)
        node = self.engine.nodes[kind]
        output = node.execute(**calling.arguments(node, **called))
        text = (output.ui or {}).get("text")
        if text:
            self.result.texts.setdefault(key, []).extend(text)
        listed = [bool(one.is_output_list) for one in node.GET_SCHEMA().outputs]
        return output.args, listed

    def _shown(self, key: str, kind: str, values: list) -> tuple[list, ...]:
        if kind == "PreviewAny":
            texts = [core.as_text(value) for value in values]
            self.result.texts[key] = texts
            return (texts,)
        where = self.result.saved if kind == "SaveImage" else self.result.shown
        where[key] = [picture for images in values for picture in core.pictures_of(images)]
        return (values,)

    def _signature(self, key: str) -> str:
        """The same for the same node with the same inputs, all the way up."""
        node = self.graph.nodes[key]
        told = [node["class_type"]]
        if key in self.pictures and node["class_type"] in LOADERS:
            told.append(_fingerprint(self.pictures[key]))
        for name, value in sorted(node["inputs"].items()):
            link = is_link(value)
            told += [
                name,
                f"{self._signatures[value[0]]}/{value[1]}" if link else json.dumps(value, default=str),
            ]
        return hashlib.sha256("\0".join(told).encode()).hexdigest()


def _fingerprint(picture: Picture) -> str:
    digest = hashlib.sha256()
    for part in (picture.pixels, picture.alpha):
        digest.update(b"-" if part is None else part.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _unwrapped(value: Any) -> Any:
    return value["__value__"] if isinstance(value, dict) and "__value__" in value else value


def _ordered(graph: Graph) -> Iterator[str]:
    """The nodes that something is shown of, and what they need, each after what it needs."""
    done: set[str] = set()
    ends = [
        key for key, one in graph.nodes.items() if graph.definitions[one["class_type"]].get("output_node")
    ]
    for end in ends:
        waiting = [end]
        while waiting:
            key = waiting[-1]
            links = [link[0] for link in graph.nodes[key]["inputs"].values() if is_link(link)]
            missing = [needed for needed in links if needed not in done]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            if key not in done:
                done.add(key)
                yield key


def _awaited(coroutine: Coroutine) -> Any:
    """What a coroutine that waits for nothing returns, also where a loop runs."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("the list of nodes waits for something")
