"""Noise schedules: exact tables in float64, respacing, and the levels a sampler walks down."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import NamedTuple, overload

import torch
from torch import Tensor


class Level(NamedTuple):
    """One point of a schedule: x_t = alpha * x0 + sigma * eps. `t` is the network's own clock at that
    point.
    """

    t: float
    alpha: float
    sigma: float


CLEAN = Level(0.0, 1.0, 0.0)  # where every descent ends; no network is called there


def linear_betas(steps: int, start: float = 1e-4, end: float = 0.02) -> Tensor:
    """Ho et al. 2020, section 4, scaled so that 1000 steps have the given ends."""
    return torch.linspace(start * 1000 / steps, end * 1000 / steps, steps, dtype=torch.float64, device="cpu")


def scaled_linear_betas(steps: int, start: float = 0.00085, end: float = 0.012) -> Tensor:
    """Linear in the square root (Rombach et al. 2022, Stable Diffusion)."""
    return torch.linspace(math.sqrt(start), math.sqrt(end), steps, dtype=torch.float64, device="cpu") ** 2


def cosine_betas(steps: int, offset: float = 0.008, largest: float = 0.999) -> Tensor:
    """Squared cosine of Nichol and Dhariwal 2021, Eq. 17."""
    u = torch.arange(steps + 1, dtype=torch.float64, device="cpu") / steps
    abar = torch.cos((u + offset) / (1 + offset) * math.pi / 2) ** 2
    return (1 - abar[1:] / abar[:-1]).clamp(max=largest)


def sigmoid_betas(steps: int, start: float = 1e-4, end: float = 0.02, reach: float = 6.0) -> Tensor:
    """A logistic ramp from start to end over -reach .. reach."""
    return (
        torch.sigmoid(torch.linspace(-reach, reach, steps, dtype=torch.float64, device="cpu")) * (end - start)
        + start
    )


BETAS: dict[str, Callable[[int], Tensor]] = {
    "linear": linear_betas,
    "scaled-linear": scaled_linear_betas,
    "cosine": cosine_betas,
    "squared-cosine": cosine_betas,  # the same table under its other name
    "sigmoid": sigmoid_betas,
}


def respaced(steps: int, rule: str | int | Sequence[int]) -> list[int]:
    """The kept indices of 0 .. steps-1, ascending: "" all, "250" or "10,10" evenly in equal sections,
    "ddim25" by one stride.

    Raises ValueError for a rule that cannot be met, saying why.
    """
    text = rule if isinstance(rule, str) else ",".join(map(str, [rule] if isinstance(rule, int) else rule))
    if not text:
        return list(range(steps))
    if text.startswith("ddim"):
        wanted = _count(text[4:], text)
        for stride in range(1, steps):
            if len(range(0, steps, stride)) == wanted:
                return list(range(0, steps, stride))
        raise ValueError(
            f"no whole stride takes {wanted} of {steps} steps: choose another number, or {wanted} without "
            "ddim"
        )
    sections = [_count(part, text) for part in text.split(",")]
    size, extra = divmod(steps, len(sections))
    kept, start = [], 0
    for i, count in enumerate(sections):
        length = size + (i < extra)
        if count > length:
            raise ValueError(
                f"respacing {text!r} takes {count} of a section of {length} steps: give at most {length}"
            )
        stride = (length - 1) / (count - 1) if count > 1 else 1.0
        at = accumulate(
            [stride] * (count - 1), initial=0.0
        )  # summed as published: products round some halves the other way
        kept += [start + round(k) for k in at]
        start += length
    return kept


def _count(text: str, rule: str) -> int:
    if not text.strip().isdigit() or int(text) < 1:
        raise ValueError(f'respacing {rule!r} is not understood: give "250", "10,10" or "ddim25"')
    return int(text)


@dataclass(frozen=True, eq=False)
class DiscreteSchedule:
    """A variance-preserving chain: alpha = sqrt(abar), sigma = sqrt(1 - abar) at each kept step.

    betas: float64 (T,), of the kept steps. timesteps: what the network is told at each, ascending.
    """

    betas: Tensor
    timesteps: tuple[float, ...] = field(default=())

    def __post_init__(self):
        if not self.timesteps:
            object.__setattr__(self, "timesteps", tuple(float(i) for i in range(len(self.betas))))

    @staticmethod
    def named(name: str = "linear", steps: int = 1000) -> DiscreteSchedule:
        if name not in BETAS:
            raise ValueError(f"unknown schedule {name!r}: choose one of {', '.join(BETAS)}")
        return DiscreteSchedule(BETAS[name](steps))

    def respace(self, rule: str | int | Sequence[int]) -> DiscreteSchedule:
        """The chain over the kept steps only, with the betas that connect them; the network still hears the
        original steps.
        """
        kept = respaced(len(self.betas), rule)
        abar = self.alphas_cumprod[kept]
        before = torch.cat([abar.new_ones(1), abar[:-1]])
        return DiscreteSchedule(1 - abar / before, tuple(self.timesteps[i] for i in kept))

    def rescale(self) -> DiscreteSchedule:
        """Timesteps stretched to 0 .. 1000, for networks trained that way. Call it before respacing."""
        return DiscreteSchedule(self.betas, tuple(t * 1000.0 / len(self.betas) for t in self.timesteps))

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        return torch.cumprod(1 - self.betas, 0)

    @cached_property
    def alphas_cumprod_prev(self) -> Tensor:
        return torch.cat([self.betas.new_ones(1), self.alphas_cumprod[:-1]])

    @cached_property
    def posterior_variance(self) -> Tensor:
        """Variance of q(x_{t-1} | x_t, x0), Ho et al. 2020, Eq. 7."""
        return self.betas * (1 - self.alphas_cumprod_prev) / (1 - self.alphas_cumprod)

    @cached_property
    def posterior_log_variance_clipped(self) -> Tensor:
        """Its logarithm, entry 0 (minus infinity) replaced by entry 1."""
        return torch.cat([self.posterior_variance[1:2], self.posterior_variance[1:]]).log()

    @cached_property
    def posterior_mean_coef1(self) -> Tensor:
        return self.betas * self.alphas_cumprod_prev.sqrt() / (1 - self.alphas_cumprod)

    @cached_property
    def posterior_mean_coef2(self) -> Tensor:
        return (1 - self.alphas_cumprod_prev) * (1 - self.betas).sqrt() / (1 - self.alphas_cumprod)

    @cached_property
    def table(self) -> tuple[Level, ...]:
        """The level of each kept step, ascending in noise."""
        abar = self.alphas_cumprod.tolist()
        return tuple(
            Level(t, math.sqrt(a), math.sqrt(1 - a)) for t, a in zip(self.timesteps, abar, strict=True)
        )

    def levels(self, start: int | None = None) -> list[Level]:
        """From kept step `start` (default: the noisiest) down to clean data."""
        start = len(self.table) - 1 if start is None else start
        if not 0 <= start < len(self.table):
            raise ValueError(f"cannot start at step {start} of a schedule with {len(self.table)} steps")
        return [*reversed(self.table[: start + 1]), CLEAN]

    def nearest(self, sigma: float) -> int:
        """The kept step whose noise-to-signal ratio sigma / alpha is closest, in logarithm, to the given
        one.
        """
        ratios, wanted = self._log_ratios, math.log(sigma)
        after = min(bisect_left(ratios, wanted), len(ratios) - 1)
        before = max(after - 1, 0)
        return before if wanted - ratios[before] <= abs(ratios[after] - wanted) else after

    @cached_property
    def _log_ratios(self) -> list[float]:
        return [math.log(level.sigma / level.alpha) for level in self.table]


def sigma_levels(sigmas: Sequence[float], c_noise: Callable[[float], float]) -> list[Level]:
    """Variance-exploding levels from descending sigmas; `clock` turns a sigma into the network's time.

    Ends clean.
    """
    sigmas = [float(s) for s in sigmas]
    if sigmas and sigmas[-1] == 0:
        sigmas = sigmas[:-1]
    if not sigmas or any(not math.isfinite(s) or s <= 0 for s in sigmas):
        raise ValueError("sigmas must be positive and finite, with at most a final zero")
    if any(later >= earlier for earlier, later in pairwise(sigmas)):
        raise ValueError("sigmas must descend: sort them from the largest to the smallest")
    return [*(Level(c_noise(s), 1.0, s) for s in sigmas), CLEAN]


def karras_sigmas(
    steps: int, smallest: float = 0.002, largest: float = 80.0, rho: float = 7.0
) -> list[float]:
    """Karras et al. 2022, Eq. 5, without the final zero."""
    if steps < 1 or not 0 < smallest < largest < math.inf:
        raise ValueError(f"cannot space {steps} sigmas between {smallest:g} and {largest:g}")
    if steps == 1:
        return [largest]
    high, low = largest ** (1 / rho), smallest ** (1 / rho)
    return [(high + i / (steps - 1) * (low - high)) ** rho for i in range(steps)]


def geometric_sigmas(steps: int, smallest: float = 0.01, largest: float = 348.0) -> list[float]:
    """Song et al. 2021, the variance-exploding table, from the largest down."""
    high, low = math.log(largest), math.log(smallest)
    return [math.exp(high + (low - high) * i / max(1, steps - 1)) for i in range(steps)]


@dataclass(frozen=True)
class ExplodingSchedule:
    """sigma(t) = smallest (largest / smallest)^t for times t in 0..1, alpha 1 (Song et al. 2021, appendix C;
    f = 0).

    end: the last time at which a network is called.
    """

    smallest: float = 0.01
    largest: float = 348.0
    end: float = 1e-5

    def __post_init__(self):
        if not 0 < self.smallest < self.largest < math.inf:
            raise ValueError(f"noise from {self.smallest:g} to {self.largest:g} does not ascend from above 0")

    def below(self, start: float) -> ExplodingSchedule:
        """The same noise, but not above `start`. Raises ValueError for less than the least."""
        return replace(self, largest=min(self.largest, start))

    @property
    def span(self) -> float:
        """ln(largest / smallest)."""
        return math.log(self.largest / self.smallest)

    @overload
    def sigma(self, t: float) -> float: ...

    @overload
    def sigma(self, t: Tensor) -> Tensor: ...

    def sigma(self, t: float | Tensor) -> float | Tensor:
        return self.smallest * (self.largest / self.smallest) ** t

    def diffusion(self, t: float | Tensor) -> float | Tensor:
        """g(t) of the SDE."""
        return self.sigma(t) * math.sqrt(2 * self.span)

    def times(self, steps: int) -> list[float]:
        """Evenly from 1 down to `end`."""
        return [1 + (self.end - 1) * i / max(1, steps - 1) for i in range(steps)]

    def entry(self, t: float, steps: int) -> int:
        """Which of the `steps` entries of the ascending table belongs to a time."""
        return math.floor(t * (steps - 1))

    def levels(self, steps: int, continuous: bool = False) -> list[Level]:
        """Down to clean data.

        The network's clock is sigma(t); the levels themselves are those of the table, or sigma(t) too.
        """
        heard = [self.sigma(t) for t in self.times(steps)]
        table = geometric_sigmas(steps, self.smallest, self.largest)
        return [*(Level(t, 1.0, t if continuous else s) for t, s in zip(heard, table, strict=True)), CLEAN]


def c_noise(sigma: float) -> float:
    """ln(sigma) / 4 (Karras et al. 2022, Table 1)."""
    return math.log(sigma) / 4
