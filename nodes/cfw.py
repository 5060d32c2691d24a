"""Load CFW, Decode with CFW: Stable Diffusion's decoder wrapped around what its encoder sees of the input."""

from __future__ import annotations

from collections.abc import Callable

import torch
from comfy_api.latest import io
from torch import Tensor

from ..methods.imaging.resize import resize
from ..methods.stablesr.autoencoder import SCALE, Autoencoder
from ..methods.stablesr.load import load_cfw
from ..methods.stablesr.method import LATENT, StableSRSettings
from ..methods.stablesr.vae_adapter import VAEAdapter
from ..samplers.run import Draw
from ..samplers.tiled import grid
from . import host
from .host.images import check_count, join, split
from .host.stablesr import ManagedCFW, as_cfw

Fusion = io.Custom("PRIORSR_CFW")
CATEGORY = f"{host.CATEGORY}/stablesr"
FLOOR = 256  # pixels, the smallest tile that is tried when memory runs out
TILES = ("vae_tile", "vae_overlap")


def autoencoder(
    vae, managed: ManagedCFW | None, tile: int, overlap: int, before: Callable[[], None] = lambda: None
) -> Autoencoder:
    """The host's VAE as the core's.

    Raises ValueError where it, or CFW with it, is of another kind, or tiles do not fit.
    """
    beside = () if managed is None else (managed.cfw,)
    network = VAEAdapter(getattr(vae, "first_stage_model", vae), beside, before, getattr(vae, "device", None))
    return Autoencoder(network, managed and managed.cfw, tile, overlap)


def encode(vae, image: Tensor, tile: int, overlap: int, noise: Draw | None = None) -> Tensor:
    """Pictures B 3 H W in -1..1 to latents as the MODEL sees them; noise as in Autoencoder.encode."""
    return _run(vae, None, 1, image.shape, tile, overlap, lambda coder, i: coder.encode(image, noise))


def decode(
    vae, managed: ManagedCFW | None, z: Tensor, image: Tensor | None, w: float, tile: int, overlap: int
) -> Tensor:
    """Latents B Z h w as the MODEL sees them to pictures B 3 H W in about -1..1, one by one; with w wrapped
    around `image`, B or 1 of them.
    """
    around = image.expand(len(z), -1, -1, -1) if w else [None] * len(z)
    size = (len(z), 3, *(n * LATENT for n in z.shape[-2:]))
    each = lambda coder, i: coder.decode(z[i : i + 1], around[i : i + 1] if w else None, w)  # noqa: E731
    return _run(vae, managed if w else None, len(z), size, tile, overlap, each)


