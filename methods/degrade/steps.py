"""Single degradations. Settings may be ranges; `draw` fixes them, and a fixed step is a plain function.

Every step maps C H W in 0..1 to the same range; `size` is the picture's before the first step of its recipe.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from ...samplers.noise import Noise
from ..imaging import filters as kernels
from ..imaging.color import grey
from ..imaging.images import encode
from ..imaging.resize import METHODS, resize, size_of
from .step import OneOf, Range, Sequence, Size, Step, check_drawn, single, uniform

STRIP = 64  # rows
LARGEST = 2**25  # pixels that a small picture may grow to on its way


@dataclass(frozen=True)
class Blur(Step):
    """Gaussian-like blur: kernel width in pixels, standard deviations in pixels, angle in radians.

    isotropic is the chance of a round kernel; an oval one draws sigma for each axis.
    """

    kernel: Range = 21
    sigma: Range = (0.2, 3.0)
    sigma_y: Range | None = None  # None: drawn like sigma for oval kernels
    angle: Range = (-math.pi, math.pi)
    isotropic: float = 1.0
    shapes: tuple[str, ...] = ("gaussian",)
    shape_weights: tuple[float, ...] = (1.0,)
    beta: Range = 1.0

    limits: ClassVar = {
        "kernel": (1, 127),
        "sigma": (1e-3, 100),
        "angle": (-math.pi, math.pi),
        "isotropic": (0, 1),
        "beta": (0.1, 10),
    }

    def draw(self, rng: random.Random) -> Blur:
        drawn = super().draw(rng)
        oval = rng.random() >= self.isotropic
        shape = rng.choices(self.shapes, self.shape_weights)[0]
        across = uniform(rng, self.sigma if self.sigma_y is None else self.sigma_y)
        return replace(
            drawn,
            kernel=_draw_odd(rng, self.kernel),
            sigma_y=across if oval else drawn.sigma,
            angle=drawn.angle if oval else 0.0,
            isotropic=0.0 if oval else 1.0,
            shapes=(shape,),
            shape_weights=(1.0,),
        )

    def __call__(self, x: Tensor, size: Size) -> Tensor:
        check_drawn(self)
        return kernels.blur(
            x,
            kernels.gaussian(
                _odd(single(self.kernel)),
                single(self.sigma),
                None if self.sigma_y is None else single(self.sigma_y),
                single(self.angle),
                single(self.beta),
                self.shapes[0],
            ),
        )


@dataclass(frozen=True)
class Sinc(Step):
    """Ringing: an ideal low-pass filter with its cutoff in radians per pixel."""

    kernel: Range = (7, 21)
    cutoff: Range = (math.pi / 3, math.pi)

    limits: ClassVar = {"kernel": (3, 127), "cutoff": (0.01, math.pi)}

    def draw(self, rng: random.Random) -> Sinc:
        return replace(super().draw(rng), kernel=_draw_odd(rng, self.kernel))

    def __call__(self, x: Tensor, size: Size) -> Tensor:
        check_drawn(self)
        return kernels.blur(x, kernels.sinc(_odd(single(self.kernel)), single(self.cutoff))).clamp(0, 1)


@dataclass(frozen=True)
class Resample(Step):
    """Resize by `factor` of the current size, or of the recipe's input when `of_input`.

    With `divide` the factor is a divisor (8 to 16 times smaller, drawn evenly). With antialias off,
    shrinking aliases as OpenCV's and torch's plain interpolation do.
    """

    factor: Range = 0.25
    of_input: bool = False
    divide: bool = False
    methods: tuple[str, ...] = ("bicubic",)
    antialias: bool = True
    clip: bool = True

    limits: ClassVar = {"factor": (1 / 256, 256)}

    def __post_init__(self):
        super().__post_init__()
        unknown = set(self.methods) - set(METHODS)
        if unknown or not self.methods:
            raise ValueError(
                f"unknown resize method {', '.join(sorted(unknown)) or 'none'}: one of {', '.join(METHODS)}"
            )

    def draw(self, rng: random.Random) -> Resample:
        drawn = super().draw(rng)
        return replace(drawn, methods=(rng.choice(self.methods),))

    def __call__(self, x: Tensor, size: Size) -> Tensor:
        check_drawn(self)
        base = size if self.of_input else size_of(x)
        factor = 1 / single(self.factor) if self.divide else single(self.factor)
        target = max(1, round(base[0] * factor)), max(1, round(base[1] * factor))
        border = "renormalise" if self.antialias else "edge"
        if target == size_of(x):
            return x
        if math.prod(target) > max(LARGEST, 4 * math.prod(size), x.shape[-2] * x.shape[-1]):
            raise ValueError(f"the recipe makes a picture of {target[1]} x {target[0]}: lower its factors")
        out = resize(x, target, method=self.methods[0], antialias=self.antialias, border=border)
        return out.clamp(0, 1) if self.clip else out


Grains = TypeVar("Grains", bound="Grain")


@dataclass(frozen=True)
class Grain(Step):
    """Base of the noises: decides by chance whether all channels share one."""

    def draw(self: Grains, rng: random.Random) -> Grains:
        return replace(super().draw(rng), grey=float(rng.random() < vars(self)["grey"]))


@dataclass(frozen=True)
class GaussianNoise(Grain):
    """Additive noise, sigma in levels of 255; `grey` is the chance that all channels share it."""

    sigma: Range = (1.0, 30.0)
    grey: float = 0.0
    seed: int | None = None

    limits: ClassVar = {"sigma": (0, 255), "grey": (0, 1)}

    def __call__(self, x: Tensor, size: Size) -> Tensor:
        check_drawn(self)
        return (x + _normal(self.seed, x, self.grey) * single(self.sigma) / 255).clamp(0, 1)


@dataclass(frozen=True)
class PoissonNoise(Grain):
    """Shot noise at the picture's own number of levels, its deviation scaled (Real-ESRGAN's supplement)."""

    scale: Range = (0.05, 3.0)
    grey: float = 0.0
    seed: int | None = None

    limits: ClassVar = {"scale": (0, 20), "grey": (0, 1)}

    def __call__(self, x: Tensor, size: Size) -> Tensor:
        check_drawn(self)
        signal = grey(x.cpu()) if self.grey and x.shape[0] == 3 else x.cpu()
        signal = (signal * 255).clamp(0, 255).round()
        levels = 2 ** math.ceil(math.log2(max(2, _levels(signal))))
        signal = signal / 255
        shot = Noise(int(single(self.seed))).poisson(signal[None] * levels)[0] / levels - signal
        return (x + single(self.scale) * shot.to(x)).clamp(0, 1)


@dataclass(frozen=True)
class SpeckleNoise(Grain):
    """Multiplicative noise: sigma is a fraction of the pixel's own value."""

    sigma: Range = (0.02, 0.2)
    grey: float = 0.0
    seed: int | None = None

    limits: ClassVar = {"sigma": (0, 4), "grey": (0, 1)}

    def __call__(self, x: Tensor, size: Size) -> Tensor:
        check_drawn(self)
        return (x * (1 + _normal(self.seed, x, self.grey) * single(self.sigma))).clamp(0, 1)


