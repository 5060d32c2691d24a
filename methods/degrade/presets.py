"""The degradations of the papers, with every range a parameter."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .recipe import Recipe
from .steps import Blur, GaussianNoise, Jpeg, OneOf, PoissonNoise, Range, Resample, Sequence, Sinc, Step

PLAIN = (
    "area",
    "bilinear",
    "bicubic-0.75",
)  # what torch offers without antialiasing, as the two-order pipeline draws it


def bicubic(scale: float = 4.0) -> Recipe:
    """Antialiased bicubic reduction by `scale`."""
    return Recipe(f"bicubic x{scale:g}", (Resample(1 / scale, of_input=True),))


def srdg(factor: float = 8.0) -> Recipe:
    """Antialiased bilinear down by `factor`, bicubic back up, not clipped (SRDG; specified for 8 and 16)."""
    down = Resample(1 / factor, methods=("bilinear",), clip=False)
    return Recipe(f"srdg x{factor:g}", (down, Resample(1.0, of_input=True, clip=False)))


PUBLISHED_SIDE = 512


def _pair(value: Range) -> tuple[float, float]:
    return value if isinstance(value, tuple) else (value, value)


@dataclass(frozen=True)
class FaceRanges:
    """Ranges of DPI's Eq. 19: down factor r, kernel width s and sigma in pixels, JPEG quality q, noise delta
    of 255.
    """

    r: Range = (4, 30)
    kernel: Range = 41
    sigma: Range = (1, 15)
    quality: Range = (30, 80)
    delta: Range = (0, 20)

    def on(self, side: int) -> FaceRanges:
        """The same damage to a face of another side than the 512 pixels that the paper counts: reduction and
        blur shrink with it, noise and compression stay.
        """
        part = side / PUBLISHED_SIDE
        (least, most), (soft, softest) = _pair(self.r), _pair(self.sigma)
        return FaceRanges(
            (max(1.0, least * part), max(1.0, most * part)),
            max(3, round(_pair(self.kernel)[1] * part)),
            (max(0.05, soft * part), max(0.05, softest * part)),
            self.quality,
            self.delta,
        )


FACE_LEVELS = {
    "mild": FaceRanges(
        (1, 12), 41, (0.1, 10), (60, 100), (0, 15)
    ),  # the light training set that DPI points to
    "medium": FaceRanges((2, 20), 41, (0.5, 12), (45, 90), (0, 18)),  # between the two, ours
    "heavy": FaceRanges(),  # the training set that DPI points to
    "severe": FaceRanges(
        (8, 16), (41, 49), (1, 17), (30, 90), (3, 20)
    ),  # the test set, in its likelier meaning
    "severe-printed": FaceRanges((8, 16), (1, 17), (3, 20), (40, 50), (30, 90)),  # the same, taken literally
}


def dpi(level: str = "heavy", ranges: FaceRanges | None = None) -> Recipe:
    """The real-world face degradation [(I * k) down r + n] JPEG, up r (DPI Eq. 19), at a level or with ranges
    of one's own.
    """
    if ranges is None:
        if level not in FACE_LEVELS:
            raise ValueError(
                f"unknown face degradation level {level!r}: choose one of {', '.join(FACE_LEVELS)}"
            )
        ranges = FACE_LEVELS[level]
    steps = (
        Blur(ranges.kernel, ranges.sigma, isotropic=0.5),
        Resample(ranges.r, of_input=True, divide=True, methods=("bilinear",), antialias=False),
        GaussianNoise(ranges.delta),
        Jpeg(ranges.quality),
        Resample(1.0, of_input=True, methods=("bilinear",), antialias=False),
    )
    return Recipe(f"dpi {level}" if ranges is FACE_LEVELS.get(level) else "dpi", steps)


@dataclass(frozen=True)
class Order:
    """One of the two rounds of the real-world pipeline; chances are up, down, keep for the resize."""

    blur: float = 1.0
    kernel: Range = (7, 21)
    sigma: Range = (0.2, 3.0)
    sinc: float = 0.1
    resize_chances: tuple[float, float, float] = (0.2, 0.7, 0.1)
    resize: tuple[float, float] = (0.15, 1.5)
    gaussian: float = 0.5
    noise: Range = (1, 30)
    poisson: Range = (0.05, 3.0)
    grey: float = 0.4
    quality: Range = (30, 95)
    generalised: Range = (0.5, 4.0)  # exponents of the kernels
    plateau: Range = (1.0, 2.0)


FIRST = Order()
SECOND = Order(
    0.8, (7, 21), (0.2, 1.5), 0.1, (0.3, 0.4, 0.3), (0.3, 1.2), 0.5, (1, 25), (0.05, 2.5), 0.4, (30, 95)
)
MILD = (  # a photograph that was kept and sent on, ours
    Order(
        0.8, (7, 15), (0.2, 1.2), 0.05, (0.1, 0.4, 0.5), (0.5, 1.2), 0.5, (1, 12), (0.05, 1.0), 0.4, (60, 95)
    ),
    Order(
        0.3, (7, 15), (0.2, 0.8), 0.05, (0.1, 0.3, 0.6), (0.7, 1.1), 0.5, (1, 6), (0.05, 0.5), 0.4, (70, 95)
    ),
)
STABLESR = (  # what the released StableSR was trained on, about half of that strength
    Order(
        kernel=(7, 21),
        sigma=(0.2, 1.5),
        resize=(0.3, 1.5),
        noise=(1, 15),
        poisson=(0.05, 2.0),
        quality=(60, 95),
        generalised=(0.5, 2.0),
        plateau=(1.0, 1.5),
    ),
    Order(
        blur=0.5,
        kernel=(7, 11),
        sigma=(0.2, 1.0),
        resize_chances=(0.3, 0.4, 0.3),
        resize=(0.6, 1.2),
        noise=(1, 12),
        poisson=(0.05, 1.0),
        quality=(60, 100),
        generalised=(0.5, 2.0),
        plateau=(1.0, 1.5),
    ),
)
UNHARMED = 0.01  # of the pictures that the released StableSR was trained on
KERNELS = (  # shape, chance, chance of a round kernel
    ("gaussian", 0.7, 0.45 / 0.7),
    ("generalised", 0.15, 0.8),
    ("plateau", 0.15, 0.8),
)
RINGING = OneOf(
    (Sinc((7, 11), (math.pi / 3, math.pi)), Sinc((13, 21), (math.pi / 5, math.pi))), (3 / 8, 5 / 8)
)


def real_world(
    scale: float = 4.0, first: Order = FIRST, second: Order = SECOND, final_sinc: float = 0.8
) -> Recipe:
    """The two-order pipeline of Real-ESRGAN (Wang et al. 2021, section 3 and supplement), with which StableSR
    is trained.

    Ends at the input size divided by `scale`.
    """
    last = Sequence(
        (Resample(1 / scale, of_input=True, methods=PLAIN, antialias=False), _maybe(Sinc(), final_sinc))
    )
    jpeg = Jpeg(second.quality)
    ending = OneOf((Sequence((last, jpeg)), Sequence((jpeg, last))), (0.5, 0.5))
    steps = (*_order(first, 1.0), Jpeg(first.quality), *_order(second, 1 / scale), ending)
    return Recipe(f"real-world x{scale:g}", steps)


def real_world_mild(scale: float = 4.0) -> Recipe:
    """The two-order pipeline at about a third of its strength."""
    recipe = real_world(scale, *MILD, final_sinc=0.3)
    return Recipe(f"real-world-mild x{scale:g}", recipe.steps)


def stablesr(scale: float = 4.0) -> Recipe:
    """The two-order pipeline as the released StableSR was trained, which is milder.

    The trainings sharpen the truth first (`Unsharp`) and leave a share UNHARMED of the pictures as they are.
    """
    return Recipe(f"stablesr x{scale:g}", real_world(scale, *STABLESR).steps)


def _order(order: Order, base: float) -> tuple[Step, ...]:
    """Blur, resize and noise of one round; `base` is the share of the input size that a factor of one stands
    for.
    """
    betas = {"gaussian": 1.0, "generalised": order.generalised, "plateau": order.plateau}
    blurs = [
        Blur(order.kernel, order.sigma, isotropic=round_, shapes=(shape,), beta=betas[shape])
        for shape, _, round_ in KERNELS
    ]
    choice = OneOf(tuple(blurs), tuple(chance for _, chance, _ in KERNELS))
    soften = OneOf((RINGING, choice), (order.sinc * order.blur, (1 - order.sinc) * order.blur))
    (low, high), of_input = order.resize, base != 1.0
    resizes = tuple(
        Resample(f, of_input, methods=PLAIN, antialias=False)
        for f in ((base, high * base), (low * base, base), base)
    )
    grain = OneOf(
        (GaussianNoise(order.noise, order.grey), PoissonNoise(order.poisson, order.grey)),
        (order.gaussian, 1 - order.gaussian),
    )
    return soften, OneOf(resizes, order.resize_chances), grain


def _maybe(step: Step, chance: float) -> OneOf:
    return OneOf((step,), (chance,))


PRESETS: dict[str, Callable[..., Recipe]] = {
    "bicubic": bicubic,
    "real-world": real_world,
    "srdg": srdg,
    "real-world-mild": real_world_mild,
    "stablesr": stablesr,
    **{f"dpi-{level}": partial(dpi, level) for level in FACE_LEVELS},
}


def recipe_named(name: str, scale: float = 4.0) -> Recipe:
    """A preset by name, or the recipe in a JSON file.

    Raises ValueError naming the file, FileNotFoundError.
    """
    if name in PRESETS or not name.endswith(".json"):
        return preset(name, scale)
    try:
        return Recipe.from_json(Path(name).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def preset(name: str, scale: float = 4.0) -> Recipe:
    """A preset by name; `scale` is the reduction of bicubic, srdg, stablesr and both real-world ones (the
    face levels draw their own).
    """
    if name not in PRESETS:
        raise ValueError(f"unknown degradation {name!r}: choose one of {', '.join(PRESETS)}")
    if not math.isfinite(scale) or not 1 <= scale <= 64:
        raise ValueError(f"a reduction by {scale:g} is not possible: give 1 to 64")
    return PRESETS[name]() if name.startswith("dpi-") else PRESETS[name](scale)
