"""Training pictures from folders and zip archives, and what tables say of them."""

from __future__ import annotations

import csv
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ..images import READABLE, read

FILE = "file"  # the column that names pictures


def read_pictures(paths: Sequence[str | Path]) -> list[Tensor]:
    """Every picture of the folders and zip archives, C H W in 0..1, sorted by name. Raises as `read_named`."""
    return [picture for _, picture in read_named(paths)]


def read_named(paths: Sequence[str | Path]) -> list[tuple[str, Tensor]]:
    """The same with their names, those of files below the folder or archive. Raises ValueError or FileNotFoundError that names
    the path when one holds no picture or cannot be read."""
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


def read_table(paths: Sequence[str | Path]) -> dict[str, dict[str, str]]:
    """CSV files with a column `file` as {file: {column: value}}. Raises ValueError for tables without it or that disagree."""
    rows: dict[str, dict[str, str]] = {}
    for path in map(Path, paths):
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            if FILE not in (table.fieldnames or ()):
                raise ValueError(f"{path} has no column {FILE!r} but {', '.join(table.fieldnames or ()) or 'none'}: name that of the pictures so")
            for row in table:
                name = row.pop(FILE)
                if rows.setdefault(name, row) != row:
                    raise ValueError(f"{path} says of {name} what another row does not: keep one of them")
    return rows


def _folder(path: Path) -> list[tuple[str, Tensor]]:
    return [(p.relative_to(path).as_posix(), read(p).pixels[0]) for p in sorted(path.rglob("*")) if p.suffix.lower() in READABLE]
