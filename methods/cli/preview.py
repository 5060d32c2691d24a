"""`--preview FILE`: a picture that always shows how far the newest one is."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from ..imaging.replacing import check_place, replacing
from .tally import log

MARK = ("Software", "PriorSR preview")  # tells our own file from one of the user's


class PreviewFile:
    """A PNG that is written anew with every preview, whole at any time.

    Raises ValueError, FileExistsError and OSError for a name that it cannot have. others: files of the run.
    """

    def __init__(self, path: str | os.PathLike, others: Iterable[Path] = ()):
        self.path, self._failed = Path(path), False
        if self.path.suffix.lower() != ".png":
            raise ValueError(f"--preview writes PNG: give a name that ends in .png, not {self.path}")
        if any(self.path.resolve() == other.resolve() for other in others):
            raise ValueError(f"{self.path} is a file of this run: choose another one for --preview")
        check_place(self.path)
        if os.path.lexists(self.path) and not _is_ours(self.path):
            raise FileExistsError(f"{self.path} exists and is no preview: choose another one for --preview")

    def show(self, picture: Image.Image) -> None:
        """Write a preview; one that cannot be written is said once and stops nothing."""
        about = PngInfo()
        about.add_text(*MARK)
        try:
            with replacing(self.path) as partial:
                picture.save(partial, "PNG", pnginfo=about, compress_level=1)
        except OSError as error:
            if not self._failed:
                log.warning("no preview: %s", error)
            self._failed = True


def _is_ours(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            return picture.info.get(MARK[0]) == MARK[1]
    except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        return False
