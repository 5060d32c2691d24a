"""comfy_api.latest: the words in which nodes describe themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace


@dataclass
class Input:
    """A socket, or a widget of any kind."""

    id: str
    options: Sequence = ()
    default: object = None
    min: float | None = None
    max: float | None = None
    step: float | None = None
    control_after_generate: bool = False
    multiline: bool = False
    optional: bool = False
    tooltip: str | None = None
    extra_dict: dict | None = None


@dataclass
class Option:
    """A choice of a DynamicCombo, with the inputs that it brings."""

    key: str
    inputs: Sequence[Input]


@dataclass
class Output:
    id: str
    display_name: str | None = None
    tooltip: str | None = None
    is_output_list: bool = False


@dataclass
class Schema:
    """What a node is."""

    node_id: str
    display_name: str | None = None
    category: str = ""
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    description: str = ""
    is_output_node: bool = False


class NodeOutput:
    def __init__(self, *args: object, ui: object = None):
        self.args, self.ui = args, ui


class ComfyNode:
    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        return cls.define_schema()


class ComfyExtension:
    """The base of packs."""


def kind(io_type: str) -> type:
    """A type of what flows between nodes: its inputs and outputs."""
    parts = {base.__name__: type(base.__name__, (base,), {"io_type": io_type}) for base in (Input, Output)}
    return type(io_type, (), {"io_type": io_type, **parts})


NAMES = {"UpscaleModel": "UPSCALE_MODEL", "DynamicCombo": "COMFY_DYNAMICCOMBO_V3"}
NAMES |= {
    name: name.upper()
    for name in ("Int", "Float", "String", "Boolean", "Combo", "Image", "Mask", "Latent", "Model", "Vae")
}
NAMES |= {name: name.upper() for name in ("Conditioning", "Sampler", "Sigmas", "Noise", "Guider")}
io = SimpleNamespace(
    Schema=Schema, ComfyNode=ComfyNode, NodeOutput=NodeOutput, Input=Input, Output=Output, Custom=kind
)
vars(io).update({name: kind(io_type) for name, io_type in NAMES.items()})
io.DynamicCombo.Option = Option
ui = SimpleNamespace(PreviewText=lambda text: {"text": (text,)})
