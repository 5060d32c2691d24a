"""Pictures as the latents of pixel priors, and back: where the core's pixel_space VAE does not fit (luma
priors, odd sizes).
"""

from __future__ import annotations

import torch.nn.functional as F
from comfy_api.latest import io

from ..methods.imaging.canvas import to_prior_channels
from ..methods.imaging.resize import resize
from . import host
from .guidance import CATEGORY
from .host import model as host_model
from .host.images import join, split


class ImageToPixelLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRImageToPixelLatent",
            display_name="Image to Pixel Latent",
            category=CATEGORY,
            description=(
                "Images as the LATENT that a pixel prior samples on: luma for luma priors, sides "
                "padded to what the network takes."
            ),
            search_aliases=["vae encode", "pixel space", "luma", "latent"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="The prior that will sample: its channels and the sizes it takes decide."
                ),
                io.Image.Input("image", tooltip="At the size of the result; alpha is left out."),
            ],
            outputs=[io.Latent.Output("latent", display_name="LATENT")],
        )

    @classmethod
    def execute(cls, model, image):
        prior, (pixels, _) = host_model.prior_of(model), split(image)
        seen, _ = to_prior_channels(prior.channels, pixels, tuple(pixels.shape[-2:]))
        height, width = (-(-n // prior.multiple) * prior.multiple - n for n in seen.shape[-2:])
        return io.NodeOutput({"samples": F.pad(seen * 2 - 1, (0, width, 0, height), mode="replicate")})


class PixelLatentToImage(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRPixelLatentToImage",
            display_name="Pixel Latent to Image",
            category=CATEGORY,
            description=(
                "What a pixel prior sampled, as images. A second image gives luma its colour, "
                "alpha and size back."
            ),
            search_aliases=["vae decode", "pixel space", "luma", "colour", "latent"],
            inputs=[
                io.Latent.Input("latent", tooltip="Of a pixel prior, in -1..1."),
                io.Image.Input(
                    "like",
                    optional=True,
                    tooltip="Cuts the padding off, colours luma by its chroma, and gives its alpha.",
                ),
            ],
            outputs=[io.Image.Output("image", display_name="image")],
        )

    @classmethod
    def execute(cls, latent, like=None):
        samples = latent["samples"]
        if samples.ndim != 4 or samples.shape[1] not in (1, 3):
            raise ValueError(
                f"a latent of shape {tuple(samples.shape)} is not of a pixel prior: decode it with its own "
                "VAE"
            )
        sampled = ((samples.float() + 1) / 2).clamp(0, 1)
        if like is None:
            return io.NodeOutput(host.result(join(sampled)))
        pixels, alpha = split(like, "like")
        size = tuple(pixels.shape[-2:])
        if any(n > have for n, have in zip(size, sampled.shape[-2:], strict=True)):
            sides = f"{sampled.shape[-1]}x{sampled.shape[-2]}"
            raise ValueError(
                f"the latent is {sides}, smaller than like's {size[1]}x{size[0]}: give the picture it was "
                "made from"
            )
        if len(pixels) not in (1, len(sampled)):
            raise ValueError(
                f"{len(pixels)} pictures cannot colour {len(sampled)} samples: give one, or as many"
            )
        pixels = pixels.expand(len(sampled), -1, -1, -1).to(sampled)
        _, back = to_prior_channels(sampled.shape[1], pixels, size)
        alpha = None if alpha is None else resize(alpha, size).expand(len(sampled), -1, -1, -1)
        return io.NodeOutput(host.result(join(back(sampled[..., : size[0], : size[1]]), alpha)))
