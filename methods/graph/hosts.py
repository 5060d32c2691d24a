"""What the engines that use a ComfyUI share: pictures go in and come out as files, whatever carries them."""

from __future__ import annotations

import hashlib
import tempfile
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..imaging.files import READABLE
from ..imaging.images import Picture, read, write
from .engine import Engine, Result, Watch, as_loaded, rounded
from .engine import Gone as Gone
from .graph import Graph

METHOD = "auto"  # of previews, when they are asked for: the best that the host has for a model
FOLDER = "priorsr"  # of temporary pictures that are given to a host


class HostEngine(Engine):
    """A ComfyUI that runs graphs."""

    def __init__(self):
        self._given: dict[str, str] = {}

    def _run(self, graph: Graph, pictures: Mapping[str, Picture], watch: Watch) -> Result:
        nodes = rounded(graph)
        for key, picture in pictures.items():
            nodes[key]["inputs"]["image"] = self._name_of(picture)
        result = Result()
        for key, output in self._outputs(nodes, watch).items():
            key = key.removeprefix("priorsr-")
            for image in output.get("images") or []:
                suffix = Path(str(image["filename"])).suffix.lower()
                if suffix not in READABLE:
                    result.files.setdefault(key, []).append((suffix, self._fetch(image)))
                    continue
                where = result.saved if image.get("type") == "output" else result.shown
                where.setdefault(key, []).append(as_loaded(self._decoded(image)))
            texts = output.get("text") or []
            if key in graph.nodes and texts:
                result.texts[key] = [texts] if isinstance(texts, str) else [str(text) for text in texts]
        return result

    def exists(self, folder: str, name: str) -> bool:
        """What a host has is among the choices of its own definitions; beside these, what it made itself."""
        return folder == "input" and name.endswith("]")

    def _name_of(self, picture: Picture) -> str:
        """What the host's loader calls a picture that is given to it."""
        content = _png(picture)
        name = f"{hashlib.sha256(content).hexdigest()[:24]}.png"
        if name not in self._given:
            self._given = {name: self._give(name, content)}
        return self._given[name]

    def _decoded(self, image: Mapping) -> Picture:
        """A picture that the host made, without the graph that it writes into it."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"picture{Path(str(image['filename'])).suffix}")
            path.write_bytes(self._fetch(image))
            return read(path)

    @abstractmethod
    def _give(self, name: str, content: bytes) -> str:
        """Put a PNG where the host's loader finds it; the name that it has there."""

    @abstractmethod
    def _outputs(self, nodes: dict[str, Any], watch: Watch) -> dict[str, dict]:
        """Run nodes to their end; what each output node showed. Raises ValueError and Gone."""

    @abstractmethod
    def _fetch(self, image: Mapping) -> bytes:
        """The file of an image that a node showed."""


def _png(picture: Picture) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write(picture, Path(folder, "picture.png")).read_bytes()


def refusal(graph_nodes: Mapping[str, Mapping], node_errors: Mapping[str, Mapping], message: str) -> str:
    """What a host says of a graph that it does not take, in one sentence."""
    for key, told in node_errors.items():
        for error in told.get("errors") or []:
            name = (graph_nodes.get(key, {}).get("_meta") or {}).get("title") or told.get("class_type", "")
            return f"node {key} ({name}): {error.get('message', '')}: {error.get('details', '')}".rstrip(": ")
    return message or "the graph is not valid"


def failure(nodes: Mapping[str, Mapping], messages: list) -> str:
    """What a host says of a run that failed, in one sentence."""
    for kind, told in messages:
        if kind == "execution_error":
            key = str(told.get("node_id", ""))
            title = (nodes.get(key, {}).get("_meta") or {}).get("title") or told.get("node_type", "")
            return f"node {key} ({title}): {str(told.get('exception_message', '')).strip()}"
        if kind == "execution_interrupted":
            return "the run was interrupted in ComfyUI"
    return "the run failed in ComfyUI: its console says more"
