"""Tiled Denoiser: a part for the host's own sampling graphs."""

from __future__ import annotations

from comfy_api.latest import io

from ..methods.stablesr.prior import WEIGHTS
from ..samplers.tiled import gaussian_weights
from . import host
from .guidance import CATEGORY
from .host import model as host_model

TILE_WEIGHTS = {"wide": gaussian_weights, **WEIGHTS}


class TiledDenoiser(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        manual = [
            io.Int.Input(
                "tile",
                default=256,
                min=8,
                max=16384,
                step=8,
                tooltip="Side of a tile in the MODEL's pixels; a latent one is 8 of a picture.",
            ),
            io.Int.Input(
                "overlap",
                default=64,
                min=0,
                max=16384,
                step=8,
                tooltip="How far neighbouring tiles overlap, in the same pixels.",
            ),
        ]
        return host.schema(
            node_id="PriorSRTiledDenoiser",
            display_name="Tiled Denoiser",
            category=CATEGORY,
            description=(
                "Lets any MODEL work on pictures larger than it was trained for: in every step it "
                "sees overlapping tiles, which are blended."
            ),
            search_aliases=[
                "tile",
                "aggregation sampling",
                "multidiffusion",
                "mixture of diffusers",
                "large",
                "upscale",
            ],
            inputs=[
                io.Model.Input(
                    "model", tooltip="Pixel or latent; the copy that comes out goes to any sampler."
                ),
                io.DynamicCombo.Input(
                    "tiles",
                    options=[io.DynamicCombo.Option("auto", []), io.DynamicCombo.Option("manual", manual)],
                    tooltip=(
                        "auto: the size that a pixel prior was trained on, 64 latent pixels for "
                        "others, overlapping by a quarter."
                    ),
                ),
                io.Int.Input(
                    "tile_batch",
                    default=1,
                    min=1,
                    max=4096,
                    tooltip="Tiles in one network call; more is faster and needs more memory.",
                ),
                io.Combo.Input(
                    "weights",
                    options=list(TILE_WEIGHTS),
                    default="wide",
                    optional=True,
                    tooltip=(
                        "Gaussian of a tile: wide, narrow and centred as StableSR's (symmetric), or "
                        "half a pixel off as it was published."
                    ),
                ),
            ],
            outputs=[io.Model.Output("model", display_name="MODEL")],
        )

    @classmethod
    def execute(cls, model, tile_batch, tiles=None, weights="wide"):
        kind, given = host.chosen(tiles, "tiles", ("auto", "manual"))
        if kind == "auto":
            side = host_model.natural_tile(model)
            given = {"tile": side, "overlap": side // 4}
        shape = given["tile"], given["overlap"], tile_batch
        return io.NodeOutput(host_model.tiled(model, *shape, TILE_WEIGHTS[weights]))
