"""What a trainer of the command line is, and how it reads pictures."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..imaging.datasets import Make, read_pictures
from ..train import prior
from ..train.loop import Optimisation, Task

log = logging.getLogger("priorsr")


@dataclass(frozen=True)
class Trainer:
    """`make` reads the pictures and gives the task and, for the trained network, what its file says of
    itself.
    """

    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    make: Callable[[argparse.Namespace, Optimisation], tuple[Task, Callable[[Any], dict]]]
    tuned: Optimisation
    half: bool = False  # weights are written in half precision
    # the files of the trained network, from what it says of itself and OUT
    files: Callable[[Any, dict, Path], Iterable[tuple[Path, nn.Module, dict]]] = lambda network, said, out: [
        (out, network, said)
    ]


def free(options: argparse.Namespace, *paths: Path) -> None:
    """Raises FileExistsError for a file that would be replaced unasked."""
    for path in paths:
        if path.exists() and not options.overwrite:
            raise FileExistsError(f"{path} exists: choose another name or add --overwrite")


def pictures(options: argparse.Namespace, make: Make | None = None) -> tuple[list, list]:
    images, validation = (read_pictures(paths, make) for paths in (options.data, options.validation))
    log.info("%d training pictures, %d to judge by", len(images), len(validation))
    return images, validation


def squares(options: argparse.Namespace, size: int, channels: int) -> tuple[Tensor, Tensor]:
    """Training and validation pictures, uint8 N channels size size."""
    images, validation = pictures(options, lambda picture: prior.square(picture, size, channels))
    return torch.stack(images), torch.stack(validation)
