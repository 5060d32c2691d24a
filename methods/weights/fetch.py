"""A published file or folder from where it lies, only when the user asks: resumed, checked, and whole or not
there.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from .known import Known, Part

SECONDS = 30.0  # without an answer, after which a server counts as gone
PIECE = 1 << 20
AGENT = "priorsr"
Progress = Callable[[int, int], None]  # bytes so far, of so many (0 where the server does not tell)


def sha256_of(path: str | os.PathLike, on_bytes: Progress = lambda done, total: None) -> str:
    """The hash of a file, in hexadecimal."""
    digest, done = hashlib.sha256(), 0
    with open(path, "rb") as file:
        total = os.fstat(file.fileno()).st_size
        while piece := file.read(PIECE):
            digest.update(piece)
            done += len(piece)
            on_bytes(done, total)
    return digest.hexdigest()


def fetch(
    one: Known, folder: Path, address: str = "", on_bytes: Progress = lambda done, total: None
) -> tuple[Path, dict[str, str]]:
    """Bring a known file, or a folder with all its parts, into a folder; returns its path and the hashes of
    its files.

    address: in place of those of the table. What came of a download that broke off stays under a hidden name,
    and the next call goes on from there as long as the server still has the same files; a folder gets its
    name when all of it is there. Raises FileExistsError, ValueError for a file that is not the published one,
    OSError where no server gives it.
    """
    target = folder / one.file
    if os.path.lexists(target):
        raise FileExistsError(f"{target} exists: `priorsr models check` says what it is")
    addresses = (address,) if address else one.addresses
    if not addresses:
        raise ValueError(
            f"no address of {one.file} is known: fetch it from {one.page} by hand, or give --address URL"
        )
    reasons = []
    for place in addresses:
        try:
            if one.parts:
                return target, _fetch_parts(one, folder, place, on_bytes)
            partial, digest = _whole(Part(one.file, one.sha256, one.bytes), folder, place, on_bytes)
            _publish(partial, target)
            return target, {one.file: digest}
        except FileExistsError:
            raise
        except (OSError, http.client.HTTPException) as error:
            reasons.append(f"{place}: {_reason(error)}")
    raise OSError(
        f"cannot fetch {one.file} ({'; '.join(reasons)}). Run it again to go on, or fetch it from {one.page}"
    )


def _fetch_parts(one: Known, folder: Path, place: str, on_bytes: Progress) -> dict[str, str]:
    """Every part into a hidden folder, which gets its name when all are there; their hashes."""
    hidden = folder / f".{one.file}.parts"
    brought = {}
    for part in one.parts:
        try:
            brought[part.file] = _whole(part, hidden, f"{place.rstrip('/')}/{part.file}", on_bytes)
        except (OSError, http.client.HTTPException) as error:
            raise OSError(f"{part.file}: {_reason(error)}") from error
    if os.path.lexists(folder / one.file):
        raise FileExistsError(f"{folder / one.file} appeared meanwhile: nothing was replaced")
    for file, (partial, _) in brought.items():
        os.replace(partial, hidden / file)
    os.rename(hidden, folder / one.file)
    return {file: digest for file, (_, digest) in brought.items()}


def _whole(part: Part, folder: Path, address: str, on_bytes: Progress) -> tuple[Path, str]:
    """A file of a folder under a hidden name, and its hash."""
    (folder / part.file).parent.mkdir(parents=True, exist_ok=True)
    partial = _download(part, folder, address, on_bytes)
    return partial, _checked(part, partial)


def _checked(part: Part, partial: Path) -> str:
    digest = sha256_of(partial)
    if part.sha256 and digest != part.sha256:
        partial.unlink()
        raise ValueError(
            f"what came is not the published {part.file}: its SHA-256 is {digest[:12]}..., and "
            f"{part.sha256[:12]}... was published. It was not kept; try another --address"
        )
    return digest


def _publish(partial: Path, target: Path) -> None:
    """Give the whole file its name, never another's."""
    try:
        os.link(partial, target)
        partial.unlink()
    except FileExistsError:
        raise FileExistsError(f"{target} appeared meanwhile: nothing was replaced") from None
    except OSError:  # a file system without links
        os.rename(partial, target)


def _download(part: Part, folder: Path, address: str, on_bytes: Progress) -> Path:
    """The whole file under a hidden name that tells it from any other version. Raises OSError."""
    if not address.startswith(("https://", "http://")):
        raise OSError("no address that starts with https://")
    with _open(address) as answer:
        total = int(answer.headers.get("Content-Length") or 0)
        mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        _check_size(part, total)
        partial = _partial(folder / part.file, mark, total)
        there = partial.stat().st_size if partial.exists() else 0
        if mark and there and there == total:  # whole, beside parts that were not
            return partial
        if not there or not mark or there > total:
            _write(answer, partial, 0, total, on_bytes)
            return partial
    with _open(address, {"Range": f"bytes={there}-", "If-Range": mark}) as answer:
        resumed = answer.status == 206
        if resumed and not re.match(rf"bytes {there}-\d+/{total}$", answer.headers.get("Content-Range", "")):
            raise OSError("the server goes on with another part than was asked for")
        _write(answer, partial, there if resumed else 0, total, on_bytes)
    return partial


def _open(address: str, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
    request = urllib.request.Request(address, headers={"User-Agent": AGENT, **(headers or {})})
    return urllib.request.urlopen(request, timeout=SECONDS)


def _check_size(part: Part, total: int) -> None:
    if part.bytes and total and total != part.bytes:
        raise OSError(f"the server has a file of {total} bytes, and {part.bytes} were published")


def _partial(target: Path, mark: str, total: int) -> Path:
    """The hidden name of this version's beginning; those of others are removed."""
    tag = hashlib.sha256(f"{mark} {total}".encode()).hexdigest()[:8]
    partial = target.with_name(f".{target.name}.{tag}.part")
    for other in target.parent.glob(f".{target.name}.????????.part"):
        if other != partial:
            other.unlink()
    return partial


def _write(
    answer: http.client.HTTPResponse, partial: Path, start: int, total: int, on_bytes: Progress
) -> None:
    done = start
    with partial.open("r+b" if start else "wb") as file:
        file.seek(start)
        while piece := answer.read(PIECE):
            file.write(piece)
            done += len(piece)
            on_bytes(done, total)
        file.truncate()
    if total and done != total:
        raise OSError(f"it broke off after {done} of {total} bytes")


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