@dataclass(frozen=True)
class Unsharp(Step):
    """An unsharp mask: `amount` of what a Gaussian takes away is added, softly where that is more than
    `threshold` levels of 255. The defaults are Real-ESRGAN's for the truth of a training.
    """

    sigma: Range = 8.0  # pixels; of a kernel of 51
    amount: Range = 0.5
    threshold: Range = 10.0

    limits: ClassVar = {"sigma": (0.1, 20), "amount": (0, 10), "threshold": (0, 255)}

    def __call__(self, x: Tensor, size: Size) -> Tensor:
        check_drawn(self)
        sigma = single(self.sigma)
        kernel = kernels.gaussian(_odd(2 * math.ceil(3.125 * sigma) + 1), sigma)
        rest = x - kernels.blur(x, kernel)
        mask = kernels.blur((rest.abs() * 255 > single(self.threshold)).to(x), kernel)
        return torch.lerp(x, (x + single(self.amount) * rest).clamp(0, 1), mask)


@dataclass(frozen=True)
class Jpeg(Step):
    """JPEG compression at a quality of 1..100."""

    quality: Range = (30, 95)
    limits: ClassVar = {"quality": (1, 100)}

    def __call__(self, x: Tensor, size: Size) -> Tensor:
        check_drawn(self)
        return encode(x, "JPEG", round(single(self.quality)))


@dataclass(frozen=True)
class Webp(Step):
    """WebP compression at a quality of 1..100."""

    quality: Range = (30, 95)
    limits: ClassVar = {"quality": (1, 100)}

    def __call__(self, x: Tensor, size: Size) -> Tensor:
        check_drawn(self)
        return encode(x, "WEBP", round(single(self.quality)))


@dataclass(frozen=True)
class Quantise(Step):
    """The nearest of 2 ** bits levels, as files hold them."""

    bits: Range = 8
    limits: ClassVar = {"bits": (1, 16)}

    def __call__(self, x: Tensor, size: Size) -> Tensor:
        check_drawn(self)
        top = 2 ** round(single(self.bits)) - 1
        return (x * top).clamp(0, top).round() / top


NOISES = (GaussianNoise, PoissonNoise, SpeckleNoise)
KINDS = (Blur, Sinc, Resample, *NOISES, Unsharp, Jpeg, Webp, Quantise, Sequence, OneOf)
STEPS: dict[str, type[Step]] = {kind.__name__: kind for kind in KINDS}


def _levels(x: Tensor) -> int:
    """How many of the whole numbers 0..255 are in C H W, in strips, between which a host can end the work."""
    counts = [torch.bincount(part.flatten().int(), minlength=256) for part in x.split(STRIP, 1)]
    return int(torch.stack(counts).sum(0).count_nonzero())


def _odd(size: float) -> int:
    return int(size) // 2 * 2 + 1


def _draw_odd(rng: random.Random, value: Range) -> int:
    low, high = value if isinstance(value, tuple) else (value, value)
    return (
        2 * rng.randint(math.ceil((low - 1) / 2), max(math.ceil((low - 1) / 2), math.floor((high - 1) / 2)))
        + 1
    )


def _normal(seed: int | None, x: Tensor, grey: float) -> Tensor:
    channels = 1 if grey else x.shape[0]
    return Noise(int(single(seed)))((1, channels, *x.shape[-2:]))[0].to(x)
