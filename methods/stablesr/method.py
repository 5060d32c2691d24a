"""StableSR as a method: its settings, runs on latents, and pictures of any size enlarged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...samplers.denoiser import Cond, Denoiser
from ...samplers.noise import Noise
from ...samplers.run import Draw, Hook, Step, run
from ...samplers.tiled import Tiled
from ...samplers.transition import DDIM, DDPM
from ..imaging.canvas import to_prior_channels
from ..imaging.images import check_pixels
from ..imaging.resize import ENLARGEMENTS, enlarge_by, enlarged_size, resize, size_of
from ..nets.cfw import CFW
from ..nets.sd_vae import VAE
from ..precision import move
from ..priors.adm import ADMPrior
from ..settings import Settings, option
from .autoencoder import Autoencoder
from .color_fix import COLORS, color_fix
from .layers import StableSRLayers
from .levels import CHAIN, STARTS, levels_of, released_table, start, start_mode
from .pre_clean import Restorer, pre_clean
from .prior import CONTEXT, LR, WEIGHTS, Reference, modulated

LATENT = 8  # pixels under one of a latent along each side
# as released; no weighting, its text is taken literally
NEGATIVE = "3d, cartoon, anime, sketches, (worst quality:2), (low quality:2)"
# likewise; the layers were trained with empty prompts
POSITIVE = "(masterpiece:2), (best quality:2), (realistic:2), (very clear:2)"

Enlarger = Callable[[Tensor, float], Tensor]  # pictures B 3 h w in 0..1 and a scale


@dataclass(frozen=True)
class StableSRSettings(Settings):
    """How a picture is restored; the defaults are the paper's. Sizes are in pixels of the enlarged
    picture.
    """

    steps: int = option(200, "Sampling steps; 4 for the turbo weights", low=1, high=len(CHAIN.table))
    sampler: str = option(
        "ddpm",
        "Ancestral or implicit steps; ddim-released repeats the released scripts' mismatched tables",
        choices=("ddpm", "ddim", "ddim-released"),
    )
    eta: float = option(0.0, "Randomness of ddim, 0 none", low=0, high=1)
    start: str = option(
        "auto",
        "Begin with noise, or with the noised picture (lr); auto: lr where tiles are needed",
        choices=("auto", *STARTS),
    )
    guidance: float = option(
        1.0, "How strongly the negative prompt pushes; 1 leaves it out, 2.5 to 5 sharpen", low=0, high=30
    )
    fidelity: float = option(
        0.5,
        "How much the decoder takes from the input's own features; needs CFW weights unless 0",
        low=0,
        high=1,
    )
    color: str = option("adain", "How colours of the input are given back", choices=COLORS)
    tile: int = option(
        512,
        "Side of the pieces the model sees, a multiple of 64; 768 for the 768-pixel weights",
        low=LATENT,
        high=8192,
    )
    overlap: int = option(256, "How far neighbouring pieces overlap, a multiple of 8", low=0, high=8192)
    tile_batch: int = option(
        1, "Pieces in one network call; more is faster and needs more memory", low=1, high=4096
    )
    weights: str = option(
        "symmetric",
        "How pieces are blended; published lies half a latent pixel off centre",
        choices=tuple(WEIGHTS),
    )
    vae_tile: int = option(
        1024,
        "Side of the pieces that are encoded and decoded, a multiple of 8; 0: the whole picture",
        low=0,
        high=65_536,
    )
    vae_overlap: int = option(128, "How far those overlap, a multiple of 8", low=0, high=65_536)
    enlargement: str = option(
        ENLARGEMENTS[0],
        "How the picture is enlarged first: as in training and in the released scripts (a = -0.75), or by "
        "the softer kernel of Pillow",
        choices=ENLARGEMENTS,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.tile % LATENT or self.overlap % LATENT or self.overlap >= self.tile:
            raise ValueError(
                f"pieces of {self.tile} pixels cannot overlap by {self.overlap}: give multiples of "
                f"{LATENT}, the overlap smaller"
            )
        if self.sampler == "ddim-released":
            released_table(self.steps)


@dataclass(frozen=True)
class StableSR:
    """The networks:

    Stable Diffusion as a prior, its autoencoder, StableSR's layers, and CFW where the decoder is to be
    wrapped.
    """

    prior: ADMPrior
    layers: StableSRLayers
    vae: VAE
    cfw: CFW | None = None

    @property
    def multiple(self) -> int:
        """What the sides of an enlarged picture must be multiples of."""
        return LATENT * self.prior.multiple

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """UNet, encoder and SFT layers, autoencoder, and CFW where there is one."""
        own = (self.prior.network, self.layers.encoder, self.layers.sft, self.vae)
        return own if self.cfw is None else (*own, self.cfw)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> StableSR:
        """The same with its networks moved, and computing in `dtype` where one is given."""
        move(self.networks, device, dtype)
        return self


@dataclass(frozen=True)
class Restored:
    """A restored picture B 3 H W in about -1..1, its latent, and that of the low-resolution picture it came
    from.
    """

    image: Tensor
    latent: Tensor
    lr: Tensor


def sample(
    denoiser: Denoiser,
    cond: Cond,
    settings: StableSRSettings = StableSRSettings(),
    noise: Draw | None = None,
    hooks: Sequence[Hook] = (),
    on_step: Callable[[Step, Tensor], None] | None = None,
) -> Tensor:
    """A latent B C h w for the low-resolution one in cond.spatial["lr"], in overlapping tiles where it is
    larger than one.

    Tiles are blended after every network call, and noise is drawn for the whole. Source: Wang et al. 2024,
    section 3.3.
    """
    lr = cond.spatial[LR]
    noise = noise or Noise([0] * len(lr))
    tile = settings.tile // LATENT
    x = start(start_mode(settings.start, max(lr.shape[-2:]) > tile), lr, noise)
    tiles = Tiled(denoiser, tile, settings.overlap // LATENT, settings.tile_batch, WEIGHTS[settings.weights])
    transition = DDPM("small") if settings.sampler == "ddpm" else DDIM(settings.eta)
    return run(tiles, x, levels_of(settings.sampler, settings.steps), transition, hooks, noise, cond, on_step)


def restore(
    model: StableSR,
    canvas: Tensor,
    context: Tensor,
    settings: StableSRSettings = StableSRSettings(),
    negative: Tensor | None = None,
    noise: Draw | None = None,
    hooks: Sequence[Hook] = (),
    on_step: Callable[[Step, Tensor], None] | None = None,
) -> Restored:
    """Restore an enlarged picture B 3 H W in -1..1, sides multiples of model.multiple; colours are left as
    they come.

    context: the prompt's tokens 1 L D or B L D, of an empty one as the layers were trained; negative: 1 L D.
    Noise is drawn in the released order: latent, start, steps. Raises ValueError, before the first step.
    """
    wanted = model.multiple
    if canvas.ndim != 4 or canvas.shape[1] != 3 or canvas.shape[-2] % wanted or canvas.shape[-1] % wanted:
        raise ValueError(
            f"StableSR works on pictures (B, 3, H, W) whose sides are multiples of {wanted}, not "
            f"{tuple(canvas.shape)}: pad them"
        )
    if context.ndim != 3 or len(context) not in (1, len(canvas)):
        raise ValueError(
            f"a prompt for {len(canvas)} pictures has the shape (1 or {len(canvas)}, tokens, channels), "
            f"not {tuple(context.shape)}"
        )
    if settings.tile % wanted:
        raise ValueError(
            f"pieces of {settings.tile} pixels do not fit this model: give a multiple of {wanted}"
        )
    autoencoder = Autoencoder(model.vae, model.cfw, settings.vae_tile, settings.vae_overlap)
    autoencoder.check_weight(settings.fidelity)
    denoiser = modulated(model.prior, model.layers, negative, settings.guidance)
    noise = noise or Noise([0] * len(canvas))
    lr = autoencoder.encode(canvas, noise)
    latent = sample(
        denoiser, Cond({LR: lr}, {CONTEXT: context}).expand(len(lr)), settings, noise, hooks, on_step
    )
    return Restored(autoencoder.decode(latent, canvas, settings.fidelity), latent, lr)


def stablesr_upscale(
    model: StableSR,
    low: Tensor,
    scale: float,
    context: Tensor,
    settings: StableSRSettings = StableSRSettings(),
    negative: Tensor | None = None,
    seeds: Sequence[int] | None = None,
    clean: Restorer | None = None,
    on_step: Callable[[Step, Tensor], None] | None = None,
    reference: Enlarger | None = None,
) -> Tensor:
    """Enlarge B C h w in 0..1 (C is 1 or 3) by `scale`, 1 or more.

    Where the shorter side would be less than a tile, the model works on a larger picture, which is reduced
    afterwards. seeds: one an image, 0 for all by default. clean: a restorer for badly damaged pictures, see
    `pre_clean`. reference: what enlarges too, to whose result the sampled latent is held until the last steps
    (prior.Reference). Raises ValueError.
    """

    def restored(canvas: Tensor) -> Tensor:
        noise = Noise([0] * len(low) if seeds is None else seeds)
        hooks = []
        if reference is not None:
            hooks.append(Reference(_latent_of(model, reference, low, canvas, settings, scale)))
        return restore(model, canvas, context, settings, negative, noise, hooks, on_step=on_step).image

    return restore_at_scale(low, scale, restored, settings, model.multiple, clean)


def _latent_of(
    model: StableSR,
    reference: Enlarger,
    low: Tensor,
    canvas: Tensor,
    settings: StableSRSettings,
    scale: float,
) -> Tensor:
    """The latent of what another method makes of the picture, at the size that the model works at."""
    shown = low.expand(-1, 3, -1, -1) if low.shape[1] == 1 else low
    size = working_size(size_of(low), scale, settings.tile)
    picture = on_canvas(reference(shown, size[0] / low.shape[-2]), size, canvas)
    return Autoencoder(model.vae, None, settings.vae_tile, settings.vae_overlap).encode(picture)


def on_canvas(picture: Tensor, size: tuple[int, int], canvas: Tensor) -> Tensor:
    """A picture B 3 h w in 0..1, another restorer's, as the model sees its own: -1..1, of `size` within the
    shape of the canvas, its edges going on.
    """
    if size_of(picture) != size:
        picture = resize(picture, size).clamp(0, 1)
    rim = [n - m for n, m in zip(canvas.shape[-2:], size, strict=True)]
    return F.pad(picture.to(canvas) * 2 - 1, (0, rim[1], 0, rim[0]), mode="replicate")


def working_size(size: tuple[int, int], scale: float, tile: int) -> tuple[int, int]:
    """How large a picture of h x w is while the model works on it: at least a tile along the shorter side."""
    return enlarged_size(size, max(scale, tile / min(size)))


def restore_at_scale(
    low: Tensor,
    scale: float,
    restored: Restorer,
    settings: StableSRSettings,
    multiple: int = 8 * LATENT,
    clean: Restorer | None = None,
) -> Tensor:
    """B C h w in 0..1 enlarged by `scale`, `restored` at the size that the model works at and given its
    colours back.

    restored: an enlarged picture B 3 H W in -1..1, sides multiples of `multiple`, to a better one of the same
    size and range.
    """
    check_pixels(low)
    if scale < 1:
        raise ValueError(f"a scale of {scale:g} would shrink the image: give 1 or more, or resize instead")
    size = enlarged_size(size_of(low), scale)
    work = working_size(size_of(low), scale, settings.tile)
    shown, back = to_prior_channels(3, low, size)
    seen = shown if clean is None else pre_clean(shown, clean)
    base = enlarge_by(seen, work, settings.enlargement).clamp(0, 1)
    rim = [-n % multiple for n in work]  # beyond the picture its edge goes on
    image = restored(F.pad(base * 2 - 1, (0, rim[1], 0, rim[0]), mode="replicate"))[..., : work[0], : work[1]]
    image = color_fix(((image.float() + 1) / 2).clamp(0, 1), base, settings.color)
    return back(image if work == size else resize(image, size).clamp(0, 1))
