"""Matplotlib, which only those who draw plots need."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

CURE = 'plots need matplotlib: pip install "priorsr[plots]"'
SIZE = (640, 480)  # of a plot's place where there is none


def can_plot() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def check_plots() -> None:
    """Raises ImportError where nothing can be drawn, for whoever computes before drawing."""
    if not can_plot():
        raise ImportError(CURE)


def new_figure(**options: Any) -> Figure:
    """A figure that draws without a screen. Raises ImportError where matplotlib is missing."""
    check_plots()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(**options)
    FigureCanvasAgg(figure)
    return figure


def pixels_of(figure: Figure) -> Tensor:
    """A figure drawn, 1 3 H W in 0..1."""
    canvas = cast("FigureCanvasAgg", figure.canvas)
    canvas.draw()
    return _batch(np.asarray(canvas.buffer_rgba())[..., :3])


def in_words(text: str = CURE) -> Tensor:
    """A text in a plot's place, 1 3 480 640 in 0..1."""
    image = Image.new("RGB", SIZE, "white")
    ImageDraw.Draw(image).text((20, SIZE[1] // 2), text, fill="black", font_size=20)
    return _batch(np.asarray(image))


def _batch(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
