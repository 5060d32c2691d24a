"""The `priorsr` command: upscale, restore faces, degrade, compare, evaluate, train and list models, for files and folders."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from ... import __version__

log = logging.getLogger("priorsr")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. 0: all done, 1: something failed (the rest was done), 2: the command itself is wrong, 130: interrupted."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return options.execute(options)
    except KeyboardInterrupt:
        log.error("interrupted: finished files are complete, nothing half-written is left")
        return 130
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        log.error("priorsr: %s", error)
        if options.json:
            print(json.dumps({"error": str(error)}))
        return 2


def build_parser() -> argparse.ArgumentParser:
    from . import commands  # the commands use the helpers below
    from . import restore_faces as face_commands

    parser = argparse.ArgumentParser(
        prog="priorsr", description="Image and face super-resolution with diffusion priors."
    )
    parser.add_argument("--version", action="version", version=f"priorsr {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (*commands.COMMANDS, *face_commands.COMMANDS):
        sub = subparsers.add_parser(command.name, help=command.help, description=command.help)
        command.arguments(sub)
        if command.json:
            sub.add_argument(
                "--json", action="store_true", help="print the result as JSON on standard output"
            )
        sub.set_defaults(execute=command.run)
    return parser


def add_settings(
    parser: argparse._ActionsContainer,
    kind: type,
    defaults: Any = None,
    prefix: str = "",
    but: Sequence[str] = (),
    preset: bool = False,
) -> None:
    """One option for each field of a settings class `but` some, under the same name, with its help, choices and default.

    preset: what is not given is left to a preset, so that the options have no default of their own (`given_settings`).
    """
    for f in (f for f in fields(kind) if f.name not in but):
        default = getattr(defaults, f.name) if defaults is not None else f.default
        assert default is not MISSING, f"{kind.__name__}.{f.name} needs a default"
        flag, text = f"--{prefix}{f.name.replace('_', '-')}", f.metadata["help"]
        if isinstance(default, bool):
            parser.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=None if preset else default, help=text
            )
            continue
        shown, start = ("of the preset", None) if preset else (default, default)
        parser.add_argument(
            flag,
            type=type(default),
            choices=f.metadata["choices"] or None,
            default=start,
            help=f"{text} (default {shown})",
        )


def read_settings(kind: type, options: argparse.Namespace, prefix: str = "") -> Any:
    return kind(**{f.name: getattr(options, prefix.replace("-", "_") + f.name) for f in fields(kind)})


def given_settings(kind: type, options: argparse.Namespace, prefix: str = "") -> dict[str, Any]:
    """The fields of a settings class that the command names, of options that a preset decides otherwise."""
    values = {f.name: getattr(options, prefix.replace("-", "_") + f.name, None) for f in fields(kind)}
    return {name: value for name, value in values.items() if value is not None}


def add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN", help="a picture, or a folder of them")
    parser.add_argument("target", metavar="OUT", help="the output picture or folder")
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


def run_files(options: argparse.Namespace, work: Callable) -> int:
    """Apply `work` to every file with a progress bar; report failures and tell by the exit code."""
    from tqdm import tqdm

    from . import folder

    jobs = folder.plan(options.source, options.target, f".{options.format}" if options.format else None)
    outcomes = []
    single = Path(options.source).is_file()
    with tqdm(total=len(jobs), unit="file", disable=single or None) as bar:
        for outcome in folder.run(jobs, work, options.overwrite, skip=not single, quality=options.quality):
            outcomes.append(outcome)
            bar.update()
            if outcome.status == "failed":
                log.error("failed: %s", outcome.message)
            elif single:
                log.info("wrote %s (%.2f s)", outcome.target, outcome.seconds)
    counts = {s: sum(o.status == s for o in outcomes) for s in ("written", "skipped", "failed")}
    if not single:
        log.info("%d written, %d skipped because they exist, %d failed", *counts.values())
    if options.json:
        print(json.dumps({**counts, "files": [vars(o) for o in outcomes]}))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
