"""DPI measured beside other methods: the same prior, seeds and faces, reduced or degraded as in the paper
(Yang et al. 2025, Tables 1 to 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import weights
from ..degrade import degrade
from ..degrade import preset as degradation
from ..degrade.presets import FACE_LEVELS
from ..diffsr.method import DiffSRSettings
from ..dpi.corrector import Corrector, load_corrector
from ..dpi.method import DPISettings, dpi_upscale
from ..dpi.presets import AUTO, AUTO_STEPS, REAL, choose_settings
from ..dps.posterior import posterior_upscale
from ..dps.sampling import DPSSettings
from ..imaging.resize import resize, size_of
from ..metrics.compare import side_by_side
from ..metrics.faces import FaceMetrics, Restore, exact_scale, reduced
from ..priors.edm import EDMPrior
from ..priors.prior import Prior
from . import diffsr_study as diffsr

LEVELS = tuple(
    level for level in FACE_LEVELS if level != "severe-printed"
)  # which is one of the others, read literally
SHOWN = 4  # faces of a sheet

Report = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """What faces came to, B C h w in 0..1, and how DPI restores them; corrector is None where there is none
    for them.
    """

    name: str
    low: Tensor
    scale: float
    settings: DPISettings
    corrector: Corrector | None

    def dpi(self, prior: Prior, **changes) -> Restore:
        """DPI for these faces; `changes` are fields of this task."""
        task = replace(self, **changes)
        return lambda x, seeds: dpi_upscale(prior, task.corrector, x, task.scale, task.settings, seeds=seeds)


def read_correctors(folder: str | Path | None = None) -> list[Corrector]:
    """The correctors among the weight files of a folder, by default of the package's; files of other kinds
    are passed over.
    """
    folder = weights.SHIPPED if folder is None else Path(folder)
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}: give the one that holds the correctors")
    return [
        load_corrector(str(p))
        for p in sorted(folder.glob("*.safetensors"))
        if weights.read_metadata(p).get("kind") == "corrector"
    ]


def fitting(correctors: Iterable[Corrector], prior: Prior, k: int, scale: float | None) -> Corrector | None:
    """The first corrector that was trained for pictures of the prior's channels and size; a scale of None
    asks for the one of degraded pictures.
    """
    return next((one for one in correctors if one.serves(prior.channels, k, scale, prior.size)), None)


def reduced_faces(
    prior: Prior, truth: Tensor, scale: float, correctors: Sequence[Corrector] = (), **own
) -> Task:
    """True faces B C H W in 0..1 reduced bicubically, with the paper's settings of the scale in 100 steps;
    `own` says what differs.
    """
    exact = exact_scale(truth.shape[-1], scale)
    settings = replace(choose_settings(AUTO, exact, AUTO_STEPS), **own)
    return Task(
        f"x{scale:g}",
        reduced(truth, exact),
        exact,
        settings,
        fitting(correctors, prior, settings.k, exact),
    )


def degraded_faces(
    prior: Prior, truth: Tensor, level: str, correctors: Sequence[Corrector] = (), **own
) -> Task:
    """The same for a real-world degradation of Eq. 19, face i with seed i: at full size, then as small as
    DPI's grid.
    """
    settings = replace(choose_settings(REAL, 1, AUTO_STEPS), **own)
    seen = degrade(truth.cpu(), degradation(f"dpi-{level}"), range(len(truth)))[0].to(truth)
    return Task(
        f"dpi-{level}",
        reduced(seen, settings.k),
        float(settings.k),
        settings,
        fitting(correctors, prior, settings.k, None),
    )


def methods(
    prior: Prior,
    task: Task,
    dps: DPSSettings,
    settings: DiffSRSettings,
    report: Report = lambda message: None,
) -> dict[str, Restore]:
    """What is compared: names to upscalers. report says what is left out, and why."""
    others = diffsr.methods(prior, task.scale, settings)
    found = {"bicubic": others["bicubic"], "srcnn": others["srcnn"]}
    if prior.measured is None:
        report(
            f"{task.name}: diffsr is left out, because this prior's errors were never measured (priorsr "
            "calibrate)"
        )
    else:
        found["diffsr"] = others["diffsr"]
    if isinstance(prior, EDMPrior):
        report(f"{task.name}: dps is left out, because it is for ADM priors")
    else:
        found["dps"] = lambda x, seeds: posterior_upscale(prior, x, task.scale, dps, seeds=seeds)
    found["dpi, no CRT"] = task.dpi(prior, corrector=None)
    if task.corrector is None:
        report(f"{task.name}: dpi is left out, because there is no corrector for it ({wanted(prior, task)})")
    else:
        found["dpi"] = task.dpi(prior)
    return found


def wanted(prior: Prior, task: Task) -> str:
    """Which corrector a task asks for."""
    trained = "degraded faces" if task.name.startswith("dpi-") else task.name
    return f"{trained}, {prior.channels} channels, {prior.size} pixels, k {task.settings.k}"


def compare_methods(
    prior: Prior,
    truth: Tensor,
    tasks: Sequence[Task],
    dps: DPSSettings,
    settings: DiffSRSettings = DiffSRSettings(),
    report: Report = lambda message: None,
) -> tuple[list[dict], Tensor]:
    """A row for each task and method, and a sheet: for each task the first faces (rows) as the input, by each
    method, the truth.
    """
    judge, rows, sheets = FaceMetrics(truth), [], []
    for task in tasks:
        columns = [resize(task.low[:SHOWN], size_of(truth), method="nearest")]
        for name, restore in methods(prior, task, dps, settings, report).items():
            restored, figures = judge.run(restore, task.low)
            rows.append({"task": task.name, "method": name, **figures})
            columns.append(restored[:SHOWN])
            report(f"{task.name}, {name}: {figures['psnr']:.2f} dB, {figures['seconds']:.2f} s a face")
        sheets.append(contact_sheet([*columns, truth[:SHOWN]]))
    width = max(sheet.shape[-1] for sheet in sheets)
    return rows, torch.cat([F.pad(sheet, (0, width - sheet.shape[-1]), value=1.0) for sheet in sheets], 2)


def contact_sheet(columns: Sequence[Tensor]) -> Tensor:
    """Columns of pictures B C H W of one size beside each other at twice that size, 1 C H' W'."""
    return torch.cat(
        [side_by_side(list(row), height=2 * row.shape[-2]) for row in torch.stack(list(columns), 1)], 1
    )[None]
