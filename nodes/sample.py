"""Sample Picture."""

from __future__ import annotations

from comfy_api.latest import io

from ..methods.samples import DAMAGES, PICTURES, damaged, sample
from . import host
from .host.images import join


class SamplePicture(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRSamplePicture",
            display_name="Sample Picture",
            category=host.CATEGORY,
            description="A picture that comes along, whole and damaged, to try every other node on.",
            search_aliases=["example image", "test image", "demo picture", "load image"],
            inputs=[
                io.Combo.Input(
                    "picture",
                    options=list(PICTURES),
                    tooltip=(
                        "A face of 128 pixels, aligned as in FFHQ or from chin to forehead, the portrait it "
                        "is from (NASA, public domain), two dogs with such portraits behind them, or the "
                        "dogs alone (A. Berasategi, CC BY 4.0)."
                    ),
                ),
                io.Combo.Input(
                    "damage",
                    options=list(DAMAGES),
                    default="small x4",
                    tooltip=(
                        "Made smaller by an antialiased bicubic kernel; old: half as large, blurred, noisy "
                        "and compressed, as a photograph that was scanned and sent around."
                    ),
                ),
            ],
            outputs=[
                io.Image.Output("image", display_name="image", tooltip="The damaged picture."),
                io.Image.Output("original", display_name="original", tooltip="The picture as it was."),
            ],
        )

    @classmethod
    def execute(cls, picture, damage):
        original = sample(picture)
        return io.NodeOutput(
            host.result(join(damaged(original, damage).float())), host.result(join(original.float()))
        )
