"""Flax checkpoints (msgpack), read without a library: plain data and arrays, nothing that could be called.

A reader of the whole format is these few lines, so three published files need no further package; it builds
numbers, texts, lists and dicts only, and no claim of a file about sizes is believed beyond the bytes that it
has.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .boundary import Incomplete, naming
from .entry import Entry, Storage, entry, read_tensors

if TYPE_CHECKING:
    from torch import Tensor

ARRAY = 1  # Flax's extension type of an array: (shape, name of the type, bytes), packed once more
DEEPEST = 32
MOST_VALUES = 1_000_000
LONGEST_TEXT = 1 << 20
DTYPES = (
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
)
FIXED = {0xC0: None, 0xC2: False, 0xC3: True}
NUMBERS = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}
SIZED = {  # code: what follows, and how its length is written
    **{code: ("bytes", size) for code, size in ((0xC4, ">B"), (0xC5, ">H"), (0xC6, ">I"))},
    **{code: ("text", size) for code, size in ((0xD9, ">B"), (0xDA, ">H"), (0xDB, ">I"))},
    **{code: ("extension", size) for code, size in ((0xC7, ">B"), (0xC8, ">H"), (0xC9, ">I"))},
    **{code: ("list", size) for code, size in ((0xDC, ">H"), (0xDD, ">I"))},
    **{code: ("dict", size) for code, size in ((0xDE, ">H"), (0xDF, ">I"))},
}


class Extension(NamedTuple):
    """A value of an application's own type, not looked into: where its bytes lie."""

    code: int
    start: int
    stop: int


class Bytes(NamedTuple):
    """Where bytes lie."""

    start: int
    stop: int


class _Reader:
    """The values of a msgpack text, one after the other (github.com/msgpack/msgpack/blob/master/spec.md)."""

    def __init__(self, data, at: int = 0, stop: int | None = None):
        self.data = data
        self.at = at
        self.stop = len(data) if stop is None else stop
        self.left = MOST_VALUES

    def skip(self, count: int) -> Bytes:
        if count > self.stop - self.at:
            raise ValueError("it ends too early")
        self.at += count
        return Bytes(self.at - count, self.at)

    def number(self, form: str) -> int | float:
        return struct.unpack(form, self.data[slice(*self.skip(struct.calcsize(form)))])[0]

    def value(self, depth: int = 0) -> object:
        self.left -= 1
        if depth > DEEPEST:
            raise ValueError(f"it is nested deeper than {DEEPEST} levels")
        if self.left < 0:
            raise ValueError(f"it holds more than {MOST_VALUES} values")
        code = int(self.number(">B"))
        if code <= 0x7F or code >= 0xE0:
            return code if code <= 0x7F else code - 0x100
        if code in FIXED:
            return FIXED[code]
        if code in NUMBERS:
            return self.number(NUMBERS[code])
        if code in SIZED:
            kind, size = SIZED[code]
            count = int(self.number(size))
        elif code <= 0x8F:  # short ones carry their length in the code
            kind, count = "dict", code & 0x0F
        elif code <= 0x9F:
            kind, count = "list", code & 0x0F
        elif code <= 0xBF:
            kind, count = "text", code & 0x1F
        elif 0xD4 <= code <= 0xD8:
            kind, count = "extension", 1 << (code - 0xD4)
        else:
            raise ValueError(f"{code:#x} starts no value")
        return self._sized(kind, count, depth)

    def _sized(self, kind: str, count: int, depth: int) -> object:
        if kind == "extension":
            return Extension(int(self.number(">b")), *self.skip(count))
        if kind == "bytes":
            return self.skip(count)
        if kind == "text":
            if count > LONGEST_TEXT:
                raise ValueError(f"it holds a text of {count} bytes")
            return str(self.data[slice(*self.skip(count))], "utf-8")
        if count > self.stop - self.at:  # every value takes a byte at least
            raise ValueError("it ends too early")
        if kind == "list":
            return [self.value(depth + 1) for _ in range(count)]
        result = {}
        for _ in range(count):
            key = self.value(depth + 1)
            if not isinstance(key, (str, int)):
                raise ValueError(f"a {type(key).__name__} names an entry, where text should")
            result[key] = self.value(depth + 1)
        return result


def read_flax(path: str | os.PathLike) -> dict[str, Tensor]:
    """The arrays of a Flax checkpoint as stored, by their paths with slashes. Raises as `list_flax`."""
    with naming(path, "Flax checkpoint"):
        return read_tensors(Path(path), list_flax(Path(path)))


def list_flax(path: Path) -> dict[str, Entry]:
    """The arrays of a Flax checkpoint, still in the file; of a training state, those of its average
    `params_ema`.

    Raises ValueError when it is damaged, no msgpack, or a training state without an average.
    """
    if not path.stat().st_size:
        raise ValueError("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        reader = _Reader(data)
        content = reader.value()
        if not isinstance(content, Mapping) or reader.at < len(data):
            raise ValueError("it holds no single tree of arrays")
        if "params_ema" in content:
            content = content["params_ema"]
        elif "optimizer" in content or "ema_rate" in content:
            raise Incomplete(
                "it is a training state without averaged weights (params_ema), which are what is "
                "sampled from: choose a complete one"
            )
        return dict(_arrays(content, "", data))


def _arrays(tree: object, name: str, data) -> Iterator[tuple[str, Entry]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _arrays(value, f"{name}/{key}" if name else str(key), data)
    elif isinstance(tree, Extension) and tree.code == ARRAY:
        yield name, _array(tree, name, data)


def _array(found: Extension, name: str, data) -> Entry:
    match _Reader(data, found.start, found.stop).value():
        case [[*shape], str(dtype), Bytes(start, stop)] if dtype in DTYPES:
            array = entry(dtype, shape, Storage(stop - start, start))
            if array.nbytes == stop - start:
                return array
            raise ValueError(f"{name} does not have the size that it says")
    raise ValueError(f"{name} is no array of numbers")
