"""Colour Correction, Pre-clean: what is done to pictures before and after StableSR."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

from ..methods.faces.codeformer import CodeFormerRestorer, CodeFormerUpscaler
from ..methods.imaging.alpha import upscale_with_alpha
from ..methods.stablesr.color_fix import METHODS, color_fix
from ..methods.stablesr.pre_clean import CLEANED, pre_clean
from . import host
from .codeformer import Network, room_of
from .host.images import check_count, join, split


class ColourCorrection(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRColourCorrection",
            display_name="Colour Correction",
            category=f"{host.CATEGORY}/image",
            description=(
                "Give restored images the colours of the image they were made from, whatever made "
                "them (Wang et al. 2024; Reinhard et al. 2001)."
            ),
            search_aliases=[
                "color fix",
                "color match",
                "adain",
                "wavelet",
                "lab",
                "color transfer",
                "stablesr",
            ],
            inputs=[
                io.Image.Input("image", tooltip="The images to correct; alpha is kept."),
                io.Image.Input(
                    "source",
                    tooltip=(
                        "Whose colours they get: one image or one for each, of any size; alpha is ignored."
                    ),
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="adain",
                    tooltip=(
                        "adain: mean and contrast of each channel. wavelet: the coarse colours of "
                        "every place, for large images. lab: mean and contrast of lightness and two opponent "
                        "colours; lab-ab: of the colours alone."
                    ),
                ),
            ],
            outputs=[io.Image.Output("image", display_name="image")],
        )

    @classmethod
    def execute(cls, image, source, method):
        pixels, alpha = split(image)
        colours, _ = split(source, "source")
        check_count(len(colours), len(pixels), "sources", "images")
        # one by one, so that a batch needs the memory of one image
        source_of = lambda i: colours[i % len(colours)][None]  # noqa: E731
        fixed = host.for_each(lambda i: color_fix(pixels[i : i + 1], source_of(i), method), len(pixels))
        return io.NodeOutput(host.result(join(fixed, alpha)))


class PreClean(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRPreClean",
            display_name="Pre-clean",
            category=f"{host.CATEGORY}/image",
            description=(
                "Prepare badly damaged images for StableSR: restore them with another model, then "
                "reduce (Wang et al. 2024, appendix C)."
            ),
            search_aliases=["stablesr", "pre-clean", "real-esrgan", "artefacts", "denoise"],
            inputs=[
                io.Image.Input("image", tooltip="The damaged images; alpha is kept."),
                io.Float.Input(
                    "reduction",
                    default=2.0,
                    min=1.0,
                    max=16.0,
                    step=0.5,
                    tooltip=(
                        "How much the restored images are shrunk, so that what the model made up is "
                        "not enlarged. The paper's is 2."
                    ),
                ),
                io.UpscaleModel.Input(
                    "upscale_model",
                    optional=True,
                    tooltip="What restores them, such as a Real-ESRGAN model; or connect cleaned.",
                ),
                io.Image.Input(
                    "cleaned",
                    optional=True,
                    tooltip="The images as another node restored them, in place of the model above.",
                ),
                Network.Input(
                    "codeformer",
                    optional=True,
                    tooltip="From Load CodeFormer, in place of both: for aligned faces, which are square.",
                ),
            ],
            outputs=[io.Image.Output("image", display_name="image")],
        )

    @classmethod
    def execute(cls, image, reduction, upscale_model=None, cleaned=None, codeformer=None):
        if sum(one is not None for one in (upscale_model, cleaned, codeformer)) != 1:
            raise ValueError(
                "Pre-clean needs either an upscale_model, the cleaned images, or codeformer: connect one of "
                "them"
            )
        pixels, alpha = split(image)
        if cleaned is not None and len(cleaned) != len(pixels):
            raise ValueError(
                f"{len(cleaned)} cleaned images for {len(pixels)} damaged ones: give one for each"
            )

        def restorer(x: Tensor) -> Tensor:
            if codeformer is not None:
                return _restored_faces(codeformer, x)
            return split(cleaned, "cleaned")[0] if upscale_model is None else host.upscaled(upscale_model, x)

        with host.cancellable():
            done, alpha = upscale_with_alpha(pixels, alpha, lambda x: pre_clean(x, restorer, reduction))
        return io.NodeOutput(host.result(join(done, alpha)))


def _restored_faces(network: torch.nn.Module, faces: Tensor) -> Tensor:
    """Aligned faces B C S S in 0..1 enlarged, one by one."""
    restorer = CodeFormerRestorer(network)
    cleaner = CodeFormerUpscaler(restorer)
    cleaner.plan(tuple(faces.shape[-2:]), CLEANED)  # raises before anything is loaded
    with torch.inference_mode(False), torch.no_grad():
        own = faces.clone()
        with host.on_device(network, activations=room_of(restorer, 1)):
            return torch.cat(host.for_each(lambda i: cleaner(own[i : i + 1], CLEANED), len(own)))
