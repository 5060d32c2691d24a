"""What every study of faces asks for, reads and writes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..imaging.color import grey
from ..imaging.datasets import read_pictures
from ..imaging.images import Picture, replacing, write
from ..imaging.resize import size_of


def face_arguments(parser: argparse.ArgumentParser) -> None:
    """What every study of faces asks for."""
    parser.add_argument(
        "data", nargs="+", metavar="PATH", help="folders or zip archives of true faces of the prior's size"
    )
    parser.add_argument(
        "--prior", default="face64", help="a prior's file, or the name of a shipped one (default face64)"
    )
    parser.add_argument(
        "--count", type=int, default=0, help="only the first so many faces; 0 for all (default 0)"
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="FOLDER",
        help="where the table, its JSON and the pictures are written",
    )


def read_faces(paths: Sequence[str], size: int, count: int, colour: bool = False) -> Tensor:
    """True faces N C size size in 0..1: as luma or, where `colour` is asked for and a face has one, RGB.

    Raises ValueError for pictures of another size.
    """
    pictures = read_pictures(paths)
    pictures = pictures[:count] if count else pictures
    wrong = next((p for p in pictures if size_of(p) != (size, size)), None)
    if wrong is not None:
        raise ValueError(
            f"a face of {wrong.shape[-1]}x{wrong.shape[-2]} does not fit a prior of {size} pixels: give "
            "faces of that size"
        )
    if colour and any(len(p) > 1 for p in pictures):
        return torch.stack([p[:3].expand(3, -1, -1) for p in pictures])
    return torch.stack([grey(p[:3]) for p in pictures])


def save(out: Path, name: str, table: str, rows: list[dict] | dict, sheet: Tensor) -> None:
    """A study's table, figures and sheet of pictures into a folder; earlier ones of that name are
    replaced.
    """
    out.mkdir(parents=True, exist_ok=True)
    for suffix, text in ((".md", table), (".json", json.dumps(rows, indent=1))):
        with replacing(out / f"{name}{suffix}") as partial:
            partial.write_text(text, encoding="utf-8")
    write(Picture(sheet.clamp(0, 1)), out / f"{name}.png", overwrite=True)
