"""Files that appear whole or not at all, and the leftovers of runs that were killed while they wrote one."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LEFTOVER = re.compile(r"\.priorsr-([0-9a-f]{6})-(\d+)-[0-9a-f]{8}\.part")
DAY = 86_400.0  # seconds after which a temporary file is nobody's, wherever its owner runs
NO_LINKS = {
    errno.EPERM,
    errno.EACCES,
    errno.EOPNOTSUPP,
    errno.ENOTSUP,
    errno.ENOSYS,
    errno.EMLINK,
    errno.EXDEV,
}

_own: set[Path] = set()  # temporary files that this process is writing
_swept: set[Path] = set()  # folders that this process has looked through


@contextmanager
def replacing(path: Path, overwrite: bool = True) -> Iterator[Path]:
    """A temporary file beside `path` that takes its name when the block ends well, and vanishes otherwise.

    Raises FileExistsError where the name is taken by then and `overwrite` is off, OSError that says
    what cannot be written.
    """
    path = Path(path)
    folder = path.parent
    partial = folder / f".priorsr-{host_name()}-{os.getpid()}-{secrets.token_hex(4)}.part"
    _own.add(partial)
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if folder not in _swept:
                sweep(folder)
            partial.open("xb").close()
        except OSError as error:
            raise OSError(
                f"cannot write into {folder}: {error.strerror or error}. Choose a folder you may write to"
            ) from error
        try:
            yield partial
            _publish(partial, path, overwrite)
        except FileExistsError as error:
            raise FileExistsError(f"{path} exists: choose another name or allow overwriting") from error
        except OSError as error:
            raise OSError(
                f"cannot write {path}: {error.strerror or error}. Nothing was left behind"
            ) from error
    finally:
        with suppress(OSError):
            partial.unlink()
        _own.discard(partial)


def check_place(path: Path) -> None:
    """See whether a file of this name can be made without making it.

    Raises ValueError for a name that is too long or a folder's, OSError where the folder cannot be written.
    """
    path = Path(path)
    folder = path.parent
    # of os.path, for Path's own raise for names that are too long
    while not os.path.exists(folder) and folder != folder.parent:
        if os.path.islink(folder):  # a folder that another run has just made is none
            raise OSError(f"cannot write into {folder}: it is a link to nowhere. Choose another folder")
        folder = folder.parent
    if not os.path.isdir(folder):
        raise OSError(f"cannot write into {path.parent}: {folder} is a file. Choose another folder")
    longest = os.pathconf(folder, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    for part in path.parts:
        if len(os.fsencode(part)) > longest:
            raise ValueError(f"{part[:40]}... is too long a name: {longest} bytes at most")
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder: choose a file name")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(f"cannot write into {folder}: permission denied. Choose a folder you may write to")


def sweep(folder: Path) -> int:
    """Remove the temporary files in a folder whose writers are gone; how many there were."""
    _swept.add(folder)
    removed = 0
    try:
        found = [entry.name for entry in os.scandir(folder) if LEFTOVER.fullmatch(entry.name)]
    except OSError:
        return 0
    for name in found:
        path = folder / name
        try:
            if path not in _own and _abandoned(path):
                path.unlink()
                removed += 1
        except OSError:
            continue  # another run was faster, or it is not ours to remove
    return removed


def _abandoned(path: Path) -> bool:
    found = LEFTOVER.fullmatch(path.name)
    if found is None:
        return False
    host, owner = found.groups()
    if is_gone(host, int(owner)):
        return True
    return time.time() - path.stat().st_mtime > DAY


def is_gone(host: str, owner: int) -> bool:
    """Whether an earlier process of this machine, of which a file tells, is known to run no more."""
    if host != host_name() or os.name != "posix":
        return False
    if owner == os.getpid():
        return True  # an earlier process had the same number, as in containers
    try:
        os.kill(owner, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    return False


def host_name() -> str:
    """A short name of this machine, for names of files."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]


def _publish(partial: Path, path: Path, overwrite: bool) -> None:
    """Give the file its name in one step."""
    if overwrite:
        os.replace(partial, path)
    elif os.name == "nt":
        os.rename(partial, path)  # which never replaces there
    else:
        try:
            os.link(partial, path)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            # file systems without links: the name is taken first, so that no other run can
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            os.replace(partial, path)
