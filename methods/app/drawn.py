"""A region drawn by hand over a picture, and the mask that a command takes for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr  # pyright: ignore[reportMissingImports]
import numpy as np
import torch

from ..imaging.images import Picture, write
from .run import shown

DRAWN = 1024  # pixels of the longer side of what is drawn on: a mask of any size fits
PAINT = ("rgb(255, 60, 60)", 0.6)
HINT = """Paint over what is to be restored: everything else stays as it is, or is enlarged plainly.
With nothing painted, all of it is restored."""
BESIDE = "The command takes this mask from the folder of the picture:"


def editor() -> gr.ImageEditor:
    """What a picture is painted on: a brush, an eraser, and nothing that changes the picture."""
    return gr.ImageEditor(
        show_label=False,
        sources=(),
        transforms=(),
        layers=False,
        brush=gr.Brush(colors=[PAINT], default_color=PAINT, color_mode="fixed"),
        buttons=["fullscreen"],
        interactive=True,
        height=460,
        elem_id="page-region",
    )


def ground(picture: Path, at: Path) -> str:
    """The picture that is painted on, written to the file `at`. Raises as `read`."""
    return str(shown(picture, at, DRAWN))


def mask_name(picture: str) -> str:
    """The name of the mask beside a picture, which differs from the picture's."""
    return f"{Path(picture).stem}_region.png"


def mask_of(drawing: Mapping[str, Any] | None, at: Path) -> str:
    """The file `at`, white where the editor's layers (H W 4 in 0..255 each) are painted; "" where none is."""
    layers = (drawing or {}).get("layers") or []
    painted = np.logical_or.reduce([layer[..., 3] > 0 for layer in layers]) if layers else np.zeros((1, 1))
    if not painted.any():
        return ""
    pixels = torch.from_numpy(painted.astype(np.float32))[None, None]
    return str(write(Picture(pixels), at, overwrite=True))
