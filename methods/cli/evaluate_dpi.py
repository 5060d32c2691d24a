"""`priorsr evaluate dpi`: its options, and each part as a table, figures and sheets of the given faces in a
folder.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..dpi.corrector import Corrector
from ..dpi.method import DPISettings
from ..dpi.presets import AUTO_STEPS
from ..dps.sampling import DPSSettings
from ..drawing import check_plots
from ..evaluate.dpi_ablation import SWEPT, ablations, compare_variants, sweep
from ..evaluate.dpi_plot import sweep_plot
from ..evaluate.dpi_study import (
    LEVELS,
    Prior,
    Task,
    compare_methods,
    degraded_faces,
    read_correctors,
    reduced_faces,
    wanted,
)
from ..metrics.faces import markdown
from ..priors.load import load_prior
from .options import add_settings, given_settings, read_settings
from .studies import face_arguments, read_faces, save

log = logging.getLogger("priorsr")

PARTS = ("methods", "ablations", "sweeps")


def arguments(parser: argparse.ArgumentParser) -> None:
    face_arguments(parser)
    parser.add_argument(
        "--part", default="methods", choices=(*PARTS, "all"), help="what is measured (default methods)"
    )
    parser.add_argument(
        "--scales",
        nargs="+",
        type=float,
        default=[4, 8, 16],
        help="of the methods, beside the face degradations (default 4 8 16)",
    )
    parser.add_argument("--at", type=float, default=8, help="scale of the ablations and sweeps (default 8)")
    parser.add_argument(
        "--seeds",
        type=int,
        default=8,
        help="samples of a face whose standard deviation is its diversity (default 8)",
    )
    parser.add_argument(
        "--varied", type=int, default=16, help="faces of the diversity and of the sweeps (default 16)"
    )
    parser.add_argument(
        "--correctors",
        metavar="FOLDER",
        help="correctors, told apart by what their files say (default: the shipped ones)",
    )
    add_settings(parser.add_argument_group("dpi"), DPISettings, preset=True)
    add_settings(
        parser.add_argument_group("dps"), DPSSettings, DPSSettings(respacing=str(AUTO_STEPS)), prefix="dps-"
    )


def run(options: argparse.Namespace, device: torch.device) -> list[dict]:
    """Every part that was asked for; the rows of all. Raises ValueError before the first run."""
    if options.part != "methods" and (options.seeds < 2 or options.varied < 1):
        raise ValueError(
            f"{options.seeds} seeds of {options.varied} faces show no diversity: give at least 2 seeds and "
            "1 face"
        )
    prior, correctors = load_prior(options.prior), read_correctors(options.correctors)
    for one in (prior, *correctors):
        one.network.to(device)
    truth = read_faces(options.data, prior.size, options.count).to(device)
    parts = {"methods": _methods, "ablations": _ablations, "sweeps": _sweeps}
    asked = PARTS if options.part == "all" else (options.part,)
    if "sweeps" in asked:
        check_plots()
    rows = [row for part in asked for row in parts[part](options, prior, truth, correctors)]
    log.info("wrote %s", options.out)
    return rows


def _methods(
    options: argparse.Namespace, prior: Prior, truth: Tensor, correctors: list[Corrector]
) -> list[dict]:
    own = given_settings(DPISettings, options)
    tasks = [reduced_faces(prior, truth, scale, correctors, **own) for scale in options.scales]
    tasks += [degraded_faces(prior, truth, level, correctors, **own) for level in LEVELS]
    rows, sheet = compare_methods(
        prior, truth, tasks, read_settings(DPSSettings, options, "dps-"), report=log.info
    )
    save(Path(options.out), "methods", markdown(rows, ("task", "method")), rows, sheet)
    return rows


def _ablations(
    options: argparse.Namespace, prior: Prior, truth: Tensor, correctors: list[Corrector]
) -> list[dict]:
    task = _at(options, prior, truth, correctors)
    variants = ablations(prior, task, correctors, log.info)
    rows, sheet = compare_variants(prior, truth, variants, options.seeds, options.varied, log.info)
    save(Path(options.out), "ablations", markdown(rows, ("variant",)), rows, sheet)
    return rows


def _sweeps(
    options: argparse.Namespace, prior: Prior, truth: Tensor, correctors: list[Corrector]
) -> list[dict]:
    out, few = Path(options.out), truth[: options.varied]
    task, sweeps = _at(options, prior, few, correctors), []
    if task.corrector is None:
        log.info("%s: swept without CRT, because there is no corrector (%s)", task.name, wanted(prior, task))
    with tqdm(total=sum(map(len, SWEPT.values())), unit="value") as bar:
        for setting, values in SWEPT.items():
            one, sheet = sweep(prior, few, task, setting, values, options.seeds, bar.update)
            save(out, f"sweep-{setting}", markdown(one.rows, (setting,)), one.rows, sheet)
            sweeps.append(one)
    sweep_plot(sweeps, out / "sweeps.png")
    return [row for one in sweeps for row in one.rows]


def _at(options: argparse.Namespace, prior: Prior, truth: Tensor, correctors: list[Corrector]) -> Task:
    return reduced_faces(prior, truth, options.at, correctors, **given_settings(DPISettings, options))
