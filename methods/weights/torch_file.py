"""Torch files of training programs, read by torch's own safe reader: what is no tensor is skipped, and nothing in the file runs."""

from __future__ import annotations

import os
import pickletools
import zipfile
import zlib
from pathlib import Path

import torch

SKIPPED = {
    "pytorch_lightning",
    "lightning",
    "lightning_fabric",
    "lightning_utilities",
    "omegaconf",
    "numpy",
    "argparse",
    "typing",
}


class _Inert:
    """Stands for an object of a training library: takes whatever the file says of it and keeps nothing."""

    def __new__(cls, *args: object, **kwargs: object):
        return object.__new__(cls)

    def __init__(self, *args: object, **kwargs: object):
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass


def read_checkpoint(path: str | os.PathLike, lazy: bool = False) -> object:
    """What `torch.load(weights_only=True)` reads, on the CPU, and files of Lightning too, whose callbacks and settings are left out.

    lazy: tensors stay in the file until they are used. Raises pickle.UnpicklingError for a file that would have to run code.
    """
    path = Path(path)
    zipped = zipfile.is_zipfile(path)
    inert = _inert_classes(path) if zipped else []
    before = torch.serialization.get_safe_globals()
    try:
        torch.serialization.add_safe_globals(inert)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=lazy and zipped)
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _inert_classes(path: Path) -> list[type]:
    """One empty class for every name of a training library that the file mentions; the pickle is listed, not loaded."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
    except (zipfile.BadZipFile, zlib.error):
        return []  # torch's reader says what is wrong
    operations = (operation for content in pickles for operation in pickletools.genops(content))
    mentioned = {argument for code, argument, _ in operations if code.name == "GLOBAL"}
    names = {text for text in mentioned if text.split(" ")[0].split(".")[0] in SKIPPED}
    return [
        type(name, (_Inert,), {"__module__": module})
        for module, name in (text.split(" ", 1) for text in sorted(names))
    ]
