"""What `priorsr evaluate WHAT` measures; results are tables and pictures in a folder, or printed."""

from __future__ import annotations

import argparse
import json
import logging
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from ..imaging.datasets import read_pictures
from ..imaging.images import Picture, replacing, write
from ..visionrefine.srcnn import SCALES, load_srcnn
from .evaluate_methods import compare_methods, methods_arguments
from .options import add_settings, read_settings
from .studies import face_arguments, read_faces, save

log = logging.getLogger("priorsr")


@dataclass(frozen=True)
class Study:
    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, torch.device], list[dict]]


def add_studies(parser: argparse.ArgumentParser) -> None:
    subparsers = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for study in STUDIES:
        sub = subparsers.add_parser(study.name, help=study.help, description=study.help)
        sub.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
        sub.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
        study.arguments(sub)
        sub.set_defaults(study=study)


def _srcnn_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sets",
        nargs="+",
        metavar="FOLDER",
        help="benchmark folders of high-resolution pictures, such as Set5",
    )
    parser.add_argument(
        "--scales", nargs="+", type=int, default=list(SCALES), choices=SCALES, help="default: all"
    )
    parser.add_argument("--weights", help="weights for a single scale instead of the shipped ones")


def _srcnn(options: argparse.Namespace, device: torch.device) -> list[dict]:
    from ..metrics.benchmark import benchmark, bicubic
    from ..train.srcnn import luma_upscaler

    if options.weights and len(options.scales) != 1:
        raise ValueError("--weights serves one scale: name it with --scales")
    rows = []
    for folder in options.sets:
        images = read_pictures([folder])
        for scale in options.scales:
            network = load_srcnn(scale, options.weights)[0].to(device)
            for method, upscale in (("bicubic", bicubic), ("srcnn", luma_upscaler(network, scale))):
                scores = benchmark(upscale, images, scale)
                means = {
                    k: round(statistics.fmean(getattr(s, k) for s in scores), 4)
                    for k in ("psnr", "ssim", "seconds")
                }
                rows.append({"set": Path(folder).name, "scale": scale, "method": method, **means})
    return rows


def _diffsr_arguments(parser: argparse.ArgumentParser) -> None:
    from ..diffsr.method import DiffSRSettings

    face_arguments(parser)
    parser.add_argument("--scales", nargs="+", type=float, default=[2, 2.7, 4, 8], help="default: 2 2.7 4 8")
    parser.add_argument(
        "--swept", type=int, default=32, help="faces of the noise-level sweep; 0 leaves it out (default 32)"
    )
    add_settings(parser, DiffSRSettings)


def _diffsr(options: argparse.Namespace, device: torch.device) -> list[dict]:
    from ..diffsr.method import DiffSRSettings
    from ..drawing import check_plots
    from ..evaluate.diffsr_plot import sweep_plot
    from ..evaluate.diffsr_study import LEVELS, compare_methods, sweep
    from ..metrics.faces import markdown
    from ..priors.load import load_prior

    if options.swept:
        check_plots()
    settings, out = read_settings(DiffSRSettings, options), Path(options.out)
    prior = load_prior(options.prior)
    prior.network.to(device)
    truth = read_faces(options.data, prior.size, options.count, colour=True).to(device)
    rows, sheet = compare_methods(prior, truth, options.scales, settings)
    save(out, "diffsr", markdown(rows, ("scale", "method")), rows, sheet)
    if options.swept:
        with tqdm(total=len(options.scales) * len(LEVELS), unit="level") as bar:
            sweeps = [
                sweep(prior, truth[: options.swept], scale, LEVELS, settings, bar.update)[0]
                for scale in options.scales
            ]
        write(Picture(sweep_plot(sweeps)), out / "sweep.png", overwrite=True)
        with replacing(out / "sweep.json") as partial:
            partial.write_text(json.dumps([vars(s) for s in sweeps], indent=1), encoding="utf-8")
    log.info("wrote %s", out)
    return rows


def _dpi_arguments(parser: argparse.ArgumentParser) -> None:
    from .evaluate_dpi import arguments

    arguments(parser)


def _dpi(options: argparse.Namespace, device: torch.device) -> list[dict]:
    from .evaluate_dpi import run

    return run(options, device)


