"""The `priorsr` command: its options, exit codes and signals, and the work on files and folders."""

from __future__ import annotations

import io
import json
import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING

from ... import __version__
from ..imaging import LIMIT

if TYPE_CHECKING:
    import argparse

    from .parser import Parser

log = logging.getLogger("priorsr")
WORKER = "PRIORSR_WORKER"  # in the environment of a process that another started to share its pictures
TABLE = {  # what each command is for, and the module that does it: others are not loaded
    "upscale": ("upscale", "Enlarge pictures by one of the methods."),
    "restore-faces": ("restore_faces", "Find the faces of pictures, restore each and put it back."),
    "degrade": ("commands", "Degrade pictures, repeatably, for training and testing."),
    "compare": ("commands", "Measure PSNR, SSIM and mean absolute error between pictures."),
    "judge": ("judge", "Judge a folder of results by every metric."),
    "report": ("report", "Set records of judge side by side, as tables and a plot."),
    "evaluate": ("commands", "Measure methods on pictures whose truth is known."),
    "calibrate": ("commands", "Measure a prior's errors and its recoverable field, which Diff-SR needs."),
    "train": ("commands", "Train a network of this package."),
    "graph": ("graph", "Run, check and convert workflows of nodes."),
    "models": ("models", "List the weight files found; check one, or fetch a published one."),
    "app": (".app.command", "Open a page in the browser: drop a picture, choose, compare, download."),
    "comfy": ("comfy", "Make this package a custom node of a ComfyUI."),
    "info": ("info", "Tell versions, devices, weights and extras: put it into a report of a fault."),
}


class Stopped(KeyboardInterrupt):
    """A signal that asks for the end, which whatever cleans up after Ctrl-C takes for one."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0: all done, 1: something failed (the rest was done), 2: the command itself is wrong, 128 plus the
    number of a signal that ended it (130: Ctrl-C, 141: nobody reads the output).
    """
    _prepare_streams()
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _discard_output()
        return 128 + 13
    except OSError as error:  # what was computed is written; only its report is lost
        log.error("priorsr: the result cannot be printed: %s", error)
        _discard_output()
        return 2


def _run(arguments: list[str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return 0 if arguments else 2
    arguments = _new_spelling(arguments)
    options = build_parser(arguments[0]).parse_args(arguments)
    try:
        with _stopping():
            _raise_pixel_limit()
            return _execute(arguments, options)
    except KeyboardInterrupt as error:
        if WORKER not in os.environ:  # which the one that started it says
            log.error("interrupted: finished files are complete, nothing half-written is left")
        return 128 + getattr(error, "number", signal.SIGINT)
    except BrokenPipeError:
        raise
    except (ValueError, OSError, ImportError, ArithmeticError, RuntimeError, MemoryError) as error:
        text = str(error) or type(error).__name__
        return _failed(text, options)
    except Exception as error:  # a fault of ours, or of a library that raises what it never said
        log.debug("where it came from", exc_info=True)
        text = f"{type(error).__name__}: {error}; this is a fault of the program, please report it"
        return _failed(text, options)


def _failed(text: str, options: argparse.Namespace) -> int:
    worker = WORKER in os.environ  # what started it says so, once for all
    if not worker:
        log.error("priorsr: %s", text)
    if getattr(options, "json", False) or getattr(options, "json_lines", False) or worker:
        print(json.dumps({"error": text}))
    return 2


def _execute(arguments: list[str], options: argparse.Namespace) -> int:
    """Run a command: in this process, in several, or as jobs of a cluster."""
    if getattr(options, "cluster", None):
        from . import cluster

        if not cluster.is_job():
            return cluster.run(arguments, options)
    shared = hasattr(options, "shard")  # a folder: workers of trainings are threads that read pictures
    if not shared or not options.workers:
        return options.execute(options)
    from . import workers

    if not workers.is_worker():
        return workers.run(arguments, options)
    workers.obey()
    return options.execute(options)


@contextmanager
def _stopping() -> Iterator[None]:
    """Signals that ask for the end raise Stopped in this block, so that nothing half-written is left."""

    def stop(number: int, frame: object) -> None:
        if WORKER in os.environ:  # which hears it from several sides, and finishes its file but once
            signal.signal(number, signal.SIG_IGN)
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
        if isinstance(stream, io.TextIOWrapper):
            with suppress(ValueError, OSError):
                stream.reconfigure(errors="replace")


def _discard_output() -> None:
    """Let Python's own flush at the end find no broken pipe or full disk."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _raise_pixel_limit() -> None:
    wanted = os.environ.get(LIMIT, "")
    if wanted and not (wanted.isdecimal() and int(wanted) > 0):
        raise ValueError(f"{LIMIT} is {wanted!r}: give a number of pixels")
    if wanted:
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = -(-int(wanted) // 2)  # Pillow refuses twice as many


def overview() -> str:
    """The help of the command itself, for which nothing is loaded."""
    lines = [f"  {name:<15}{text}" for name, (_, text) in TABLE.items()]
    head = "usage: priorsr COMMAND ...\n\nImage and face super-resolution with diffusion priors.\n"
    return "\n".join([head, *lines, "\npriorsr COMMAND --help shows its options; priorsr --version."])


def build_parser(only: str = "") -> Parser:
    """The parser of one command, or of all of them."""
    from .parser import Parser

    parser = Parser(prog="priorsr", description="Image and face super-resolution with diffusion priors.")
    parser.add_argument("--version", action="version", version=f"priorsr {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name, (module, help) in TABLE.items():
        if only in TABLE and name != only:
            continue
        command = next(c for c in import_module(f".{module}", __package__).COMMANDS if c.name == name)
        sub = subparsers.add_parser(name, help=help, description=help)
        command.arguments(sub)
        if command.json:
            sub.add_argument(
                "--json", action="store_true", help="print the result as JSON on standard output"
            )
        sub.set_defaults(execute=command.run)
    return parser


def _new_spelling(arguments: list[str]) -> list[str]:
    """The arguments as they are spelt now; older ones are said in their new form."""
    from .old_spelling import GOES, WORD, translated

    if arguments[0] not in WORD:
        return arguments
    from ..registry import methods

    known = [*methods(), "codeformer"]
    renamed = translated(arguments, known)
    if renamed is None:
        return arguments
    log.warning("this spelling goes with %s; the new one: priorsr %s", GOES, shlex.join(renamed))
    return renamed


if __name__ == "__main__":
    sys.exit(main())
