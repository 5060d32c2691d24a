"""Measure a prior on pictures of its kind: its errors by level, and what limits and weighs its recoverable
field.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import Tensor

from ...samplers.schedule import Level
from .. import weights
from ..diffsr.method import DiffSRSettings, choose_level
from ..diffsr.prf import fidelity_loss, recoverable_field, signature_loss
from ..imaging.resize import resize, size_of
from ..metrics.faces import exact_scale, reduced
from ..priors.adm import ADMPrior
from ..priors.calibration import Calibration, eps_mse, midpoint_timesteps
from ..priors.load import PriorSettings
from ..priors.prior import Prior
from ..priors.typicality import usual_surprise
from .diffsr_study import BETTER, Sweep, sweep

POINTS = 25
SCALES = (2.0, 4.0, 8.0)
CENTRE, MARGIN = (
    0.425,
    0.025,
)  # the field at x4 ends here, and at x8 would begin this much later: Diff-SR, section 3.4
TRIED = np.geomspace(0.01, 10, 61)


def calibrate(
    prior: Prior,
    images: Tensor,
    swept: int = 32,
    levels: Sequence[int] = tuple(range(5, 65, 5)),
    settings: DiffSRSettings = DiffSRSettings(),
    on_step: Callable[[str], None] = lambda what: None,
) -> Calibration:
    """Measured values from pictures N C H W in -1..1 that the prior was not trained on; noise levels are
    swept on the first `swept`.
    """
    table = prior.noise_levels()
    points = midpoint_timesteps(len(table), POINTS)
    errors = dict(zip(points, eps_mse(prior, images, [table[i] for i in points]), strict=True))
    on_step("errors")
    truth = images / 2 + 0.5
    found = limits(
        table, errors, {s: lost(truth, s) for s in (1.5, *SCALES, 16.0) if s <= truth.shape[-1] / 4}
    )
    measured, sweeps = _measured(prior, found), []
    small = {s: truth if s == 1 else reduced(truth, exact_scale(truth.shape[-1], s)) for s in (1.0, *SCALES)}
    found = replace(found, typical={s: usual_surprise(measured, low) for s, low in small.items()})
    on_step("surprise")
    for scale in SCALES[:2]:
        sweeps.append(
            sweep(
                measured,
                truth[:swept],
                scale,
                levels,
                settings,
                lambda scale=scale: on_step(f"sweep x{scale:g}"),
            )[0]
        )
    return replace(found, faithful=faithful_omega(measured, truth[:swept], sweeps))


def lost(truth: Tensor, scale: float) -> float:
    """Median mean square, in -1..1, that reduction and enlargement lose of pictures N C H W in 0..1."""
    low = reduced(truth, exact_scale(truth.shape[-1], scale))
    enlarged = resize(low, size_of(truth)).clamp(0, 1)
    return 4 * float((enlarged - truth).square().flatten(1).mean(1).median())


def limits(
    levels: Sequence[Level], errors: Mapping[int, float], distances: Mapping[float, float]
) -> Calibration:
    """C_S and C_F so that the field contains 40 % at x4 and is empty at x8, for pictures that lose
    `distances` at these scales.
    """
    signature = signature_loss(levels, errors)
    end, begin = (round(share * len(levels)) - 1 for share in (CENTRE, CENTRE + MARGIN))
    measured = Calibration(
        errors,
        1.0,
        float(signature[end]),
        float(fidelity_loss(levels, distances[8.0])[begin]),
        lost=distances,
    )
    two, four, eight = (recoverable_field(levels, measured, distances[s]) for s in SCALES)
    if not (
        two.inside.sum() > four.inside.sum() and four.inside[round(0.4 * len(levels)) - 1] and eight.empty
    ):
        lost = ", ".join(f"x{s:g} {d:.2g}" for s, d in distances.items())
        raise ValueError(
            f"no limits give these pictures a field at x4 and none at x8 (mean square lost: {lost}): use "
            "pictures with more detail"
        )
    return measured


def faithful_omega(prior: Prior, truth: Tensor, sweeps: Sequence[Sweep]) -> float:
    """The omega whose choices lie, on average, closest to the best fixed levels of PSNR, SSIM and
    identity.
    """
    small = {one.scale: reduced(truth, exact_scale(truth.shape[-1], one.scale)) for one in sweeps}

    measured = prior.measured
    if measured is None:
        raise ValueError("the prior's errors are not measured: calibrate it first")

    def miss(omega: float) -> float:
        tried, total = _measured(prior, replace(measured, faithful=omega)), 0.0
        for one in sweeps:
            scale = exact_scale(truth.shape[-1], one.scale)
            chosen = 100 * np.mean(
                [choose_level(tried, x[None], scale, aim="fidelity").share for x in small[one.scale]]
            )
            known = [metric for metric in BETTER if metric in next(iter(one.figures.values()))]
            total += sum(abs(chosen - one.best(metric)) for metric in known)
        return total

    return float(min(TRIED, key=miss))


def _measured(prior: Prior, measured: Calibration) -> Prior:
    """The prior, which is a dataclass of whatever kind, with other errors."""
    return replace(cast(Any, prior), measured=measured)


def store(source: Path, out: Path, prior: Prior, measured: Calibration, settings: PriorSettings) -> None:
    """Write the prior's file again, with what was measured and what its file left open."""
    state, metadata = weights.read_state(source)
    said = {"kind": "prior", "measured": measured.to_json()}
    if isinstance(prior, ADMPrior):
        config = prior.network.config
        said["settings"] = json.dumps(asdict(config))
        said["chain"] = json.dumps(asdict(settings.resolved(config, json.loads(metadata.get("chain", "{}")))))
    weights.save(
        prior.network,
        out,
        {**metadata, **said},
        next(v.dtype for v in state.values() if v.is_floating_point()),
    )
