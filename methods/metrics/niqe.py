"""NIQE: how far the statistics of a picture lie from those of good photographs, without a reference (Mittal,
Soundararajan, Bovik, IEEE SPL 2013).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from math import lgamma
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from ..imaging.color import luma
from ..imaging.filters import gaussian
from ..imaging.images import check_pixels
from ..imaging.resize import resize, size_of

PATCH = 96  # pixels of a side, as in the paper
SCALES = (1, 2)  # at which features are taken: whole, and half in each direction
WINDOW, SIGMA = 7, 7 / 6  # of the local mean and deviation
# of the sharpest patch of a photograph: which the model is fitted to; 0.6 to 0.9 differ little
SHARP = 0.6
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # across, down and both diagonals
FEATURES = 36
LEAST_PATCHES = 2
SHIPPED = Path(__file__).resolve().parents[2] / "weights" / "niqe.npz"
SHAPES = np.arange(0.2, 10.001, 0.001)  # exponents that a generalised Gaussian is fitted among


@dataclass(frozen=True)
class Statistics:
    """Mean (36,) and covariance (36, 36) of the features of good photographs' patches, float64."""

    mean: np.ndarray
    covariance: np.ndarray

    def __post_init__(self):
        if self.mean.shape != (FEATURES,) or self.covariance.shape != (FEATURES, FEATURES):
            raise ValueError(
                f"a NIQE model has a mean of {FEATURES} and a covariance of {FEATURES} x {FEATURES} numbers, "
                f"not {self.mean.shape} and {self.covariance.shape}"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.covariance).all()):
            raise ValueError("a NIQE model of numbers that are not finite measures nothing")


def niqe(x: Tensor, model: Statistics | None = None) -> list[float | None]:
    """NIQE of each picture of a batch B C H W in 0..1, lower is better; None for pictures of fewer than two
    patches of 96 pixels, which have no covariance.

    model: `shipped()` by default. The distance is that of the paper's Eq. 10. Raises ValueError.
    """
    return [_distance(one, model or shipped()) for one in check_pixels(x)]


def _distance(picture: Tensor, model: Statistics) -> float | None:
    found, _ = features(picture)
    found = found[np.isfinite(found).all(1)]
    if len(found) < LEAST_PATCHES:
        return None
    apart = found.mean(0) - model.mean
    pooled = (np.cov(found, rowvar=False) + model.covariance) / 2
    return float(np.sqrt(max(apart @ np.linalg.pinv(pooled) @ apart, 0.0)))


def fit(pictures: Iterable[Tensor]) -> Statistics:
    """The model of good photographs C H W in 0..1: of each only the patches that are sharp.

    Raises ValueError where there are too few of them for a covariance.
    """
    kept = []
    for picture in pictures:
        found, sharp = features(picture)
        kept.append(found[(sharp > SHARP * sharp.max(initial=0.0)) & np.isfinite(found).all(1)])
    rows = np.concatenate(kept) if kept else np.zeros((0, FEATURES))
    if len(rows) <= FEATURES:
        raise ValueError(
            f"{len(rows)} sharp patches are too few for the {FEATURES} features of NIQE: give more pictures"
        )
    return Statistics(rows.mean(0), np.cov(rows, rowvar=False))


