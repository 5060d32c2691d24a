"""Pictures to Stable Diffusion's latents and back, with feature wrapping and in tiles, so that memory does
not grow with the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from ...samplers.denoiser import Cond, Prediction
from ...samplers.run import Draw
from ...samplers.schedule import CLEAN, Level
from ...samplers.tiled import Tiled, ramp_weights
from ..nets.cfw import CFW
from ..nets.sd_vae import VAE, split_moments
from .finite import finite, half_of

SCALE = 0.18215  # latents of unit variance


@dataclass(frozen=True)
class Autoencoder:
    """A VAE, perhaps with CFW.

    Pictures B 3 H W in -1..1, sides multiples of vae.config.reduction; latents scaled.

    tile: pictures with a longer side are cut into tiles of so many pixels, which overlap; 0 never cuts. Group
    norms see a tile only, so tiled results differ a little from whole ones, and go over into each other
    evenly.
    """

    vae: VAE
    cfw: CFW | None = None
    tile: int = 0
    overlap: int = 128

    def __post_init__(self):
        unit = self.vae.config.reduction
        if self.tile and (self.tile % unit or self.overlap % unit or not 0 <= self.overlap < self.tile):
            raise ValueError(
                f"the autoencoder cannot work in tiles of {self.tile} pixels that overlap by "
                f"{self.overlap}: give multiples of {unit}, "
                "the overlap smaller"
            )
        if self.cfw is not None:
            self.cfw.check(self.vae)

    def encode(self, image: Tensor, noise: Draw | None = None) -> Tensor:
        """B Z h w: the posterior's mean, or with noise a sample of it, as StableSR was trained on."""
        if not self.tile or max(image.shape[-2:]) <= self.tile:
            moments = self._encode(image)
        else:
            unit = self.vae.config.reduction
            sized = image[:, :0, ::unit, ::unit]  # of the latent's size, for what is cut follows it
            moments = _tiled(
                lambda x, cond: self._encode(cond["image"]),
                sized,
                {"image": image},
                self.tile // unit,
                self.overlap // unit,
            )
        mean, deviation = split_moments(moments)
        return SCALE * (mean if noise is None else mean + deviation * noise(mean.shape).to(mean))

    def decode(self, z: Tensor, image: Tensor | None = None, w: float = 0.0) -> Tensor:
        """B 3 H W, not clipped; with w, wrapped around the encoder's features of the low-resolution `image`
        (Eq. 6).

        Raises ValueError where w is not 0 and there is no CFW or no image of the latent's size.
        """
        unit = self.vae.config.reduction
        size = tuple(n * unit for n in z.shape[-2:])
        self.check_weight(w)
        if w and (image is None or tuple(image.shape) != (len(z), 3, *size)):
            raise ValueError(
                f"latents of {tuple(z.shape)} are wrapped around pictures of {(len(z), 3, *size)}: give "
                "the enlarged input"
            )
        z = z / SCALE
        if not self.tile or max(size) <= self.tile:
            return self._decode(z, image, w)
        canvas = image if image is not None and w else z.new_empty(()).expand(len(z), 0, *size)
        return _tiled(
            lambda x, cond: self._decode(cond["z"], x, w), canvas, {"z": z}, self.tile, self.overlap
        )

    def check_weight(self, w: float) -> None:
        """Raises ValueError where a fidelity weight other than 0 meets no CFW."""
        if w and self.cfw is None:
            raise ValueError(f"a fidelity weight of {w:g} needs CFW weights: load them, or give 0")

    def _decode(self, z: Tensor, image: Tensor | None, w: float) -> Tensor:
        return self._finite(lambda: self._decoded(z, image, w), "decoded")

    def _encode(self, image: Tensor) -> Tensor:
        return self._finite(lambda: self.vae.encode(image), "encoded")

    def _finite(self, call: Callable[[], Tensor], what: str) -> Tensor:
        """A call that looks at its values where half precision may overflow, which waits for the device;
        another program's autoencoder looks for itself.
        """
        networks = tuple(part for part in (self.vae, self.cfw) if isinstance(part, nn.Module))
        return finite(call, networks, what) if half_of(networks) else call()

    def _decoded(self, z: Tensor, image: Tensor | None, w: float) -> Tensor:
        maps = {}
        if self.cfw and image is not None and w:
            with self.cfw.collecting(self.vae.encoder) as maps:
                self.vae.encode(image)
        with self.cfw.fusing(self.vae.decoder, maps, w) if self.cfw and w else nullcontext():
            return self.vae.decode(z)


def _tiled(
    call: Callable[[Tensor, Mapping[str, Tensor]], Tensor],
    x: Tensor,
    cond: dict[str, Tensor],
    size: int,
    overlap: int,
) -> Tensor:
    """`call` on one tile of x and its conditions after the other, blended."""

    def answer(x: Tensor, level: Level, cond: Cond | None = None) -> Prediction:
        assert cond is not None
        y = call(x, cond.spatial)
        return Prediction(y, y[:, :0])

    return Tiled(answer, size, overlap, 1, partial(ramp_weights, overlap=overlap))(x, CLEAN, Cond(cond)).x0
