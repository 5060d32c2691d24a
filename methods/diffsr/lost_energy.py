"""How far an enlarged picture is from the unknown true one, guessed from the picture itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..device import doubled
from ..imaging.resize import resize

BAND = (
    0.08,
    0.36,
)  # cycles a pixel of the small picture: above its composition, below what the reduction folds over
EXPECTED = -3.0  # exponent of the power spectra of photographs, and how far it varies among them
VARIES = 0.4
BINS = 12


def lost_energy(low: Tensor, scale: float) -> Tensor:
    """Mean squared difference (B,), in the square of low's unit, between a picture and the enlargement of its
    reduction `low`.

    A power law is fitted to the radial power spectrum of B C h w, as natural pictures have one (Field 1987),
    and what bicubic reduction and enlargement do to a picture of that spectrum is computed. The fewer pixels,
    the more the exponent is drawn to that of most photographs. Raises ValueError for pictures of a few
    pixels.
    """
    if scale <= 1:
        return low.new_zeros(len(low))
    passed = _bicubic(float(scale))
    offset, slope = _power_law(low, passed, scale)
    spacing = passed.frequency[1] - passed.frequency[0]
    radius = scale * np.hypot(
        passed.frequency[:, None], passed.frequency[None]
    )  # in cycles a pixel of the small picture
    error = 1 - 2 * np.outer(passed.kept, passed.kept) + np.outer(passed.energy, passed.energy)
    energy = [
        4 * (np.exp(a) * radius**b * error).sum() * (scale * spacing) ** 2
        for a, b in zip(offset.tolist(), slope.tolist(), strict=True)
    ]
    return low.new_tensor(energy)


def _power_law(low: Tensor, passed: _Passed, scale: float) -> tuple[Tensor, Tensor]:
    """Logarithm of the power density at 1 cycle a pixel, and the exponent, of each picture (B,)."""
    mirrored = doubled(torch.cat([low, low.flip(-1)], -1))  # a cosine transform, which knows no edges
    mirrored = torch.cat([mirrored, mirrored.flip(-2)], -2)
    height, width = mirrored.shape[-2:]
    power = torch.fft.fft2(mirrored - mirrored.mean((-2, -1), keepdim=True)).abs().square().mean(1) / (
        height * width
    )
    frequencies = [np.abs(np.fft.fftfreq(n)) for n in (height, width)]
    dimmed = np.multiply.outer(
        *(np.interp(f / scale, passed.frequency, passed.reduced) for f in frequencies)
    )  # by the reduction
    radius = np.hypot(frequencies[0][:, None], frequencies[1][None])
    place = np.digitize(radius, np.geomspace(*BAND, BINS + 1)) - 1
    bins = [place == i for i in range(BINS) if (place == i).any()]
    if len(bins) < 2:
        raise ValueError(
            f"a picture of {low.shape[-1]}x{low.shape[-2]} is too small to guess what it lost: choose the "
            "noise level by hand"
        )
    counts = torch.tensor([int(b.sum()) for b in bins], dtype=torch.float64, device="cpu")
    x = torch.tensor([np.log(radius[b]).mean() for b in bins], dtype=torch.float64, device="cpu")
    power = power.cpu() / torch.from_numpy(dimmed)
    y = torch.stack([power[:, torch.from_numpy(b)].mean(1) for b in bins], 1).clamp(min=1e-12).log()
    weight = counts / counts.sum()
    centre, mean = (weight * x).sum(), (weight * y).sum(1)
    x = x - centre
    # each mirrored coefficient is there four times, and the logarithm of one has a variance of about 2
    evidence, doubt = counts.sum() / 4, 2 / VARIES**2
    slope = ((weight * x * y).sum(1) * evidence + EXPECTED * doubt) / (
        (weight * x**2).sum() * evidence + doubt
    )
    return mean - slope * centre, slope


@dataclass(frozen=True)
class _Passed:
    """What bicubic reduction and enlargement leave of a wave e^(2 pi i f x), by frequency in cycles a pixel,
    0 .. 1/2.
    """

    frequency: np.ndarray
    reduced: np.ndarray  # power after the reduction
    kept: np.ndarray  # real part of what is left of the wave itself after both
    energy: np.ndarray  # power after both


@lru_cache(maxsize=32)
def _bicubic(scale: float, length: int = 480, samples: int = 240) -> _Passed:
    frequency = (np.arange(samples) + 0.5) / samples / 2
    wave = torch.from_numpy(np.exp(2j * np.pi * frequency[:, None] * np.arange(length)))
    parts = torch.stack([wave.real, wave.imag])[:, None]
    low = resize(parts, (samples, round(length / scale)))
    both = resize(low, (samples, length))
    inner = slice(length // 8, -length // 8)  # away from the ends
    left = torch.complex(both[0, 0], both[1, 0])[:, inner]
    kept = (left * wave[:, inner].conj()).mean(1).real
    reach = slice(low.shape[-1] // 8, -(low.shape[-1] // 8) or None)
    reduced = low.square().sum((0, 1))[:, reach].mean(1)
    return _Passed(frequency, reduced.numpy(), kept.numpy(), left.abs().square().mean(1).numpy())
