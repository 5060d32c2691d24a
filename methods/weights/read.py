"""What weight files and folders of them hold, and the tensors that are wanted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from .boundary import naming
from .find import INDEX, SUFFIXES
from .listing import Listing as Listing
from .listing import State as State
from .listing import list_single, unwrapped
from .multifile import list_folder, list_shards, with_config
from .torch_file import allow_plain, list_torch


def list_file(path: str | os.PathLike) -> Listing:
    """The header of a weight file, of the index of a file in parts, or of a folder in diffusers' layout.

    No tensor is read. Raises FileNotFoundError, or ValueError naming the file when it is damaged, of no known
    format, or would have to run code to be read.
    """
    path = Path(path)
    if path.is_dir():
        return list_folder(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no weight file at {path}")
    if INDEX.search(path.name):
        return list_shards(path)
    if path.suffix.lower() == ".gguf":
        return list_single(path)  # which says what it is
    if path.suffix.lower() not in (*SUFFIXES, ""):
        raise ValueError(f"{path} is no weight file: expected {', '.join(SUFFIXES)}")
    return with_config(list_single(path))


def read_state(
    path: str | os.PathLike, wanted: Callable[[str], bool] | None = None
) -> tuple[State, dict[str, str]]:
    """Tensors and metadata of a weight file; containers and wrappers' prefixes are removed.

    wanted: which keys to take of a file that holds far more; the others are not read. Raises as `list_file`.
    """
    listing = list_file(path)
    kept = {k: v for k, v in listing.entries.items() if wanted is None or wanted(k)}
    for key, reason in listing.unusable.items():
        if wanted is None or wanted(key):
            raise ValueError(f"{path}: its {key} is {reason}")
    return listing.read(kept), dict(listing.metadata)


def check_plain(path: str | os.PathLike) -> None:
    """Raises ValueError unless a torch file mentions nothing but tensors, so that whoever unpickles it runs
    no code.
    """
    with naming(path):
        unwrapped(Path(path), list_torch(path, allow_plain))