def _run(
    vae, managed, pictures: int, size, tile: int, overlap: int, each: Callable[[Autoencoder, int], Tensor]
) -> Tensor:
    """Each picture of a run in tiles, and in smaller ones where memory does not suffice."""
    autoencoder(vae, managed, tile, overlap)  # raises before anything is loaded
    longest = max(size[-2:])

    def at(side: int) -> Tensor:
        side -= side % LATENT
        lap = min(overlap, side // 2 // LATENT * LATENT)
        passes = (
            pictures * (len(grid(*size[-2:], side, lap)) if side < longest else 1) * (2 if managed else 1)
        )
        bar, done = host.progress(), [0]

        def before() -> None:
            bar(done[0], passes)
            done[0] += 1

        seen = min(side, longest) // LATENT
        room = vae.memory_used_decode((1, vae.latent_channels, seen, seen), vae.vae_dtype) * (
            2 if managed else 1
        )  # the fusion costs as much again
        with host.loaded([vae.patcher, *([managed.patcher] if managed else [])], int(room)):
            coder = autoencoder(vae, managed, side, lap, before)
            done_pictures = torch.cat([each(coder, i) for i in range(pictures)])
            bar(passes, passes)
            return done_pictures

    return host.with_smaller_tiles(at, min(tile or longest, longest), FLOOR)


class LoadCFW(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRLoadCFW",
            display_name="Load CFW",
            category=CATEGORY,
            description=(
                "StableSR's feature wrapping, which keeps what the decoder makes faithful to the "
                "input, for Decode with CFW."
            ),
            search_aliases=["cfw", "stablesr", "controllable feature wrapping", "vqgan", "load model"],
            inputs=[
                host.file_input("cfw", ("cfw",), "A file such as vqgan_cfw_00011.ckpt, from models/priorsr.")
            ],
            outputs=[Fusion.Output("cfw", display_name="CFW")],
        )

    @classmethod
    def execute(cls, cfw):
        with host.loading():
            return io.NodeOutput(as_cfw(load_cfw(str(host.weight_path(cfw)))))


class CFWDecode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return host.schema(
            node_id="PriorSRDecodeCFW",
            display_name="Decode with CFW",
            category=CATEGORY,
            description=(
                "Stable Diffusion's latents as images, wrapped around features of the input; in "
                "tiles, so that memory does not grow."
            ),
            search_aliases=["cfw decode", "vae decode", "cfw", "stablesr", "fidelity", "tiled decode"],
            inputs=[
                io.Latent.Input("latent", tooltip="What was sampled."),
                io.Vae.Input("vae", tooltip="Stable Diffusion 2.1's, or any other of the same shape."),
                Fusion.Input("cfw", tooltip="From Load CFW."),
                io.Image.Input(
                    "image",
                    tooltip=(
                        "What was encoded: the enlarged input, one or one for each latent. A small one "
                        "is enlarged; alpha is ignored."
                    ),
                ),
                *host.settings_inputs(StableSRSettings, ("fidelity",), advanced=False),
                *host.settings_inputs(StableSRSettings, TILES),
            ],
            outputs=[io.Image.Output("image", display_name="image")],
        )

    @classmethod
    def execute(cls, latent, vae, cfw, image, fidelity, vae_tile, vae_overlap):
        settings = StableSRSettings(fidelity=fidelity, vae_tile=vae_tile, vae_overlap=vae_overlap)
        z = latent["samples"]
        if z.ndim != 4:
            raise ValueError(
                f"latents of {tuple(z.shape)} are not Stable Diffusion's: decode them with their own VAE"
            )
        latents = autoencoder(vae, cfw, settings.vae_tile, settings.vae_overlap).vae.config.latent_channels
        if z.shape[1] != latents:
            raise ValueError(
                f"the latents have {z.shape[1]} channels, this VAE's have {latents}: give the VAE of "
                "the MODEL that made them"
            )
        around = _fitted(image, vae, z) if fidelity else None
        pictures = decode(
            vae, cfw, z.float() * SCALE, around, fidelity, settings.vae_tile, settings.vae_overlap
        )
        return io.NodeOutput(host.result(join((pictures + 1) / 2)))


def _fitted(image: Tensor, vae, z: Tensor) -> Tensor:
    """The picture behind the latents, as the VAE saw it, B 3 H W in -1..1.

    Raises ValueError where it cannot be that.
    """
    pixels, _ = split(image)
    size, (height, width) = tuple(n * LATENT for n in z.shape[-2:]), pixels.shape[-2:]
    check_count(len(pixels), len(z), "images", "latents")
    if not all(0 <= have - n < LATENT for have, n in zip((height, width), size, strict=True)):
        scale = size[0] / height
        if abs(width * scale - size[1]) > LATENT * max(1.0, scale):
            raise ValueError(
                f"the image is of {width} x {height}, the latents of a picture of {size[1]} x {size[0]}: "
                "give the image that was encoded, "
                "or one of the same shape"
            )
        return resize(pixels, size).clamp(0, 1).expand(-1, 3, -1, -1) * 2 - 1
    cut = vae.vae_encode_crop_pixels(
        pixels.expand(-1, 3, -1, -1).movedim(1, -1)
    )  # the host leaves out what is no whole latent pixel
    return cut.movedim(-1, 1) * 2 - 1