def features(picture: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Features (patches, 36) of a picture C H W in 0..1, and how sharp each patch is: the sum of its local
    deviations.
    """
    grey = luma(picture.cpu().double() * 255)[None].round()
    high, wide = (n // PATCH for n in size_of(grey))
    grey = grey[..., : high * PATCH, : wide * PATCH]
    if not high * wide:
        return np.zeros((0, FEATURES)), np.zeros(0)
    columns, sharp = [], np.zeros(0)
    for scale in SCALES:
        shown = grey if scale == 1 else resize(grey, (high * PATCH // scale, wide * PATCH // scale))
        normal, deviation = _normalised(shown)
        side = PATCH // scale
        if scale == 1:
            sharp = _patches(deviation, side).sum(1).numpy()
        shifted = [normal, *(normal * normal.roll(by, (-2, -1)) for by in NEIGHBOURS)]
        for i, values in enumerate(shifted):
            columns.append(_fitted(_patches(values, side).numpy(), symmetric=i == 0))
    return np.concatenate(columns, 1), sharp


def _normalised(x: Tensor) -> tuple[Tensor, Tensor]:
    """Values less their local mean, over their local deviation plus one (Eq. 1 to 3); and that deviation."""
    kernel = gaussian(WINDOW, SIGMA)[None, None].to(x)
    reach = WINDOW // 2
    wide = F.pad(x, (reach,) * 4, mode="replicate")
    mean, square = F.conv2d(wide, kernel), F.conv2d(wide * wide, kernel)
    deviation = (square - mean * mean).abs().sqrt()
    return (x - mean) / (deviation + 1), deviation


def _patches(x: Tensor, side: int) -> Tensor:
    """1 1 H W to patches, side * side."""
    return x[0, 0].unfold(0, side, side).unfold(1, side, side).reshape(-1, side * side)


def _fitted(values: np.ndarray, symmetric: bool) -> np.ndarray:
    """The asymmetric generalised Gaussian of each row by its moments: shape, mean and both scales (Eq. 6 to
    9); of the normalised values themselves, whose two sides are alike, shape and scale only (Eq. 4).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        left, right = (np.sqrt((values**2 * side).sum(1) / side.sum(1)) for side in (values < 0, values > 0))
        skew = left / right
        moments = np.abs(values).mean(1) ** 2 / (values**2).mean(1)
        ratio = moments * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    table, gammas = _ratios()
    # the ratio ascends with the shape; what is nearest in it is the shape
    at = np.searchsorted(table, np.nan_to_num(ratio)).clip(1, len(table) - 1)
    at -= np.nan_to_num(ratio) - table[at - 1] < table[at] - np.nan_to_num(ratio)
    shape = np.where(np.isfinite(ratio), SHAPES[at], np.nan)
    width = np.exp((gammas[0][at] - gammas[2][at]) / 2)
    left, right = left * width, right * width
    if symmetric:
        return np.stack([shape, (left + right) / 2], 1)
    mean = (right - left) * np.exp(gammas[1][at] - gammas[0][at])
    return np.stack([shape, mean, left, right], 1)


@lru_cache(1)
def _ratios() -> tuple[np.ndarray, np.ndarray]:
    """For each of SHAPES: gamma(2/a)^2 / (gamma(1/a) gamma(3/a)), and the logarithms of the three."""
    gammas = np.array([[lgamma(k / a) for a in SHAPES] for k in (1, 2, 3)])
    return np.exp(2 * gammas[1] - gammas[0] - gammas[2]), gammas


@lru_cache(1)
def shipped() -> Statistics:
    """The model that comes along, fitted to freely licensed photographs (weights/niqe.md)."""
    return read_model(SHIPPED)


def read_model(path: str | os.PathLike) -> Statistics:
    """A model from an .npz file of `save_model`, or from the published parameters, a MATLAB file of
    mu_prisparam and cov_prisparam. Nothing in them is run.

    Raises FileNotFoundError, ImportError where a MATLAB file needs scipy, ValueError naming the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no NIQE model at {path}")
    names = ("mean", "covariance")
    try:
        if path.suffix.lower() == ".mat":
            if find_spec("scipy") is None:
                raise ImportError(f"{path} is a MATLAB file, which needs scipy: pip install scipy")
            names, held = ("mu_prisparam", "cov_prisparam"), _matlab(path)
        else:
            with np.load(path, allow_pickle=False) as file:
                held = {name: file[name] for name in names if name in file}
        mean, covariance = (np.asarray(held[name], dtype=np.float64) for name in names)
        return Statistics(mean.reshape(-1), covariance)
    except (KeyError, ValueError, TypeError, OSError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path} is no NIQE model with {names[0]} and {names[1]}: {error}") from error


def _matlab(path: Path) -> dict:
    from scipy.io import loadmat  # pyright: ignore[reportMissingImports]
    from scipy.io.matlab import MatReadError  # pyright: ignore[reportMissingImports]

    try:
        return loadmat(path)
    except MatReadError as error:
        raise ValueError(str(error)) from error


def save_model(model: Statistics, path: str | os.PathLike) -> None:
    """Write a model as .npz, which `read_model` reads; a file of that name is replaced."""
    from ..imaging.replacing import replacing

    with replacing(Path(path)) as partial, partial.open("wb") as file:
        np.savez(file, mean=model.mean, covariance=model.covariance)
