"""Which files of a folder are pictures."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image

READABLE = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".gif", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".tga"),
)
SIGNATURES = (
    *(
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"GIF87a",
        b"GIF89a",
        b"II*\0",
        b"MM\0*",
        b"BM",
        b"8BPS",
        b"qoif",
    ),
    *(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
)


def is_sidecar(path: Path) -> bool:
    """Whether it is what macOS leaves beside a file on other systems' disks: `._name`."""
    return path.name.startswith("._")


def picture_files(folder: str | os.PathLike) -> tuple[list[Path], list[Path]]:
    """Pictures of a folder, searched to its depth and sorted; and files that hold others but are not read."""
    found, others = [], []
    for path in sorted(Path(folder).rglob("*")):
        if is_sidecar(path) or not path.is_file():
            continue
        if path.suffix.lower() in READABLE:
            found.append(path)
        elif _holds_picture(path):
            others.append(path)
    return found, others


def _holds_picture(path: Path) -> bool:
    """Whether Pillow knows the name's suffix or the first bytes as those of a picture."""
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return False
    known = start.startswith(SIGNATURES) or (start[:4] == b"RIFF" and start[8:] == b"WEBP")
    if not known and start[4:] not in (b"ftypavif", b"ftypavis"):
        Image.init()
        kind = Image.registered_extensions().get(path.suffix.lower())
        if kind not in Image.OPEN:
            return False
    if path.suffix.lower() == ".part":
        return False
    try:
        with Image.open(path):
            return True
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
