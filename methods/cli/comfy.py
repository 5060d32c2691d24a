"""`priorsr comfy`: the installed package as a custom node of ComfyUI."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from .info import PACKAGE
from .parser import Command

NAME = "PriorSR"


def _arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=type(parser))
    told = "make this package a custom node of a ComfyUI, by a link"
    link = actions.add_parser("link", help=told, description=told)
    link.add_argument("folder", metavar="DIR", help="ComfyUI's folder, or its custom_nodes")
    link.add_argument(
        "--json",
        action="store_true",
        default=argparse.SUPPRESS,
        help="print the result as JSON on standard output",
    )


def _run(options: argparse.Namespace) -> int:
    place, made = link(Path(options.folder))
    if options.json:
        print(json.dumps({"link": str(place), "package": str(PACKAGE), "made": made}))
        return 0
    print(f"{place} {'leads' if made else 'led already'} to {PACKAGE}")
    print(f"ComfyUI has to run with the Python that has this package: {sys.executable}")
    return 0


def link(folder: Path) -> tuple[Path, bool]:
    """Where ComfyUI finds this package from now on, and whether that is new.

    folder: ComfyUI's, or its custom_nodes. Raises ValueError where it is neither, FileExistsError where
    something else has the name.
    """
    nodes = folder if folder.name == "custom_nodes" else folder / "custom_nodes"
    if not nodes.is_dir():
        raise ValueError(f"{folder} has no custom_nodes: give the folder of ComfyUI")
    place = nodes / NAME
    if place.exists() and place.resolve() == PACKAGE:
        return place, False
    if os.path.lexists(place):
        raise FileExistsError(f"{place} exists and is not this package: move it away first")
    if os.name == "nt":  # a link there asks for rights, a junction for none
        import _winapi

        _winapi.CreateJunction(str(PACKAGE), str(place))
    else:
        place.symlink_to(PACKAGE, target_is_directory=True)
    return place, True


COMMANDS = (Command("comfy", _arguments, _run),)
