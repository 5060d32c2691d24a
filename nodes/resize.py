"""Resize Image."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..methods.imaging.alpha import fill_hidden
from ..methods.imaging.resize import METHODS, resize, scaled_size
from . import host
from .host.images import join, split


class ResizeImage(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRResize",
            display_name="Resize Image (exact)",
            category=f"{host.CATEGORY}/image",
            description=(
                "Resize with the filters that super-resolution papers use: antialiased like "
                "Pillow, or MATLAB's bicubic."
            ),
            search_aliases=["resize", "downscale", "bicubic", "matlab", "lanczos", "antialias"],
            inputs=[
                io.Image.Input("image", tooltip="Alpha is resized with the same filter."),
                io.DynamicCombo.Input(
                    "to",
                    options=[
                        io.DynamicCombo.Option(
                            "scale",
                            [
                                io.Float.Input(
                                    "scale",
                                    default=0.5,
                                    min=0.02,
                                    max=32.0,
                                    step=0.01,
                                    tooltip="Of both sides; below 1 shrinks.",
                                )
                            ],
                        ),
                        io.DynamicCombo.Option(
                            "size",
                            [
                                io.Int.Input("width", default=512, min=1, max=16384, tooltip="In pixels."),
                                io.Int.Input(
                                    "height",
                                    default=512,
                                    min=1,
                                    max=16384,
                                    tooltip="In pixels; the shape is not kept.",
                                ),
                            ],
                        ),
                        io.DynamicCombo.Option(
                            "multiple",
                            [
                                io.Int.Input(
                                    "multiple",
                                    default=4,
                                    min=1,
                                    max=512,
                                    tooltip="Down to the nearest multiple of this on both sides.",
                                )
                            ],
                        ),
                    ],
                    tooltip="What to resize to.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="bicubic",
                    tooltip="bicubic has a = -0.5, as Pillow and MATLAB do.",
                ),
                io.Boolean.Input(
                    "antialias",
                    default=True,
                    tooltip="Widen the filter when shrinking. Off aliases, as plain interpolation does.",
                ),
                io.Boolean.Input(
                    "matlab_border",
                    default=False,
                    tooltip="Mirror the image at its border as MATLAB does, instead of as Pillow does.",
                ),
            ],
            outputs=[io.Image.Output("image", display_name="image")],
        )

    @classmethod
    def execute(cls, image, method, antialias, matlab_border, to=None):
        pixels, alpha = split(image)
        size = _size(to, tuple(pixels.shape[-2:]))
        border = "mirror" if matlab_border else "renormalise"
        with host.cancellable():
            planes = pixels if alpha is None else torch.cat([fill_hidden(pixels, alpha), alpha], 1)
        done = host.for_each(
            lambda i: resize(planes[i : i + 1], size, method=method, antialias=antialias, border=border),
            len(planes),
        )
        return io.NodeOutput(host.result(join(done)))


def _size(choice: dict | None, size: tuple[int, int]) -> tuple[int, int]:
    kind, choice = host.chosen(choice, "to", ("scale", "size", "multiple"))
    if kind == "scale":
        return tuple(max(1, scaled_size(n, choice["scale"])) for n in size)
    if kind == "size":
        return choice["height"], choice["width"]
    return tuple(max(1, n // choice["multiple"]) * choice["multiple"] for n in size)
