"""`priorsr restore-faces METHOD IN OUT`: a subcommand for every method that restores faces, with only its own
options.
"""

from __future__ import annotations

import argparse
from dataclasses import fields, replace

import torch

from ..device import compute_device
from ..faces.align import FRAMES
from ..faces.codeformer import CodeFormerRestorer, CodeFormerSettings
from ..faces.detect import DetectSettings, face_numbers
from ..faces.load import (
    CODEFORMER,
    FILES,
    knowing_person,
    load_background_cleaner,
    load_codeformer,
    load_detector,
    load_parser,
)
from ..faces.paint import RestoreSettings
from ..faces.restore import restore_faces
from ..faces.restorers import SIDE, BlindRestorer, EnlargingRestorer, restorer_of
from ..imaging.files import picture_files
from ..imaging.images import Picture, read
from ..method import Report
from ..precision import precision_of
from ..registry import method_named, methods
from .folder import Job
from .old_spelling import GOES
from .options import (
    Command,
    Parser,
    add_device,
    add_files,
    add_method,
    add_region,
    add_seed,
    add_settings,
    log,
    plans_told,
    prepared,
    read_settings,
    region_of,
    run_files,
    seed_of,
    varies,
)
from .steps import shown

Restorer = EnlargingRestorer | BlindRestorer | CodeFormerRestorer


def _arguments(parser: argparse.ArgumentParser) -> None:
    subparsers = parser.add_subparsers(dest="method", required=True, metavar="METHOD", parser_class=Parser)
    for method in methods().values():
        if method.faces is None:
            continue
        sub = subparsers.add_parser(method.name, help=method.about, description=method.about)
        _shared(sub)
        add_method(sub, method)
        if not method.faces.blind:
            sub.add_argument(
                "--coarse",
                type=float,
                default=0.0,
                help=(
                    "how many times fewer pixels than the method gives it a face truly has; 0: by the "
                    "detail that it shows"
                ),
            )
        sub.add_argument("--frame", choices=tuple(FRAMES), help="how the faces of the networks are cropped")
        sub.add_argument(
            "--size",
            type=int,
            default=0,
            help=f"pixels across of an aligned face; 0: as the networks, else {SIDE}",
        )
    about = "CodeFormer (Zhou et al. 2022), which needs codeformer.pth."
    sub = subparsers.add_parser("codeformer", help=about, description=about)
    _shared(sub, clean=False)
    sub.add_argument("--codeformer", default=CODEFORMER, help="a weight file, or its name in a model folder")
    add_settings(sub, CodeFormerSettings)
    sub.add_argument("--half", action="store_true", help=argparse.SUPPRESS)  # the former --precision fp16


def _shared(parser: argparse.ArgumentParser, clean: bool = True) -> None:
    add_files(parser)
    add_device(parser)
    add_seed(parser, "face i of a picture has its seed plus i")
    add_region(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    parser.add_argument(
        "--identity", action="store_true", help="report how far each face moved, with the `eval` extra"
    )
    parser.add_argument(
        "--clean",
        action=argparse.BooleanOptionalAction,
        default=clean,
        help="remove noise and compression from the whole picture first",
    )
    parser.add_argument(
        "--reference",
        metavar="DIR",
        help="other photographs of the person: of several candidates, the one that looks most like them",
    )
    group = parser.add_argument_group("which faces")
    group.add_argument(
        "--detector",
        default="mtcnn",
        help=f"{', '.join(FILES)}, or a weight file of one of them (default mtcnn)",
    )
    group.add_argument(
        "--which", default="", metavar="NUMBERS", help="only these faces, such as 0,2 (default all)"
    )
    add_settings(group, DetectSettings, but=("which",))
    group = parser.add_argument_group("how faces are cut out and put back")
    add_settings(group, RestoreSettings, but=("size", "frame", "scale"))
    group.add_argument(
        "--scale", type=float, default=1.0, help="enlargement of the whole picture (default 1.0)"
    )


def _restorer(options: argparse.Namespace, device: torch.device, report: Report) -> Restorer:
    """What restores the faces, on its device. Raises ValueError and FileNotFoundError."""
    if options.method == "codeformer":
        settings = read_settings(CodeFormerSettings, options)
        if options.half:
            log.warning("--half goes with %s: write --precision fp16", GOES)
        precision = precision_of("fp16" if options.half else options.precision, device)
        return load_codeformer(options.codeformer, settings, device, precision)
    method = method_named(options.method)
    upscaler = prepared(method, options)
    if method.faces is None:
        raise ValueError(f"{method.name} restores no faces")
    coarse = getattr(options, "coarse", 0.0)
    return restorer_of(
        upscaler,
        method.faces,
        options.size,
        options.frame or "",
        coarse,
        report=report,
        on_plan=plans_told(),
    )


def detect_settings(options: argparse.Namespace) -> DetectSettings:
    """Which faces a command means. Raises ValueError."""
    own = {f.name: getattr(options, f.name) for f in fields(DetectSettings)}
    return DetectSettings(**{**own, "which": face_numbers(options.which)})


def _restore_faces(options: argparse.Namespace) -> int:
    device = compute_device(options.device)
    # all of this complains before the first picture is read
    which = detect_settings(options)
    region = region_of(options)
    notes: list[str] = []
    chosen = _restorer(options, device, notes.append)
    names = {f.name for f in fields(RestoreSettings)}
    own = {name: value for name, value in vars(options).items() if name in names}
    own |= {"size": chosen.size, "frame": chosen.frame}
    detector = load_detector(options.detector, device)
    others = options.reference and (read(path).pixels for path in picture_files(options.reference)[0])
    settings, recogniser, person = knowing_person(
        RestoreSettings(**own), options.identity, others or None, detector
    )
    parser = load_parser(device=device) if settings.mask == "parse" else None

    precision = precision_of(options.precision, device)
    cleaner = load_background_cleaner(device, precision) if options.clean else None

    if varies(options):
        log.info("every picture has a seed of its own, of --seed and its name; --no-vary gives all --seed")

    @torch.no_grad()
    def work(picture: Picture, job: Job) -> tuple[Picture, dict]:
        x = picture.pixels if picture.alpha is None else torch.cat([picture.pixels, picture.alpha], 1)
        seed = seed_of(options, job)
        with shown("face") as show:
            done = restore_faces(
                x,
                chosen,
                detector,
                settings,
                which,
                seed,
                parser=parser,
                recogniser=recogniser,
                on_face=show,
                cleaner=cleaner,
                reference=person,
                region=region,
            )
        for note in dict.fromkeys(notes):
            log.warning("%s", note)
        notes.clear()
        log.info("%s: %s", job.source, done.describe())
        colours = picture.pixels.shape[1]
        alpha = None if picture.alpha is None else done.pictures[:, colours:]
        return replace(picture, pixels=done.pictures[:, :colours], alpha=alpha), {
            "seed": seed,
            "faces": [vars(r) for r in done.reports[0]],
        }

    return run_files(options, work)


COMMANDS = (Command("restore-faces", _arguments, _restore_faces, json=False),)
