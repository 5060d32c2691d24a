"""SRCNN Upscale."""

from __future__ import annotations

from dataclasses import replace

from comfy_api.latest import io

from ..methods.imaging.resize import resize
from ..methods.visionrefine.srcnn import SRCNNSettings, load_srcnn, srcnn_upscale
from . import host
from .host.images import join, split

SHIPPED = "shipped"


class SRCNNUpscale(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRUpscaleSRCNN",
            display_name="SRCNN Upscale",
            category=f"{host.CATEGORY}/upscale",
            description=(
                "Enlarge images with SRCNN 9-5-5: sharper than bicubic, faithful, invents nothing. "
                "Weights for x2, x3, x4 come along."
            ),
            search_aliases=["super resolution", "upscale", "enlarge", "srcnn"],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip=(
                        "Any size and number of images; each is processed by itself. Alpha is enlarged "
                        "bicubically."
                    ),
                ),
                io.Float.Input(
                    "scale",
                    default=2.0,
                    min=1.0,
                    max=16.0,
                    step=0.05,
                    tooltip=(
                        "Enlargement. 2, 3 and 4 are trained for; other scales go through the nearest "
                        "of them and a resize."
                    ),
                ),
                io.Combo.Input(
                    "weights",
                    options=[SHIPPED, *host.weight_files()],
                    default=SHIPPED,
                    tooltip="The weights shipped for the scale, or a file of models/priorsr.",
                ),
                *host.settings_inputs(SRCNNSettings),
            ],
            outputs=[io.Image.Output("image", display_name="image")],
        )

    @classmethod
    def execute(cls, image, scale, weights, channels, border, space, tile, half):
        settings = SRCNNSettings(channels, border, space, tile, half)
        pixels, alpha = split(image)
        network, native = load_srcnn(scale, None if weights == SHIPPED else str(host.weight_path(weights)))
        side = tile or max(pixels.shape[-2:]) * native

        def run(tile: int):
            # both feature maps of a tile in float32, and as much again for the convolutions' workspace
            with host.on_device(network, activations=2 * 4 * 96 * (tile + 16) ** 2):
                return srcnn_upscale(
                    network, pixels, scale, native, replace(settings, tile=tile), host.progress()
                )

        restored = host.with_smaller_tiles(run, side)
        if alpha is not None:
            alpha = resize(alpha, tuple(restored.shape[-2:]))
        return io.NodeOutput(host.result(join(restored, alpha)))
