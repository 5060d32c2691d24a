"""Degrade Image."""

from __future__ import annotations

import json
import math

from comfy_api.latest import io

from ..methods.degrade import Recipe, degrade, preset
from ..methods.degrade.presets import FACE_LEVELS, dpi
from ..methods.degrade.steps import Blur, GaussianNoise, Jpeg, PoissonNoise, Sinc, SpeckleNoise, Webp
from ..methods.imaging.alpha import fill_hidden
from ..methods.imaging.resize import resize
from . import host
from .host.images import join, split

NOISES = ("gaussian", "poisson", "speckle")
CODECS = {"jpeg": Jpeg, "webp": Webp}


def _scale(default: float, tooltip: str) -> io.Input:
    return io.Float.Input("scale", default=default, min=1.0, max=64.0, step=0.5, tooltip=tooltip)


OPTIONS = [
    io.DynamicCombo.Option(
        "bicubic", [_scale(4.0, "The result is this many times smaller (antialiased bicubic).")]
    ),
    io.DynamicCombo.Option(
        "face",
        [
            io.Combo.Input(
                "level",
                options=list(FACE_LEVELS),
                default="heavy",
                tooltip=(
                    "How strong blur, reduction, noise and JPEG may get (DPI, Eq. 19). The result "
                    "keeps the input's size."
                ),
            )
        ],
    ),
    io.DynamicCombo.Option(
        "real-world",
        [
            _scale(
                4.0, "The result is this many times smaller, after two random rounds of damage (Real-ESRGAN)."
            )
        ],
    ),
    io.DynamicCombo.Option(
        "srdg", [_scale(8.0, "Bilinear down by this factor and bicubic back up; the size is kept.")]
    ),
    io.DynamicCombo.Option(
        "blur",
        [
            io.Float.Input(
                "sigma",
                default=1.5,
                min=0.05,
                max=30.0,
                step=0.05,
                tooltip="Standard deviation of the Gaussian, in pixels.",
            ),
            io.Float.Input(
                "sigma_across",
                default=0.0,
                min=0.0,
                max=30.0,
                step=0.05,
                tooltip="The other deviation of an oval one; 0 is round.",
            ),
            io.Float.Input(
                "angle",
                default=0.0,
                min=-180.0,
                max=180.0,
                step=1.0,
                tooltip="Direction of the first deviation in degrees.",
            ),
            io.Int.Input(
                "kernel",
                default=21,
                min=1,
                max=127,
                step=2,
                tooltip="Kernel width in pixels; at least 6 sigma to hold it all.",
            ),
        ],
    ),
    io.DynamicCombo.Option(
        "ringing",
        [
            io.Float.Input(
                "cutoff",
                default=1.5,
                min=0.1,
                max=3.14,
                step=0.01,
                tooltip="Frequencies above this many radians a pixel vanish.",
            ),
            io.Int.Input("kernel", default=21, min=3, max=127, step=2, tooltip="Kernel width in pixels."),
        ],
    ),
    io.DynamicCombo.Option(
        "noise",
        [
            io.Combo.Input(
                "kind",
                options=list(NOISES),
                default="gaussian",
                tooltip="Additive, shot noise, or proportional to brightness.",
            ),
            io.Float.Input(
                "amount",
                default=10.0,
                min=0.0,
                max=255.0,
                step=0.5,
                tooltip=(
                    "Gaussian: sigma in levels of 255. Poisson: ten times its scale. Speckle: sigma in "
                    "percent of the pixel."
                ),
            ),
            io.Boolean.Input("grey", default=False, tooltip="All channels share the noise."),
        ],
    ),
    io.DynamicCombo.Option(
        "compression",
        [
            io.Combo.Input(
                "codec",
                options=list(CODECS),
                default="jpeg",
                tooltip="Which lossy codec the image passes through.",
            ),
            io.Int.Input(
                "quality", default=50, min=1, max=100, tooltip="Low values leave blocks and smears."
            ),
        ],
    ),
    io.DynamicCombo.Option(
        "recipe",
        [
            io.String.Input(
                "json",
                default="",
                multiline=True,
                tooltip="A recipe from this node's second output, to replay, or one written by hand.",
            )
        ],
    ),
]


class DegradeImage(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRDegrade",
            display_name="Degrade Image",
            category=f"{host.CATEGORY}/degrade",
            description=(
                "Damage images the way the papers do, to test restorers or make training pairs. "
                "Image and seed decide the result."
            ),
            search_aliases=["blur", "noise", "jpeg", "downscale", "low resolution", "synthetic degradation"],
            inputs=[
                io.Image.Input("image", tooltip="Alpha is kept, resized where the result is smaller."),
                io.DynamicCombo.Input(
                    "degradation",
                    options=OPTIONS,
                    tooltip="A recipe of the papers, a single step, or a saved recipe.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip=(
                        "Decides every random value. Each image of a batch gets this seed, so its "
                        "place in the batch does not matter."
                    ),
                ),
                io.Boolean.Input(
                    "vary",
                    default=False,
                    tooltip="Give image i of the batch the seed plus i, for different damage on each.",
                ),
            ],
            outputs=[
                io.Image.Output("image", display_name="image"),
                io.String.Output(
                    "recipe",
                    display_name="recipe",
                    tooltip="What was drawn for each image, as JSON; feed one back through 'recipe'.",
                ),
            ],
        )

    @classmethod
    def execute(cls, image, seed, vary, degradation=None):
        recipe = _recipe(degradation)
        with host.cancellable():
            pixels, alpha = split(image)
            pixels = pixels if alpha is None else fill_hidden(pixels, alpha)
        seeds = [seed + i if vary else seed for i in range(len(pixels))]
        pairs = host.for_each(lambda i: degrade(pixels[i : i + 1], recipe, seeds[i : i + 1]), len(pixels))
        drawn = [one for _, some in pairs for one in some]
        with host.cancellable():
            alpha = None if alpha is None else resize(alpha, tuple(pairs[0][0].shape[-2:]))
        done = host.result(join([picture for picture, _ in pairs], alpha))
        recipes = [json.loads(d.to_json()) for d in drawn]
        text = json.dumps(recipes[0] if len(recipes) == 1 else recipes, indent=1)
        return io.NodeOutput(done, text)


def _recipe(choice: dict | None) -> Recipe:
    kind, choice = host.chosen(choice, "degradation", [option.key for option in OPTIONS])
    if kind in ("bicubic", "real-world", "srdg"):
        return preset(kind, choice["scale"])
    if kind == "face":
        return dpi(choice["level"])
    if kind == "blur":
        across = choice["sigma_across"] or choice["sigma"]
        oval = Blur(choice["kernel"], choice["sigma"], across, math.radians(choice["angle"]), isotropic=0.0)
        return Recipe("blur", (oval,))
    if kind == "ringing":
        return Recipe("ringing", (Sinc(choice["kernel"], choice["cutoff"]),))
    if kind == "noise":
        amount, grey = choice["amount"], float(choice["grey"])
        noises = {
            "gaussian": lambda: GaussianNoise(amount, grey),
            "poisson": lambda: PoissonNoise(amount / 10, grey),
            "speckle": lambda: SpeckleNoise(amount / 100, grey),
        }
        return Recipe("noise", (noises[choice["kind"]](),))
    if kind == "compression":
        return Recipe("compression", (CODECS[choice["codec"]](choice["quality"]),))
    return Recipe.from_json(choice["json"])
