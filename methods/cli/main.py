"""The `priorsr` command: its options, exit codes and signals, and the work on files and folders."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from ... import __version__

log = logging.getLogger("priorsr")


class Stopped(KeyboardInterrupt):
    """A signal that asks for the end, which whatever cleans up after Ctrl-C takes for one."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are printed as JSON too, where that is asked for."""

    given: tuple[str, ...] = ()

    def parse_known_args(self, args=None, namespace=None):
        self.given = tuple(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str):
        if "--json" in self.given:
            print(json.dumps({"error": message}))
        super().error(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0: all done, 1: something failed (the rest was done), 2: the command itself is wrong, 128 plus the
    number of a signal that ended it (130: Ctrl-C, 141: nobody reads the output).
    """
    _prepare_streams()
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _discard_output()
        return 128 + 13
    except OSError as error:  # what was computed is written; only its report is lost
        log.error("priorsr: the result cannot be printed: %s", error)
        _discard_output()
        return 2


def _run(arguments: Sequence[str] | None) -> int:
    options = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        with _stopping():
            _raise_pixel_limit()
            return options.execute(options)
    except KeyboardInterrupt as error:
        log.error("interrupted: finished files are complete, nothing half-written is left")
        return 128 + getattr(error, "number", signal.SIGINT)
    except BrokenPipeError:
        raise
    except (ValueError, OSError, ImportError, ArithmeticError, RuntimeError, MemoryError) as error:
        text = str(error) or type(error).__name__
        log.error("priorsr: %s", text)
        if options.json:
            print(json.dumps({"error": text}))
        return 2


@contextmanager
def _stopping() -> Iterator[None]:
    """Signals that ask for the end raise Stopped in this block, so that nothing half-written is left."""

    def stop(number: int, frame: object) -> None:
        raise Stopped(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP, and nohup has it ignored
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _prepare_streams() -> None:
    """Replace what was closed, and let characters that a console lacks cost no result."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="replace")


def _discard_output() -> None:
    """Let Python's own flush at the end find no broken pipe or full disk."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _raise_pixel_limit() -> None:
    from PIL import Image

    from ..imaging.images import LIMIT

    wanted = os.environ.get(LIMIT, "")
    if wanted and not (wanted.isdecimal() and int(wanted) > 0):
        raise ValueError(f"{LIMIT} is {wanted!r}: give a number of pixels")
    if wanted:
        Image.MAX_IMAGE_PIXELS = -(-int(wanted) // 2)  # Pillow refuses twice as many


def build_parser() -> argparse.ArgumentParser:
    from . import commands  # the commands use the helpers below
    from . import restore_faces as face_commands

    parser = Parser(prog="priorsr", description="Image and face super-resolution with diffusion priors.")
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
    """One option for each field of a settings class `but` some: its name, help, choices and default.

    preset: what is not given is left to a preset, so that options have no default here (`given_settings`).
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
    if jobs.passed_over:
        shown = ", ".join(str(p) for p in jobs.passed_over[:10])
        more = f" and {len(jobs.passed_over) - 10} more" if len(jobs.passed_over) > 10 else ""
        log.warning("passed over, for their names are none of pictures that are read: %s%s", shown, more)
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
        passed_over = [str(p) for p in jobs.passed_over]
        print(json.dumps({**counts, "passed_over": passed_over, "files": [vars(o) for o in outcomes]}))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
