"""The `priorsr` command: upscale, restore faces, degrade, compare, evaluate, train and list models, for files and folders."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from ... import __version__

if TYPE_CHECKING:
    from .options import Parser

log = logging.getLogger("priorsr")
TABLE = {  # what each command is for, and the module that does it: others are not loaded
    "upscale": ("upscale", "Enlarge pictures by one of the methods."),
    "restore-faces": ("restore_faces", "Find the faces of pictures, restore each and put it back."),
    "degrade": ("commands", "Degrade pictures, repeatably, for training and testing."),
    "compare": ("commands", "Measure PSNR, SSIM and mean absolute error between pictures."),
    "evaluate": ("commands", "Measure methods on pictures whose truth is known."),
    "calibrate": ("commands", "Measure a prior's errors and its recoverable field, which Diff-SR needs."),
    "train": ("commands", "Train a network of this package."),
    "models": ("commands", "List the weight files found, and what is missing."),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. 0: all done, 1: something failed (the rest was done), 2: the command itself is wrong, 130: interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return 0 if arguments else 2
    arguments = _new_spelling(arguments)
    options = build_parser(arguments[0]).parse_args(arguments)
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


def overview() -> str:
    """The help of the command itself, for which nothing is loaded."""
    lines = [f"  {name:<15}{text}" for name, (_, text) in TABLE.items()]
    head = "usage: priorsr COMMAND ...\n\nImage and face super-resolution with diffusion priors.\n"
    return "\n".join([head, *lines, "\npriorsr COMMAND --help shows its options; priorsr --version."])


def build_parser(only: str = "") -> Parser:
    """The parser of one command, or of all of them."""
    from .options import Parser

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
    from .old_spelling import WORD, translated

    if arguments[0] not in WORD:
        return arguments
    from ..registry import methods

    known = [*methods(), "codeformer"]
    renamed = translated(arguments, known)
    if renamed is None:
        return arguments
    log.warning("this spelling goes with the next release; the new one: priorsr %s", shlex.join(renamed))
    return renamed


if __name__ == "__main__":
    sys.exit(main())
