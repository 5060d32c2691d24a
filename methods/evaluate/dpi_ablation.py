"""What DPI's parts contribute, and how tau and s trade consistency for diversity (Yang et al. 2025, Table 4
and Figure 7).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..dpi.corrector import Corrector
from ..metrics.faces import FaceMetrics, Restore
from .dpi_study import Prior, Report, Task, contact_sheet, fitting, wanted

SWEPT = {
    "tau": (0.0, 100.0, 200.0, 300.0, 400.0, 500.0, 700.0, 1000.0),
    "s": (0.5, 0.8, 1.0, 1.2, 1.4, 2.0, 3.0),
}
SHOWN, SEEDS_SHOWN = 3, 3  # faces of a sheet, and samples of each


@dataclass(frozen=True)
class Sweep:
    """One setting of DPI over its values: a row of figures for each, with `diversity_of_faces` among them."""

    setting: str
    rows: list[dict]


def variations(restore: Restore, low: Tensor, seeds: int) -> Tensor:
    """Restorations of faces B C h w with `seeds` seeds each, S B C H W in 0..1; the first ones are those of
    Judge.run.
    """
    if seeds < 2:
        raise ValueError(f"{seeds} seeds show no diversity: give 2 or more")
    return torch.stack([restore(low, [j * len(low) + i for i in range(len(low))]) for j in range(seeds)])


def diversity(samples: Tensor) -> Tensor:
    """Standard deviation over the samples S B C H W, the mean over a face's pixels in levels of 255, (B,)."""
    return 255 * samples.std(0).flatten(1).mean(1)


def ablations(
    prior: Prior, task: Task, correctors: Sequence[Corrector], report: Report = lambda message: None
) -> dict[str, Task]:
    """The columns of Table 4.

    Those that need a corrector are left out where there is none, and report says so.

    k = 4 takes a corrector for that grid or, as its name then says, none.
    """
    changed = lambda **own: replace(task, settings=replace(task.settings, **own))  # noqa: E731
    found = {
        "DPI": task,
        "no CRT": replace(task, corrector=None),
        "no refinement": changed(refine=False),
        "no stage II": changed(tau=0.0),
        "no weight": changed(weighted=False),
    }
    if task.corrector is None:
        found = {"no CRT": found["no CRT"]}
        report(f"{task.name}: only rows without CRT, because there is no corrector ({wanted(prior, task)})")
    coarse = fitting(correctors, prior, 4, task.scale)
    found["k = 4" if coarse else "k = 4, no CRT"] = replace(changed(k=4), corrector=coarse)
    return found


def compare_variants(
    prior: Prior,
    truth: Tensor,
    variants: dict[str, Task],
    seeds: int,
    varied: int,
    report: Report = lambda message: None,
) -> tuple[list[dict], Tensor]:
    """A row of figures for each variant with the diversity of the first `varied` faces, and a sheet of faces
    by variant, the truth last.
    """
    judge, rows, columns = FaceMetrics(truth), [], []
    for name, task in variants.items():
        restore = task.dpi(prior)
        restored, figures = judge.run(restore, task.low)
        rows.append({"variant": name, **figures, **_diversity(variations(restore, task.low[:varied], seeds))})
        columns.append(restored[: 2 * SHOWN])
        report(
            f"{task.name}, {name}: {figures['psnr']:.2f} dB, standard deviation "
            f"{rows[-1]['diversity']:.2f} of 255"
        )
    return rows, contact_sheet([*columns, truth[: 2 * SHOWN]])


def sweep(
    prior: Prior,
    truth: Tensor,
    task: Task,
    setting: str,
    values: Sequence[float],
    seeds: int,
    on_value: Callable[[], object] = lambda: None,
) -> tuple[Sweep, Tensor]:
    """A setting of DPI over `values`, and a sheet: for each of the first faces a row a sample, a column a
    value, the truth last.

    omega is raised to tau where it would be less.
    """
    judge, rows, columns = FaceMetrics(truth), [], []
    for value in values:
        raised = {"omega": max(task.settings.omega, value)} if setting == "tau" else {}
        samples = variations(
            task.dpi(prior, settings=replace(task.settings, **{setting: value}, **raised)), task.low, seeds
        )
        rows.append({setting: value, **judge(samples[0], task.low), **_diversity(samples)})
        columns.append(_rows(samples))
        on_value()
    return Sweep(setting, rows), contact_sheet([*columns, _rows(truth.expand(seeds, *truth.shape))])


def _diversity(samples: Tensor) -> dict[str, float | list[float]]:
    spread = diversity(samples)
    return {"diversity": float(spread.mean()), "diversity_of_faces": spread.tolist()}


def _rows(samples: Tensor) -> Tensor:
    """The first samples of the first faces, face after face."""
    return samples[:SEEDS_SHOWN, :SHOWN].transpose(0, 1).flatten(0, 1)
