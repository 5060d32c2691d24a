"""The boundary around weight files: whatever is wrong with one becomes a ValueError that names it."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager


class PickledCode(ValueError):
    """The file wants something called that is no data."""


class Incomplete(ValueError):
    """The file is whole, and lacks what it would be needed for."""


DAMAGE = (  # what reading and building can raise for a file that is not what it should be
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def naming(path: str | os.PathLike, what: str = "weight file") -> Iterator[None]:
    """The boundary around a file: what its content leads to in here becomes one ValueError that names it."""
    try:
        yield
    except PickledCode as error:
        raise ValueError(
            f"{path} holds pickled code ({error}), and PriorSR never runs code from a file: "
            "ask its author for safetensors or a plain state dict"
        ) from error
    except Incomplete as error:
        raise ValueError(f"{path}: {error}") from error
    except DAMAGE as error:
        text = str(error)
        if str(path) in text and isinstance(error, ValueError):  # named already
            raise
        if isinstance(error, RecursionError):
            text = "it is nested too deeply"
        elif isinstance(error, KeyError):
            text = f"{error} is missing or misshapen"
        elif not isinstance(error, ValueError):
            text = f"{type(error).__name__}: {text}"
        reason = (text.splitlines() or [type(error).__name__])[0][:300]
        raise ValueError(
            f"cannot read {path}: {reason}. The file is damaged or no {what}; fetch it again"
        ) from error


@contextmanager
def building(path: str | os.PathLike, title: str) -> Iterator[None]:
    """The same around what is built from a whole file: it may lack parts, or describe what cannot be."""
    try:
        yield
    except (KeyError, IndexError) as error:
        raise ValueError(f"{path} is no complete {title} file: {error} is missing or misshapen") from error
    except ValueError as error:
        raise (error if str(path) in str(error) else ValueError(f"{path}: {str(error)[:600]}")) from error
    except DAMAGE as error:
        reason = (str(error).splitlines() or [""])[0][:300]
        raise ValueError(
            f"{path} describes no {title} that can be built ({type(error).__name__}: {reason}): "
            "choose another file"
        ) from error
