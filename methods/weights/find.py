"""Weight files by name: those that ship with the package, and those in the user's folders."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

from .known import where
from .safetensors_file import read_metadata

SUFFIXES = (".safetensors", ".sft", ".pt", ".pth", ".ckpt", ".bin", ".pkl", ".msgpack")
INDEX = re.compile(r"\.index(\.\w+)?\.json$")  # ends the name of what tells the parts of a file
FOLDER_MARKS = ("model_index.json", "config.json", "unet/config.json")  # of folders in diffusers' layout
SHIPPED = Path(__file__).resolve().parents[2] / "weights"
MSGPACK_DICTS = (*range(0x81, 0x90), 0xDE, 0xDF)  # first bytes of Flax's files, which bear no suffix


def folders() -> list[Path]:
    """Where weights are looked for: each folder of PRIORSR_MODELS, then the shipped ones."""
    return [Path(p) for p in os.environ.get("PRIORSR_MODELS", "").split(os.pathsep) if p] + [SHIPPED]


def locate(name: str) -> Path:
    """The weight file called `name`: a shipped one, a path, or a file of one of `folders` with or without its
    suffix; or a folder in diffusers' layout, or the index of a file in parts.

    The name of a shipped file always means that file, and a path is what has a separator or a weight file's
    suffix: a file that happens to lie in the working directory is never taken for either. Raises
    FileNotFoundError.
    """
    shipped = SHIPPED / f"{name}.safetensors"
    if not _separated(name) and shipped.is_file():
        return shipped
    spelt = _separated(name) or INDEX.search(name) or Path(name).suffix.lower() in (*SUFFIXES, ".gguf")
    if spelt and (Path(name).is_file() or (_separated(name) and Path(name).is_dir())):
        return Path(name)
    if name and not Path(name).is_absolute() and ".." not in Path(name).parts:
        for folder in folders():
            for candidate in (folder / name, *(folder / f"{name}{suffix}" for suffix in SUFFIXES)):
                if candidate.is_file() or is_model_folder(candidate):
                    return candidate
    published = where(name)
    raise FileNotFoundError(
        f"there are no weights called {name}: looked in {', '.join(map(str, folders()))}"
        + (f". {published}" if published else "")
    )


def _separated(name: str) -> bool:
    return any(mark in name for mark in (os.sep, os.altsep) if mark)


def shipped(kind: str) -> list[str]:
    """Names of the files of a kind that come with the package, by what they say of themselves."""
    found = [(path, path.stat()) for path in SHIPPED.glob("*.safetensors")]
    return sorted(path.stem for path, at in found if _kind(path, at.st_size, at.st_mtime_ns) == kind)


@lru_cache(256)
def _kind(path: Path, size: int, changed: int) -> str | None:
    """Read once for as long as the file is the same: nodes ask for every list that they show."""
    return read_metadata(path).get("kind")


def installed() -> list[Path]:
    """Every weight file in `folders`, and every folder there in diffusers' layout."""
    return [p for folder in folders() for p in _files(folder) if is_weight_file(p) or is_model_folder(p)]


def is_model_folder(path: Path) -> bool:
    """Whether a folder is in diffusers' layout: a pipeline, or one of its parts."""
    try:
        return path.is_dir() and any((path / mark).is_file() for mark in FOLDER_MARKS)
    except OSError:
        return False


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # it may be listed before it is made, or not be ours to read
        return []


def is_weight_file(path: Path) -> bool:
    """Whether a file looks like weights: by its suffix or, without one, by how Flax's files begin."""
    try:
        if path.suffix:
            return path.suffix.lower() in SUFFIXES and path.is_file()
        if path.name.startswith(".") or not path.is_file():
            return False
        with path.open("rb", buffering=0) as file:
            return file.read(1)[:1] in map(_byte, MSGPACK_DICTS)
    except OSError:
        return False


def _byte(value: int) -> bytes:
    return bytes([value])
