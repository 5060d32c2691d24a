"""comfy_api.latest: the words in which nodes describe themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass
from types import SimpleNamespace
from typing import Any, ClassVar


@dataclass
class Input:
    """A socket, or a widget of any kind."""

    id: str
    options: Sequence = ()
    default: Any = None
    min: float | None = None
    max: float | None = None
    step: float | None = None
    control_after_generate: bool = False
    multiline: bool = False
    optional: bool = False
    tooltip: str | None = None
    extra_dict: dict | None = None
    display_name: str | None = None
    io_type: ClassVar[str] = ""


Option = make_dataclass("Option", ("key", "inputs"))  # a choice of a DynamicCombo, with what it brings
Output = make_dataclass(
    "Output", ["id", *((name, object, None) for name in ("display_name", "tooltip", "is_output_list"))]
)


@dataclass
class Schema:
    """What a node is."""

    node_id: str
    display_name: str
    category: str
    inputs: list[Input]
    outputs: list[Any]  # of Output
    description: str
    is_output_node: bool = False


class NodeOutput:
    def __init__(self, *args: Any, ui: Any = None):
        self.args, self.ui = args, ui


class Locked(type):
    """Of the classes that the host calls nodes by: nothing can be set on them."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise AttributeError(f"cannot set {name} on the locked class {cls.__name__}")


class ComfyNode:
    SCHEMA: ClassVar[Schema | None] = None

    @classmethod
    def define_schema(cls) -> Schema:
        raise NotImplementedError

    @classmethod
    def execute(cls, **given: Any) -> NodeOutput:
        raise NotImplementedError

    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        cls.SCHEMA = cls.define_schema()
        return cls.SCHEMA


def kind(io_type: str) -> type:
    """A type of what flows between nodes: its inputs and outputs."""
    parts = {base.__name__: type(base.__name__, (base,), {"io_type": io_type}) for base in (Input, Output)}
    return type(io_type, (), {"io_type": io_type, **parts})


ComfyExtension = object
PLAIN = "Int Float String Boolean Combo Image Mask Latent Model Vae Conditioning Sampler Sigmas Noise Guider"
NAMES = {"UpscaleModel": "UPSCALE_MODEL", "DynamicCombo": "COMFY_DYNAMICCOMBO_V3"}
NAMES |= {name: name.upper() for name in PLAIN.split()}
io = SimpleNamespace(
    Schema=Schema, ComfyNode=ComfyNode, NodeOutput=NodeOutput, Input=Input, Output=Output, Custom=kind
)
vars(io).update({name: kind(io_type) for name, io_type in NAMES.items()})
io.DynamicCombo.Option = Option
ui = SimpleNamespace(PreviewText=lambda text: {"text": (text,)})
