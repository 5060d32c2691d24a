"""What was measured of a prior, and stored with it: its error at each level, and how much noise its pictures
bear.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from ...samplers.denoiser import Denoiser
from ...samplers.noise import Noise
from ...samplers.schedule import Level

AIMS = ("fidelity", "detail")


@dataclass(frozen=True)
class Calibration:
    """errors: eps-MSE a pixel by step of the schedule, on pictures of the prior's kind.

    The rest weighs and limits the losses of the perceptual recoverable field; without a calibration nothing
    limits them. faithful: the omega that comes closest to the levels of highest PSNR, SSIM and identity,
    where no limits apply. lost: mean square (-1..1) that bicubic reduction and enlargement lose of such
    pictures, by scale; typical: the surprise (typical.py) that nearly all of them stay below, by scale.
    """

    errors: Mapping[int, float]
    omega: float = 1.0
    max_signature: float = math.inf  # C_S
    max_fidelity: float = math.inf  # C_F, of omega times the loss
    faithful: float = 1.0
    lost: Mapping[float, float] = field(default_factory=dict)
    typical: Mapping[float, float] = field(default_factory=dict)

    def aimed(self, aim: str) -> Calibration:
        """What chooses the level: `detail` is the field as published, `fidelity` stays closer to the
        input.
        """
        if aim not in AIMS:
            raise ValueError(f"aim {aim!r} is not one of {', '.join(AIMS)}")
        return self if aim == "detail" else Calibration(self.errors, self.faithful, lost=self.lost)

    def expected_loss(self, scale: float) -> float | None:
        """What a picture of the prior's kind loses at a scale, where that was measured."""
        return _by_scale(self.lost, scale)

    def typical_limit(self, scale: float) -> float | None:
        """The surprise that speaks against a picture of the prior's kind, enlarged by a scale, where that was
        measured.
        """
        return _by_scale(self.typical, scale)

    def error(self, step: float) -> float:
        """The eps-MSE at any step of the schedule."""
        steps = sorted(self.errors)
        return float(np.interp(step, steps, [self.errors[i] for i in steps]))

    def to_json(self) -> str:
        limits = {
            k: v
            for k in ("omega", "max_signature", "max_fidelity", "faithful")
            if math.isfinite(v := getattr(self, k))
        }
        tables = {
            k: [[i, float(f"{e:.5g}")] for i, e in sorted(getattr(self, k).items())]
            for k in ("errors", "lost", "typical")
        }
        return json.dumps({**tables, **limits})

    @staticmethod
    def from_json(text: str) -> Calibration:
        """What `to_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        values = json.loads(text)
        tables = {k: dict(values.pop(k, [])) for k in ("lost", "typical")}
        errors = {int(i): e for i, e in values.pop("errors")}
        for value in (*values.values(), *chain(*(t.items() for t in (errors, *tables.values())))):
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, bool) or not 0 <= number < math.inf:
                    raise ValueError(f"{str(number)[:20]!r} was measured, which is no number from 0 on")
        if not errors:
            raise ValueError("no error of the prior was measured")
        return Calibration(errors, **tables, **values)


def _by_scale(table: Mapping[float, float], scale: float) -> float | None:
    """Between the entries of a table; on logarithms, as powers of the scale."""
    if not table:
        return None
    known = sorted(table)
    return float(np.exp(np.interp(np.log(scale), np.log(known), [np.log(table[s]) for s in known])))


def midpoint_timesteps(steps: int, count: int) -> list[int]:
    """`count` steps of a schedule, each in the middle of its share."""
    return sorted({int((i + 0.5) * steps / count) for i in range(count)})


@torch.no_grad()
def eps_mse(denoiser: Denoiser, images: Tensor, levels: Sequence[Level], batch: int = 50) -> list[float]:
    """Mean squared error of eps a pixel at each level, on clean images B C H W in -1..1; image i has the
    noise of seed i.
    """
    starts = range(0, len(images), batch)
    noises = [
        Noise(range(i, min(i + batch, len(images))))((min(batch, len(images) - i), *images.shape[1:]))
        for i in starts
    ]
    errors = []
    for level in levels:
        total = 0.0
        for x0, eps in zip(images.split(batch), noises, strict=True):
            eps = eps.to(x0)
            total += float((denoiser(level.alpha * x0 + level.sigma * eps, level).eps - eps).square().sum())
        errors.append(total / images.numel())
    return errors
