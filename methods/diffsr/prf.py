"""The perceptual recoverable field: how much noise keeps a picture recognisable and still hides that it was
enlarged.

Source: Diff-SR, Lemma 1, Theorem 1 and Eq. 8-9, with the exact Gaussian divergence in place of its Eq. 15-16.
Everything is per pixel, so that one calibration serves every size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...samplers.schedule import Level
from ..priors.calibration import Calibration


@dataclass(frozen=True)
class RecoverableField:
    """Both losses at every step of a schedule, and the step they choose.

    signature rises with the step: what the prior's own errors do to a picture; fidelity, weighted by omega,
    falls: how well the enlarged picture's noisy version can be told from the true one's. `chosen` minimises
    their sum where both are within their limits or, where nothing is (`empty`), is the step that exceeds them
    least.
    """

    signature: np.ndarray
    fidelity: np.ndarray
    measured: Calibration
    chosen: int
    empty: bool

    @property
    def inside(self) -> np.ndarray:
        """At which steps both losses are within their limits."""
        return (self.signature <= self.measured.max_signature) & (self.fidelity <= self.measured.max_fidelity)

    @property
    def share(self) -> float:
        """The chosen noise level as t / T."""
        return (self.chosen + 1) / len(self.signature)


def signature_loss(levels: Sequence[Level], errors: Mapping[int, float]) -> np.ndarray:
    """Lemma 1 with the variance of the posterior, at each of `levels` (ascending); errors: eps-MSE at some of
    them.

    The terms that do not depend on the prior's errors, C_t and L_0, are left out: they move no minimum.
    """
    steps = sorted(errors)
    error = np.interp(np.arange(len(levels)), steps, [errors[i] for i in steps])
    snr = _snr(levels)
    # (1 - alpha_i)^2 / (2 alpha_i (1 - abar_i) beta~_i) is half the ratio of neighbouring signal-to-noise
    # ratios, less one half
    return np.concatenate([[0.0], np.cumsum((snr[:-1] / snr[1:] - 1) / 2 * error[1:])])


def fidelity_loss(levels: Sequence[Level], distance: float) -> np.ndarray:
    """KL(q(x_t | x0) || q(x_t | enlarged)) a pixel at each level; distance: mean squared difference of the
    two in -1..1.
    """
    return _snr(levels) * distance / 2


def _snr(levels: Sequence[Level]) -> np.ndarray:
    return np.array([(level.alpha / level.sigma) ** 2 for level in levels])


def recoverable_field(levels: Sequence[Level], measured: Calibration, distance: float) -> RecoverableField:
    """The field of one picture, whose enlarged version lies `distance` (mean square, -1..1) from the
    truth.
    """
    signature, fidelity = (
        signature_loss(levels, measured.errors),
        measured.omega * fidelity_loss(levels, distance),
    )
    excess = np.maximum(signature / measured.max_signature, fidelity / measured.max_fidelity)
    inside = excess <= 1
    chosen = np.argmin(np.where(inside, signature + fidelity, np.inf)) if inside.any() else np.argmin(excess)
    return RecoverableField(signature, fidelity, measured, int(chosen), not inside.any())
