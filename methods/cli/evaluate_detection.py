"""`priorsr evaluate faces`: how many faces of pictures each detector finds, and how often it sees one where
none is.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from ..faces.detect import Detector, DetectSettings, detect
from ..faces.load import FILES, load_detector
from ..imaging.datasets import read_named, read_table
from .options import add_settings, given_settings

log = logging.getLogger("priorsr")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data",
        nargs="+",
        metavar="PATH",
        help="folders or zip archives of pictures, a row of the result each",
    )
    parser.add_argument(
        "--table",
        nargs="+",
        default=[],
        metavar="CSV",
        help="how many faces pictures show, columns file and faces; without: one each",
    )
    parser.add_argument(
        "--detectors",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"default: those of {', '.join(FILES)} that are installed",
    )
    add_settings(parser, DetectSettings, but=("order", "limit", "which"))


def run(options: argparse.Namespace, device: torch.device) -> list[dict]:
    """A row for each set and detector. Raises ValueError or FileNotFoundError before the first picture."""
    settings, table = DetectSettings(**given_settings(DetectSettings, options)), read_table(options.table)
    detectors, sets = (
        _detectors(options.detectors, device),
        {path: read_named([path]) for path in options.data},
    )
    expected = {path: expected_faces([name for name, _ in named], table) for path, named in sets.items()}
    rows = []
    for path, named in sets.items():
        for name, detector in detectors.items():
            start, found = time.perf_counter(), []
            for _, picture in tqdm(named, unit="picture", leave=False, disable=None):
                found.append(len(detect(picture[None].to(device), detector, settings)[0].faces))
            seconds = (time.perf_counter() - start) / len(named)
            rows.append(
                {
                    "set": Path(path).stem,
                    "detector": name,
                    **counted(found, expected[path]),
                    "seconds": round(seconds, 4),
                }
            )
    return rows


def expected_faces(names: Sequence[str], table: dict[str, dict[str, str]]) -> list[int]:
    """How many faces each picture shows: what the table says, one for those that it does not name.

    Raises ValueError.
    """
    said = {name: table.get(name, {}).get("faces", "1") for name in names}
    if wrong := next((name for name, count in said.items() if not count.strip().isdecimal()), None):
        raise ValueError(f"{wrong} has {said[wrong]!r} faces by the table: give a whole number")
    return [int(count) for count in said.values()]


def counted(found: Sequence[int], expected: Sequence[int]) -> dict[str, int | float]:
    """Pictures, faces, how many of these were found and which share that is, and what was found beyond them
    in single pictures.

    Numbers are compared, not places: a face that is missed and another seen where none is count as one that
    was found.
    """
    hits, faces = sum(map(min, found, expected)), sum(expected)
    recall = round(hits / faces, 4) if faces else 1.0
    return {
        "pictures": len(found),
        "faces": faces,
        "found": hits,
        "recall": recall,
        "false": sum(found) - hits,
    }


def _detectors(names: Sequence[str], device: torch.device) -> dict[str, Detector]:
    """Those that are named, or all that are installed."""
    detectors = {}
    for name in names or FILES:
        try:
            detectors[name] = load_detector(name, device)
        except FileNotFoundError as error:
            if names:
                raise
            log.info("without %s: %s", name, error)
    return detectors
