"""What `priorsr restore-faces` does; its options are those of the settings it uses."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from ..diffsr.method import DiffSRSettings
from ..dpi import presets as choice
from ..dpi.method import PRESETS
from ..faces.align import FRAMES
from ..faces.codeformer import CodeFormerSettings
from ..faces.detect import DetectSettings, face_numbers
from ..faces.load import CODEFORMER, FILES, load_codeformer, load_detector, load_parser
from ..faces.restore import RestoreSettings, restore_faces
from ..faces.restorers import SIDE, EnlargingRestorer, by_diffsr, by_dpi, by_srcnn, by_srdg, frame_of
from ..imaging.images import Picture
from ..metrics.identity import FFHQ, SMALLEST, TIGHT, Identity, available
from ..priors.load import PriorSettings, load_prior
from ..srdg.method import scales_of
from . import srdg_options as srdg
from . import stablesr_options as stablesr
from .commands import Command, compute_device
from .folder import Job
from .main import add_files, add_settings, log, read_settings, run_files
from .upscalers import SHIPPED_PRIOR


@dataclass(frozen=True)
class Chosen:
    """A restorer with the side and frame of the faces that it takes."""

    restorer: Callable
    size: int
    frame: str


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_files(parser)
    parser.add_argument(
        "--with",
        dest="method",
        choices=tuple(METHODS),
        default="diffsr",
        help="what restores the faces (default diffsr)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of methods that draw noise: face i of a picture has the seed plus i (default 0)",
    )
    parser.add_argument(
        "--identity",
        action="store_true",
        help="report how far each face moved from the input's, with the `eval` extra",
    )
    group = parser.add_argument_group("which faces")
    group.add_argument(
        "--detector",
        default="mtcnn",
        help=f"{', '.join(FILES)}, or a weight file of one of them (default mtcnn)",
    )
    group.add_argument(
        "--which",
        default="",
        metavar="NUMBERS",
        help="only these faces of every picture, such as 0,2 (default all)",
    )
    add_settings(group, DetectSettings, but=("which",))
    group = parser.add_argument_group("how faces are cut out and put back")
    add_settings(group, RestoreSettings, but=("size", "frame"))
    group = parser.add_argument_group("diffsr, dpi, srdg, srcnn")
    group.add_argument(
        "--coarse",
        type=float,
        default=0.0,
        help="how many times fewer pixels than the method gives it a face truly has; 0: as in the picture (default 0)",
    )
    group = parser.add_argument_group("diffsr, dpi, srdg")
    group.add_argument(
        "--prior",
        help=f"a weight file, or its name in a model folder (default: {SHIPPED_PRIOR}; for srdg the network that comes along, if one does)",
    )
    group.add_argument(
        "--frame",
        choices=tuple(FRAMES),
        help="how the prior's faces are cropped (default: tight for shipped priors, else ffhq)",
    )
    add_settings(group, PriorSettings, prefix="prior-")
    add_settings(parser.add_argument_group("diffsr"), DiffSRSettings, prefix="diffsr-")
    group = parser.add_argument_group("dpi")
    group.add_argument(
        "--corrector",
        default=choice.AUTO,
        help="auto: the shipped one of the scale; none; or a weight file (default auto)",
    )
    group.add_argument(
        "--preset",
        choices=(choice.AUTO, *PRESETS),
        default=choice.AUTO,
        help="how strong the conditions are (default auto)",
    )
    group.add_argument(
        "--dpi-steps",
        type=int,
        default=0,
        help="network calls for each face; 0: as the preset says (default 0)",
    )
    group = srdg.add_options(parser)
    group.add_argument(
        "--classifier",
        nargs="+",
        default=[],
        metavar="FILE",
        help="what tells the attributes, one each (default: those that come along)",
    )
    stablesr.add_options(parser)
    group = parser.add_argument_group("srcnn, stablesr")
    group.add_argument(
        "--size", type=int, default=SIDE, help=f"pixels across that an aligned face gets (default {SIDE})"
    )
    group = parser.add_argument_group("codeformer")
    group.add_argument(
        "--codeformer",
        default=CODEFORMER,
        help="a weight file, or its name in a model folder (default codeformer)",
    )
    add_settings(group, CodeFormerSettings)
    group.add_argument("--half", action="store_true", help="half precision, for GPUs")


def _prior(options: argparse.Namespace):
    name = options.prior or SHIPPED_PRIOR
    return load_prior(name, read_settings(PriorSettings, options, "prior-")), options.frame or frame_of(name)


def _enlarging(restorer: EnlargingRestorer, device: torch.device) -> Chosen:
    for network in restorer.networks:
        network.to(device)
    return Chosen(restorer, restorer.size, restorer.frame)


def _diffsr(options: argparse.Namespace, device: torch.device) -> Chosen:
    prior, frame = _prior(options)
    settings = read_settings(DiffSRSettings, options, "diffsr-")
    return _enlarging(by_diffsr(prior, frame, settings, options.coarse, report=log.info), device)


def _dpi(options: argparse.Namespace, device: torch.device) -> Chosen:
    prior, frame = _prior(options)
    return _enlarging(
        by_dpi(
            prior,
            frame,
            options.preset,
            options.dpi_steps,
            options.corrector,
            options.coarse,
            report=log.info,
        ),
        device,
    )


def _srdg(options: argparse.Namespace, device: torch.device) -> Chosen:
    chosen = srdg.choose(options, device)
    frame, scales = options.frame or frame_of(chosen.name), scales_of(chosen.name)
    return _enlarging(
        by_srdg(chosen.prior, frame, chosen.wanted, chosen.settings, scales, options.coarse), device
    )


def _stablesr(options: argparse.Namespace, device: torch.device) -> Chosen:
    upscale, _ = stablesr.enlarger(options, device)
    return Chosen(lambda faces, seeds: upscale(faces.to(device), 1.0, seeds=seeds), options.size, "ffhq")


def _srcnn(options: argparse.Namespace, device: torch.device) -> Chosen:
    return _enlarging(by_srcnn(options.size, options.coarse), device)


def _codeformer(options: argparse.Namespace, device: torch.device) -> Chosen:
    restorer = load_codeformer(
        options.codeformer, read_settings(CodeFormerSettings, options), device, options.half
    )
    return Chosen(restorer, restorer.size, "ffhq")


METHODS = {
    "diffsr": _diffsr,
    "dpi": _dpi,
    "srdg": _srdg,
    "stablesr": _stablesr,
    "srcnn": _srcnn,
    "codeformer": _codeformer,
}


def _recogniser(options: argparse.Namespace, chosen: Chosen) -> Identity | None:
    if not options.identity:
        return None
    if missing := available():
        raise ValueError(missing)
    if chosen.size < SMALLEST:
        raise ValueError(
            f"identity is told from faces of {SMALLEST} pixels or more, these have {chosen.size}: leave --identity out"
        )
    return Identity(TIGHT if chosen.frame == "tight" else FFHQ)


def _restore_faces(options: argparse.Namespace) -> int:
    device = compute_device(options.device)
    # all of this complains before the first picture is read
    which = DetectSettings(
        options.confidence,
        options.smallest,
        options.order,
        options.limit,
        face_numbers(options.which),
        options.turned,
    )
    chosen = METHODS[options.method](options, device)
    own = {
        name: getattr(options, name)
        for name in ("mask", "rule", "strength", "scale", "robust", "blend", "keep_grey", "batch")
    }
    settings = RestoreSettings(size=chosen.size, frame=chosen.frame, **own)
    detector, recogniser = load_detector(options.detector, device), _recogniser(options, chosen)
    parser = load_parser(device=device) if settings.mask == "parse" else None

    @torch.no_grad()
    def work(picture: Picture, job: Job) -> tuple[Picture, dict]:
        x = picture.pixels if picture.alpha is None else torch.cat([picture.pixels, picture.alpha], 1)
        done = restore_faces(
            x, chosen.restorer, detector, settings, which, options.seed, parser=parser, recogniser=recogniser
        )
        log.info("%s: %s", job.source, done.describe())
        colours = picture.pixels.shape[1]
        alpha = None if picture.alpha is None else done.pictures[:, colours:]
        return replace(picture, pixels=done.pictures[:, :colours], alpha=alpha), {
            "faces": [vars(r) for r in done.reports[0]]
        }

    return run_files(options, work)


COMMANDS = (
    Command(
        "restore-faces",
        "Find the faces of pictures, restore each and put it back.",
        _arguments,
        _restore_faces,
    ),
)
