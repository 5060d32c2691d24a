"""How sure a figure of a set of pictures is: percentiles of it over pictures drawn again (Efron and
Tibshirani 1993, section 13.3).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...samplers.noise import Noise

DRAWS = 1000
LEVEL, NORMAL = 0.95, 1.96  # of an interval, and standard errors to either side of it
PART = 2**22  # numbers of a draw that memory holds at once


@dataclass(frozen=True)
class Summary:
    """A figure of n pictures and its confidence interval, None where there are fewer than two."""

    value: float
    low: float | None
    high: float | None
    n: int


def summary(values: Sequence[float], seed: int = 0, median: bool = False) -> Summary:
    """Mean, or median, of a value a picture and its 95 % interval over 1000 draws. Raises ValueError for no
    values.
    """
    if not values:
        raise ValueError("there is no value to sum up")
    found = float(statistics.median(values) if median else statistics.fmean(values))
    x = torch.tensor(list(values), dtype=torch.float64, device="cpu")
    if len(x) < 2 or not torch.isfinite(x).all():
        return Summary(found, None, None, len(x))
    drawn = torch.cat([_centre(x[which], median) for which in _draws(len(x), DRAWS, seed)])
    low, high = torch.quantile(drawn, torch.tensor(_tails(), dtype=torch.float64, device="cpu")).tolist()
    return Summary(found, low, high, len(x))


def summary_of_set(measure: Callable[[Tensor], float], n: int, seed: int = 0, draws: int = 100) -> Summary:
    """A figure of a whole set, `measure(places of its pictures)`, with the interval of its bootstrap standard
    error: pictures that are drawn twice make every distance larger, so that percentiles would lie beside it.
    """
    found = measure(torch.arange(n, device="cpu"))
    if n < 2:
        return Summary(found, None, None, n)
    drawn = [measure(which) for part in _draws(n, draws, seed) for which in part]
    reach = NORMAL * float(torch.tensor(drawn, dtype=torch.float64, device="cpu").std())
    return Summary(found, max(0.0, found - reach), found + reach, n)


def _draws(n: int, draws: int, seed: int):
    """Places of n pictures drawn with repetition, draws x n in parts."""
    noise, part = Noise([seed]), max(1, PART // n)
    for start in range(0, draws, part):
        yield (noise.uniform((1, min(part, draws - start), n))[0] * n).long().clamp(max=n - 1)


def _centre(x: Tensor, median: bool) -> Tensor:
    return x.quantile(0.5, dim=1) if median else x.mean(1)


def _tails() -> tuple[float, float]:
    return (1 - LEVEL) / 2, (1 + LEVEL) / 2
