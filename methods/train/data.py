"""Training pictures from folders and zip archives."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ..images import READABLE, read


def read_pictures(paths: Sequence[str | Path]) -> list[Tensor]:
    """Every picture of the folders and zip archives, C H W in 0..1, sorted by name. Raises ValueError or FileNotFoundError
    that names the path when one holds no picture or cannot be read."""
    pictures = []
    for path in map(Path, paths):
        if path.is_dir():
            found = _folder(path)
        elif path.is_file() and zipfile.is_zipfile(path):
            with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
                archive.extractall(folder)  # extractall keeps every member inside the folder
                found = _folder(Path(folder))
        else:
            raise FileNotFoundError(f"{path} is no folder and no zip archive of pictures")
        if not found:
            raise ValueError(f"{path} holds no picture ({', '.join(READABLE)})")
        pictures += found
    return pictures


def _folder(path: Path) -> list[Tensor]:
    return [read(p).pixels[0] for p in sorted(path.rglob("*")) if p.suffix.lower() in READABLE]
