"""What runs a graph, and what comes of it; the same for all engines, so that their pictures are the same."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from ..imaging.images import Picture, to_uint8
from .definitions import Definitions
from .graph import Graph
from .saved import Graph as Nodes

SAVER = "SaveImage"
ROUND = "PriorSRDegrade"
QUANTISE = '{"name": "levels of files", "steps": [{"step": "Quantise"}]}'

OnStep = Callable[[str, int, int], None]  # a node's id, steps done, of so many; 0 of 0 when it begins
OnPreview = Callable[[Image.Image], None]  # what a node shows of a picture that it works on


class Gone(OSError):
    """An engine that is not there any more: what it was to do goes to another."""


def no_steps(node: str, done: int, total: int) -> None:
    """Hears of steps and does nothing."""


@dataclass(frozen=True)
class Watch:
    """What hears of a run while it works; of previews only where somebody wants them."""

    step: OnStep = no_steps
    preview: OnPreview | None = None


@dataclass
class Result:
    """Pictures that nodes saved, those that they only showed, texts, and other files that were saved, such as
    videos, with their suffixes; each by the node's id.
    """

    saved: dict[str, list[Picture]] = field(default_factory=dict)
    shown: dict[str, list[Picture]] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)

    def pictures(self) -> dict[str, list[Picture]]:
        """Those that are results: what was saved or, of a graph that saves nothing, what was shown."""
        return self.saved or self.shown

    @property
    def picture(self) -> Picture:
        """The first of them. Raises ValueError where there is none."""
        for pictures in self.pictures().values():
            if pictures:
                return pictures[0]
        raise ValueError("the graph gave no picture: add a Save Image")


class Engine(ABC):
    """What runs graphs of the nodes that it has definitions of, one after another, models staying loaded."""

    definitions: Definitions

    def run(
        self,
        graph: Graph,
        pictures: Mapping[str, Picture],
        on_step: OnStep = no_steps,
        on_preview: OnPreview | None = None,
    ) -> Result:
        """What a graph gives. pictures: what the nodes of these ids load in place of what they name;
        on_preview: hears of previews, which are made for it where the host makes none otherwise.

        Raises ValueError with what a node says, Gone where the engine is.
        """
        given = {key: as_loaded(picture) for key, picture in pictures.items()}
        return self._run(graph, given, Watch(on_step, on_preview))

    @abstractmethod
    def _run(self, graph: Graph, pictures: Mapping[str, Picture], watch: Watch) -> Result:
        """The same, with pictures as every engine loads them."""

    @abstractmethod
    def exists(self, folder: str, name: str) -> bool:
        """Whether there is a file of a name in a models folder, or in "input"."""

    def close(self) -> None:  # noqa: B027 - a server goes on without us
        """Give back what it holds."""


def as_loaded(picture: Picture) -> Picture:
    """A picture as every engine loads it: at 8 bits, by the decoder of this package."""
    pixels = to_uint8(picture.pixels).float() / 255
    alpha = None if picture.alpha is None else to_uint8(picture.alpha).float() / 255
    return Picture(pixels, alpha)


def rounded(graph: Graph) -> Nodes:
    """Nodes for a ComfyUI that has ours: before pictures are saved they are rounded to the nearest level of a
    file, where Save Image would cut what is beyond, and so be darker by half a level than other engines.
    """
    nodes: dict[str, Any] = {key: {**one, "inputs": dict(one["inputs"])} for key, one in graph.nodes.items()}
    if ROUND not in graph.definitions:
        return nodes
    for key, one in graph.nodes.items():
        if one["class_type"] in (SAVER, "PreviewImage"):
            inputs = {"image": one["inputs"]["images"], "degradation": "recipe", "degradation.json": QUANTISE}
            inputs |= {"seed": 0, "vary": False}
            nodes[f"priorsr-{key}"] = {"class_type": ROUND, "inputs": inputs}
            nodes[key]["inputs"]["images"] = [f"priorsr-{key}", 0]
    return nodes
