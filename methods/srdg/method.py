"""SRDG as a method: its settings, a run on one condition, and pictures of any size enlarged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from torch import Tensor

from ...samplers.denoiser import Cond, Denoiser
from ...samplers.noise import Noise
from ...samplers.run import Draw, Hook, Step, Transition, run
from ...samplers.schedule import Level
from ...samplers.sde import EulerMaruyama, ReverseDiffusion
from ...samplers.transition import Renoise
from .. import weights
from ..imaging.canvas import TileSettings, enlarge, noise_for, padded
from ..imaging.images import check_pixels
from ..imaging.resize import resize, size_of
from ..inputs import Scales
from ..priors.ncsnpp import NCSNppPrior
from ..priors.prior import PicturePrior
from ..settings import Settings, option
from .attributes import AttributeTarget
from .classifier_crop import VIEWS
from .guidance import STRONGEST, AttributeGuidance, check_strength

KIND = "sr-sde"  # what files of ours call themselves
MOST_SIGMA = 10_000.0
RELEASED = (8.0, 16.0)  # scales that the released networks are trained for
SAMPLERS = ("predictor-corrector", "euler", "renoise")


@dataclass(frozen=True)
class SRDGSettings(Settings):
    """How a picture is sampled and how its attributes pull; the defaults are those of the published run."""

    steps: int = option(
        1000,
        "Noise levels; each costs one network call, and one more for every correction",
        low=2,
        high=100_000,
    )
    sampler: str = option(
        "predictor-corrector",
        "Reverse diffusion with Langevin corrections, Euler-Maruyama without; both need hundreds of steps. "
        "renoise: fresh noise, for fewer",
        choices=SAMPLERS,
    )
    corrections: int = option(2, "Langevin steps at each level, before the predictor", low=0, high=100)
    snr: float = option(0.16, "Signal-to-noise ratio that sets the size of the Langevin steps", low=0, high=1)
    h: float = option(
        500.0,
        "How hard the attributes pull; 500 as published is strong, the paper says 50, 0 asks none",
        low=0,
        high=STRONGEST,
    )
    limit: float = option(
        0.0,
        "Largest ratio of that pull, of all attributes together, to the score it is added to; 0: no limit",
        low=0,
        high=1000,
    )
    first: float = option(
        1.0,
        "Time 0..1 at which the attributes begin to pull: 1 is noise, above 0.6 classifiers know little",
        low=0,
        high=1,
    )
    last: float = option(
        0.0, "Time at which they stop, below the first; 0: they pull to the end", low=0, high=1
    )
    view: str = option(
        "exact",
        "What classifiers see: a picture of just their size, the whole resized, or a tight face",
        choices=tuple(VIEWS),
    )
    joint: bool = option(
        False, "One Langevin step size over the whole batch as published, which couples its images"
    )
    start_sigma: float = option(
        0.0,
        "Noise that the enlarged picture is given to begin with (Chung et al. 2022): 1 hides all that "
        "enlarging lacks; 0: pure noise, as published",
        low=0,
        high=MOST_SIGMA,
    )

    def __post_init__(self):
        check_strength(self.h)
        super().__post_init__()
        if self.last >= self.first:
            raise ValueError(
                f"attributes cannot pull from time {self.first:g} down to {self.last:g}: give a first "
                "above the last"
            )


PRESETS = MappingProxyType(
    {
        "shipped": SRDGSettings(steps=50, sampler="renoise", h=80.0, limit=1.0, first=0.6),
        "published": SRDGSettings(),
        "paper": SRDGSettings(steps=2000, sampler="euler", h=50.0),
        "sde-sr": SRDGSettings(steps=2000, corrections=1, snr=0.075, h=0.0),
    }
)
DECIDED = ("steps", "sampler", "corrections", "snr", "h", "limit", "first", "start_sigma")  # by a preset
AUTO = "auto"


def preset(name: str, network: str = "", start: float = 0.0, **own) -> SRDGSettings:
    """The settings of the released code, the paper, SDE-SR without attributes, or those for what comes along.

    `auto`: shipped where `network` comes along or its runs begin with the noise `start`, else published. own:
    what differs. Raises ValueError.
    """
    if name == AUTO:
        name = "shipped" if start or network in shipped_networks() else "published"
        own = {"start_sigma": start, **own}
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}: choose one of {', '.join((AUTO, *PRESETS))}")
    return replace(PRESETS[name], **own)


def levels_of(prior: NCSNppPrior, settings: SRDGSettings) -> list[Level]:
    """The levels of a run, in the units of the prior's state."""
    return prior.levels(settings.steps, continuous=settings.sampler == "euler")


def transition_of(prior: NCSNppPrior, settings: SRDGSettings) -> Transition:
    """What the settings ask for."""
    if settings.sampler == "euler":
        return EulerMaruyama(prior.schedule.span / settings.steps)
    if settings.sampler == "renoise":
        return Renoise()
    return ReverseDiffusion(settings.corrections, settings.snr, settings.joint)


def guidance_of(prior: PicturePrior, wanted: Sequence[AttributeTarget], settings: SRDGSettings) -> list[Hook]:
    """The hook that pulls a prior towards the wishes; none where there are none or h is 0.

    `first` and `last` are times of the classifiers' noise, 0.01 * 34800^t for pictures in 0..1, whatever
    noise the prior was made for.
    """
    if not wanted or settings.h == 0:
        return []
    window = (settings.last, settings.first)
    return [
        AttributeGuidance(
            wanted, settings.h, "score", settings.limit, window, prior.span, VIEWS[settings.view]
        )
    ]


