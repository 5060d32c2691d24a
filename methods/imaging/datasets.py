"""Training pictures from folders and zip archives, and what tables say of them."""

from __future__ import annotations

import csv
import logging
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from .files import READABLE, picture_files
from .images import read

log = logging.getLogger("priorsr")

Make = Callable[[Tensor], Tensor]
T = TypeVar("T")

FILE = "file"  # the column that names pictures


def read_pictures(paths: Sequence[str | Path], make: Make | None = None) -> list[Tensor]:
    """Every picture of the folders and zip archives, C H W in 0..1, by name. Raises as `read_named`.

    make: what is kept of each, made as it is read, so that memory holds one whole picture only.
    """
    return [picture for _, picture in read_named(paths, make)]


def read_named(paths: Sequence[str | Path], make: Make | None = None) -> list[tuple[str, Tensor]]:
    """The same with their names, those of files below the folder or archive; damaged ones are left out and
    logged.

    Raises as `find_files`, or ValueError where none can be read.
    """
    make = make or (lambda picture: picture)
    with tempfile.TemporaryDirectory() as folder:
        files = find_files(paths, Path(folder))
        return [(name, make(picture)) for name, picture in sound(files, lambda path: read(path).pixels[0])]


def sound(files: Iterable[tuple[str, Path]], look: Callable[[Path], T]) -> Iterator[tuple[str, T]]:
    """Names and what is read of files; those that cannot be read are left out and logged.

    Raises the last error where that is all of them.
    """
    done, refusal = 0, None
    for name, path in files:
        try:
            found = look(path)
        except (OSError, ValueError) as error:
            refusal = error
            log.warning("left out: %s", error)
            continue
        done += 1
        yield name, found
    if refusal and not done:
        raise refusal


def find_files(paths: Sequence[str | Path], folder: Path) -> list[tuple[str, Path]]:
    """Names and places of the pictures; archives are unpacked into `folder`.

    Raises ValueError or FileNotFoundError that names the path when one holds no picture.
    """
    found = []
    for i, root in enumerate(map(Path, paths)):
        path = root
        if path.is_file() and zipfile.is_zipfile(path):
            root = folder / str(i)
            with zipfile.ZipFile(path) as archive:
                archive.extractall(root)  # which keeps every member inside the folder
        elif not path.is_dir():
            raise FileNotFoundError(f"{path} is no folder and no zip archive of pictures")
        pictures, others = picture_files(root)
        if others:
            log.warning("%s: %d files hold pictures but are not read: %s", path, len(others), others[0].name)
        files = [(p.relative_to(root).as_posix(), p) for p in pictures]
        if not files:
            raise ValueError(f"{path} holds no picture ({', '.join(READABLE)})")
        found += files
    return found


def read_table(paths: Sequence[str | Path]) -> dict[str, dict[str, str]]:
    """CSV files with a column `file` as {file: {column: value}}.

    Raises ValueError for tables without it or that disagree.
    """
    rows: dict[str, dict[str, str]] = {}
    for path in map(Path, paths):
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            if FILE not in (table.fieldnames or ()):
                names = ", ".join(table.fieldnames or ()) or "none"
                raise ValueError(f"{path} has no column {FILE!r} but {names}: name that of the pictures so")
            for row in table:
                name = row.pop(FILE)
                if rows.setdefault(name, row) != row:
                    raise ValueError(f"{path} says of {name} what another row does not: keep one of them")
    return rows
