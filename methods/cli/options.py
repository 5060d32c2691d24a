"""What the commands share: options made of settings, devices, files in and out, a parser that answers with
the nearest word.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from ..device import compute_device
from ..imaging.region import Region, RegionSettings
from ..method import AUTO, Method, Plan, Upscaler
from ..precision import CHOICES as PRECISIONS
from ..precision import precision_of
from . import folder, pipeline, workers
from .cluster import add_cluster
from .parser import Command as Command
from .parser import Parser as Parser
from .tally import Tally

log = logging.getLogger("priorsr")
PRESET_HELP = "which settings decide what is not given; auto: as the scale and the weights ask (default auto)"


def add_people(parser: argparse._ActionsContainer) -> None:
    """Who is shown on the pictures, and where they are looked for."""
    parser.add_argument(
        "--identities",
        nargs="+",
        default=[],
        metavar="TABLE",
        help="CSV of file and identity, for recognition",
    )
    parser.add_argument("--gallery", metavar="DIR", help="where people are looked for (default: the truth)")


def add_device(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, xpu or mps (default auto)")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="what networks compute in; auto: fp32 on processors, half of it where the device is fast at "
        "that (default auto)",
    )


def add_compile(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile the networks first: half a minute or more that pays on GPUs for many pictures or tiles",
    )


def add_memory(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--memory",
        metavar="AMOUNT",
        help="what a run may take beside its weights, such as 6GB; tiles are made smaller to fit (default: "
        "what is free)",
    )


def add_settings(
    parser: argparse._ActionsContainer,
    kind: type,
    defaults: Any = None,
    prefix: str = "",
    but: Sequence[str] = (),
    preset: bool = False,
) -> None:
    """One option for each field of a settings class `but` some, under the same name, with its help, choices
    and default.

    preset: what is not given is left to a preset, so that the options have no default of their own
    (`given_settings`). Each argparse action carries its field as `setting`, for forms that show its limits.
    """
    for f in (f for f in fields(kind) if f.name not in but):
        default = getattr(defaults, f.name) if defaults is not None else f.default
        assert default is not MISSING, f"{kind.__name__}.{f.name} needs a default"
        flag, text = f"--{prefix}{f.name.replace('_', '-')}", f.metadata["help"]
        if isinstance(default, bool):
            action = parser.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=None if preset else default, help=text
            )
            vars(action)["setting"] = f
            continue
        shown, start = ("of the preset", None) if preset else (default, default)
        action = parser.add_argument(
            flag,
            type=type(default),
            choices=f.metadata["choices"] or None,
            default=start,
            help=f"{text} (default {shown})",
        )
        vars(action)["setting"] = f


def add_method(parser: argparse.ArgumentParser, method: Method) -> None:
    """The weights, the preset and the settings of a method; what is not given is left to the preset or its
    default.
    """
    for one in method.weights:
        flag = f"--{one.name.replace('_', '-')}"
        default = one.default or ("those that come along" if one.many else "needed")
        parser.add_argument(
            flag, nargs="+" if one.many else None, metavar="FILE", help=f"{one.help} (default {default})"
        )
    if method.presets:
        parser.add_argument("--preset", choices=(AUTO, *method.presets), default=AUTO, help=PRESET_HELP)
    for name, f in method.fields().items():
        flag = option_of(method, name, parser)
        shown = "as the preset says" if method.presets and f.default not in ("", None) else f.default
        text = f"{f.metadata['help']} (default {shown})".replace("%", "%%")
        if isinstance(f.default, bool):
            action = parser.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=None, help=text, dest=f"method_{name}"
            )
            vars(action)["setting"] = f
            continue
        kind, choices = type(f.default), f.metadata["choices"] or None
        action = parser.add_argument(
            flag,
            type=kind,
            choices=choices,
            default=None,
            help=text,
            dest=f"method_{name}",
            metavar=_metavar(f),
        )
        vars(action)["setting"] = f


def option_of(method: Method, name: str, parser: argparse.ArgumentParser) -> str:
    """The option of a setting: its name, after that of the method where the command has one of that name
    itself.
    """
    flag = f"--{name.replace('_', '-')}"
    return f"--{method.name}{flag[1:]}" if flag in parser._option_string_actions else flag


def _metavar(f: Any) -> str | None:
    """What stands for a value in the help; choices speak for themselves."""
    return None if f.metadata["choices"] else f.name.upper()


def prepared(method: Method, options: argparse.Namespace) -> Upscaler:
    """The method with what the command names, on its device and in its precision.

    Raises ValueError and FileNotFoundError.
    """
    files = {one.name: value for one in method.weights if (value := getattr(options, one.name, None))}
    values = {n: v for n in method.fields() if (v := getattr(options, f"method_{n}", None)) is not None}
    device = compute_device(options.device)
    precision = precision_of(options.precision, device)
    upscaler = method.prepare(files, getattr(options, "preset", AUTO), values, precision).to(device)
    return upscaler.compile() if getattr(options, "compile", False) else upscaler


def plans_told() -> Callable[[Plan], None]:
    """Says what runs take before they begin, those of one kind once."""
    told: set[tuple] = set()

    def tell(plan: Plan) -> None:
        if plan.calls and plan.kind not in told:
            told.add(plan.kind)
            log.info("%s", plan.describe())

    return tell


def read_settings(kind: type, options: argparse.Namespace, prefix: str = "") -> Any:
    return kind(**{f.name: getattr(options, prefix.replace("-", "_") + f.name) for f in fields(kind)})


def given_settings(kind: type, options: argparse.Namespace, prefix: str = "") -> dict[str, Any]:
    """The fields of a settings class that the command names, of options that a preset decides otherwise."""
    values = {f.name: getattr(options, prefix.replace("-", "_") + f.name, None) for f in fields(kind)}
    return {name: value for name, value in values.items() if value is not None}


def add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN", help="a picture, or a folder of them")
    parser.add_argument("destination", metavar="OUT", help="the output picture or folder")
    add_outputs(parser)


def add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace existing outputs; without it a folder run skips them, and so resumes",
    )
    parser.add_argument(
        "--format", choices=("png", "jpg", "webp"), help="format of the outputs (default: as the input)"
    )
    parser.add_argument(
        "--quality",
        type=int,
        default=95,
        choices=range(1, 101),
        metavar="1..100",
        help="of JPEG and WebP outputs (default 95)",
    )
    workers.add_sharing(parser)
    add_cluster(parser)


def add_seed(parser: argparse._ActionsContainer, help: str) -> None:
    """--seed, and whether every picture has one of its own."""
    parser.add_argument("--seed", type=int, default=0, help=f"{help} (default 0)")
    parser.add_argument(
        "--vary",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="derive each picture's seed from --seed and its name, so that no two bear the same noise; "
        "--no-vary: --seed itself for all (default: vary in folders, not for a single picture)",
    )


def add_region(parser: argparse._ActionsContainer) -> None:
    said = "where to work: a picture that is white there, or LEFT,TOP,WIDTH,HEIGHT in pixels"
    parser.add_argument("--region", metavar="FILE|BOX", help=said)
    add_settings(parser, RegionSettings)


def region_of(options: argparse.Namespace) -> Region | None:
    """What limits a run, None where nothing does. Raises ValueError and FileNotFoundError."""
    if not options.region:
        return None
    region = Region.of(options.region, options.feather)
    if said := region.said():
        log.warning("%s: %s", options.region, said)
    return region


def varies(options: argparse.Namespace) -> bool:
    return not Path(options.source).is_file() if options.vary is None else options.vary


def seed_of(options: argparse.Namespace, job: folder.Job) -> int:
    """The seed of one picture of a run; a name keeps its seed when the folder around it changes."""
    return folder.picture_seed(options.seed, job.source.name) if varies(options) else options.seed


def run_files(options: argparse.Namespace, work: pipeline.Work, batch: pipeline.Batch | None = None) -> int:
    """Apply `work` to every file with a progress bar; report failures and tell by the exit code."""
    suffix = f".{options.format}" if options.format else None
    jobs = folder.plan(options.source, options.destination, suffix, options.shard)
    if jobs.passed_over:
        shown = ", ".join(str(p) for p in jobs.passed_over[:10])
        more = f" and {len(jobs.passed_over) - 10} more" if len(jobs.passed_over) > 10 else ""
        log.warning("passed over, for their names are none of pictures that are read: %s%s", shown, more)
    return run_jobs(options, jobs, work, Path(options.source).is_file(), batch=batch)


def run_jobs(
    options: argparse.Namespace,
    jobs: folder.Plan,
    work: pipeline.Work | Sequence[pipeline.Work],
    single: bool,
    read: Callable[[Path], Any] = pipeline.read,
    batch: pipeline.Batch | None = None,
) -> int:
    """The same for jobs that are planned; several works share them. single: not a folder's."""
    claims = workers.own_claims(options)
    outcomes = pipeline.run(
        jobs,
        work,
        options.overwrite,
        skip=not single,
        quality=options.quality,
        read=read,
        batch=batch,
        claims=claims,
    )
    if claims:
        if single:
            raise ValueError(
                "workers share the pictures of a folder, and this is a single one: leave out --workers"
            )
        workers.tell(total=len(jobs), passed_over=[str(p) for p in jobs.passed_over])
        with closing(outcomes):
            for outcome in outcomes:
                workers.tell(outcome=vars(outcome))
        return 0
    tally = Tally(options, len(jobs), single)
    with closing(outcomes):
        for outcome in outcomes:
            tally.add(outcome)
    return tally.finish(jobs.passed_over)