def _srdg_arguments(parser: argparse.ArgumentParser) -> None:
    from .evaluate_srdg import arguments

    arguments(parser)


def _srdg(options: argparse.Namespace, device: torch.device) -> list[dict]:
    from .evaluate_srdg import run

    return run(options, device)


def _detection_arguments(parser: argparse.ArgumentParser) -> None:
    from .evaluate_detection import arguments

    arguments(parser)


def _detection(options: argparse.Namespace, device: torch.device) -> list[dict]:
    from .evaluate_detection import run

    return run(options, device)


def _study_arguments(parser: argparse.ArgumentParser) -> None:
    from .evaluate_study import arguments

    arguments(parser)


def _study(options: argparse.Namespace, device: torch.device) -> list[dict]:
    from .evaluate_study import run

    return run(options, device)


def _condition_arguments(parser: argparse.ArgumentParser) -> None:
    from .evaluate_study import condition_arguments

    condition_arguments(parser)


def _condition(options: argparse.Namespace, device: torch.device) -> list[dict]:
    from .evaluate_study import condition

    return condition(options, device)


def _prior_arguments(parser: argparse.ArgumentParser) -> None:
    face_arguments(parser)
    parser.add_argument("--scales", nargs="+", type=int, default=[2, 4, 8], help="default: 2 4 8")
    parser.add_argument(
        "--samples", type=int, default=64, help="pictures out of noise to look at (default 64)"
    )


def _prior(options: argparse.Namespace, device: torch.device) -> list[dict]:
    from ..evaluate.prior import OFTEN, collapsed, restoration, step_distance
    from ..metrics.faces import markdown
    from ..priors.load import load_prior
    from ..priors.unconditional import samples
    from ..train.prior import grid

    prior = load_prior(options.prior)
    prior.network.to(device)
    truth = read_faces(options.data, prior.size, options.count).to(device)
    with tqdm(total=OFTEN * len(options.scales), unit="restoration") as bar:
        rows = restoration(prior, truth, options.scales, bar.update)
    apart, drawn = step_distance(prior, truth), samples(prior, options.samples)
    odd = collapsed(drawn)
    text = f"""
20 against 250 DDIM steps from the same noise, root mean square: restorations at x4
{apart["restored"]:.2f}, samples {apart["sampled"]:.2f} of 255.
{len(odd)} of {len(drawn)} samples have hardly more than one tone.
"""
    save(
        Path(options.out),
        "prior",
        markdown(rows, ("scale", "method")) + text,
        [*rows, {**apart, "collapsed": odd}],
        grid(drawn),
    )
    log.info("wrote %s", options.out)
    return rows


STUDIES = (
    Study(
        "prior",
        "A prior on faces: null-space restoration, few steps against many, samples.",
        _prior_arguments,
        _prior,
    ),
    Study(
        "methods",
        "Any methods on benchmark folders or faces, with a grid of settings.",
        methods_arguments,
        compare_methods,
    ),
    Study(
        "study",
        "A study of one of the papers, or of your own file: a grid of settings, judged and put into tables.",
        _study_arguments,
        _study,
    ),
    Study(
        "condition",
        "StableSR's Figure 3: how strongly the small picture moves the model's features, by noise level.",
        _condition_arguments,
        _condition,
    ),
    Study("srcnn", "PSNR and SSIM of SRCNN on benchmark folders, against bicubic.", _srcnn_arguments, _srcnn),
    Study(
        "diffsr",
        "Diff-SR on faces: methods side by side, and a sweep of the noise level beside the field's choice.",
        _diffsr_arguments,
        _diffsr,
    ),
    Study(
        "dpi",
        "DPI on faces: methods side by side, what its parts contribute, and sweeps of tau and s.",
        _dpi_arguments,
        _dpi,
    ),
    Study(
        "srdg",
        "SRDG on faces: what the strength of attribute guidance does, with and without a network for it.",
        _srdg_arguments,
        _srdg,
    ),
    Study(
        "faces",
        "How many faces of pictures detectors find, and how often they see one where none is.",
        _detection_arguments,
        _detection,
    ),
)
