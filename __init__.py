"""PriorSR: image and face super-resolution with diffusion priors.

A ComfyUI node pack and a plain Python package: `priorsr.upscale("in.png", "diffsr", 4)`. Nothing heavy is
imported before a function is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .methods.api import Faces as Faces
    from .methods.api import Loaded as Loaded
    from .methods.api import Picture as Picture
    from .methods.api import compare as compare
    from .methods.api import degrade as degrade
    from .methods.api import graph as graph
    from .methods.api import judge as judge
    from .methods.api import list_methods as list_methods
    from .methods.api import load as load
    from .methods.api import read as read
    from .methods.api import restore_faces as restore_faces
    from .methods.api import upscale as upscale
    from .methods.api import write as write

__version__ = "1.0.0"

WEB_DIRECTORY = "./web"

FUNCTIONS = (
    "compare",
    "degrade",
    "graph",
    "judge",
    "list_methods",
    "load",
    "read",
    "restore_faces",
    "upscale",
    "write",
)
TYPES = ("Faces", "Loaded", "Picture")


def __getattr__(name: str) -> Any:
    """The functions for Python and what they give, loaded when the first of them is used."""
    if name not in FUNCTIONS + TYPES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .methods import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *FUNCTIONS, *TYPES})


async def comfy_entrypoint():
    """Called by ComfyUI; loads the nodes (and with them torch) only then."""
    from .nodes import PriorSRExtension

    return PriorSRExtension()