def condition(high: Tensor, factor: int, kernel: str = "bilinear") -> Tensor:
    """A picture B C H W in 0..1 made small as the networks were trained: antialiased reduction by a whole
    factor, bilinear as published.
    """
    size = high.shape[-2] // factor, high.shape[-1] // factor
    if factor < 1 or any(n % factor for n in high.shape[-2:]):
        raise ValueError(
            f"{high.shape[-2]} x {high.shape[-1]} pixels cannot be reduced by {factor}: crop them to "
            "multiples of it"
        )
    return resize(high, size, method=kernel)


def enlarged(low: Tensor, size: tuple[int, int]) -> Tensor:
    """What the network is shown of a small picture: bicubic, neither clipped nor rounded.

    Raises ValueError for a larger one.
    """
    if low.shape[-2] > size[0] or low.shape[-1] > size[1]:
        raise ValueError(
            f"a picture of {low.shape[-2]} x {low.shape[-1]} is larger than the {size[0]} x {size[1]} "
            "asked for: reduce it first"
        )
    return low if size_of(low) == tuple(size) else resize(low, size)


def srdg(
    prior: NCSNppPrior,
    low: Tensor,
    size: tuple[int, int],
    wanted: Sequence[AttributeTarget] = (),
    settings: SRDGSettings = SRDGSettings(),
    noise: Draw | None = None,
    hooks: tuple[Hook, ...] = (),
    on_step: Callable[[Step, Tensor], None] | None = None,
    denoiser: Denoiser | None = None,
) -> Tensor:
    """Restore B C H W around 0..1 (not clipped) from its small picture, B C h w in 0..1, or one enlarged to H
    W already.

    `hooks` run after the guidance; denoiser runs in the prior's place, for example tiles around it. Raises
    ValueError, before the first step. Source: dos Santos et al. 2024, Eq. 5; the defaults follow the released
    code.
    """
    check_pixels(low, "the low-resolution picture")
    if low.shape[1] != prior.channels:
        raise ValueError(
            f"this prior restores pictures of {prior.channels} channels, not {low.shape[1]}: convert the "
            "picture"
        )
    if any(n % prior.multiple for n in size):
        raise ValueError(
            f"this prior makes pictures whose sides are multiples of {prior.multiple}, not {size[0]} x "
            f"{size[1]}"
        )
    prior = prior.begun_at(settings.start_sigma)
    noise, levels = noise or Noise([0] * len(low)), levels_of(prior, settings)
    large = enlarged(low, size)
    shown = prior.encode(large)
    drawn = noise(shown.shape).to(shown) * prior.schedule.largest
    start = prior.encode(large + drawn if settings.start_sigma else drawn)
    all_hooks = [*guidance_of(prior, wanted, settings), *hooks]
    result = run(
        denoiser or prior,
        start,
        levels,
        transition_of(prior, settings),
        all_hooks,
        noise,
        Cond({"low_res": shown}),
        on_step,
    )
    return prior.decode(result)


def srdg_upscale(
    prior: NCSNppPrior,
    low: Tensor,
    scale: float,
    wanted: Sequence[AttributeTarget] = (),
    settings: SRDGSettings = SRDGSettings(),
    canvas: TileSettings = TileSettings(),
    seeds: Sequence[int] | None = None,
    on_step: Callable[[Step, Tensor], None] | None = None,
) -> Tensor:
    """Enlarge B C h w in 0..1 (C is 1 or 3) by `scale`; the released networks make 128 pixels of 16, or of 8.

    Pictures beyond the prior's size are tiled; then attributes need another view than `exact`. seeds: one an
    image, 0 for all by default. Raises ValueError, before the first step.
    """
    noise = noise_for(low, seeds)
    tiles = canvas.tiles(prior)

    def restore(shown: Tensor, size: tuple[int, int], sides: tuple[int, int]) -> Tensor:
        shown = padded(enlarged(shown, size), sides)
        return srdg(prior, shown, sides, wanted, settings, noise, on_step=on_step, denoiser=tiles)

    return enlarge(low, scale, prior.channels, prior.multiple, restore)


def load_sr_prior(name: str) -> NCSNppPrior:
    """The NCSN++ prior in a weight file (a path, or a name in a model folder):

    SDE-SR's torch files, SRDG's Flax files, our own.
    """
    return NCSNppPrior(weights.load(weights.locate(name), "ncsnpp").network)


def scales_of(name: str) -> tuple[float, ...]:
    """The scales that a network is trained for, as its file says, or as released.

    Raises ValueError naming the file where it says something else.
    """
    path = weights.locate(name)
    said = weights.list_file(path).metadata.get("factors", "")
    with weights.building(path, "super-resolution prior"):
        scales = tuple(float(n) for n in said.split(",") if n)
        if not all(1 <= scale <= Scales.most for scale in scales):
            raise ValueError(f"its factors {said[:40]!r} are no enlargements")
    return scales or RELEASED


def start_of(name: str) -> float:
    """The noise on the enlarged picture with which a network's runs begin, as its file says, 0 where it says
    nothing: pure noise. Raises ValueError naming the file where it says something else.
    """
    path = weights.locate(name)
    said = weights.list_file(path).metadata.get("start_sigma", "0")
    with weights.building(path, "super-resolution prior"):
        start = float(said)
        if not 0 <= start <= MOST_SIGMA:
            raise ValueError(f"its runs cannot begin with a noise of {said[:40]!r}")
    return start


def network_name(name: str | None = None) -> str:
    """`name`, or without one that of the network that comes along. Raises ValueError where none does."""
    if not (found := name or next(iter(shipped_networks()), "")):
        raise ValueError("SRDG needs --prior FILE, an NCSN++ super-resolution network: none comes along")
    return found


def shipped_networks() -> list[str]:
    """Names of the super-resolution networks that come with the package."""
    return weights.shipped(KIND)
