"""Flax checkpoints (msgpack), read without a library: plain data and arrays, nothing that could be called.

A reader of the whole format is these few lines, so three published files need no further package; it builds numbers, texts, lists and
dicts only, and no claim of a file about sizes is believed beyond the bytes that it has.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

ARRAY = 1  # Flax's extension type of an array: (shape, name of the type, bytes), packed once more
DEEPEST = 32
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
    """A value of an application's own type, not looked into."""

    code: int
    data: memoryview


class _Reader:
    """The values of a msgpack text, one after the other (github.com/msgpack/msgpack/blob/master/spec.md)."""

    def __init__(self, data: memoryview):
        self.data, self.at = data, 0

    def take(self, count: int) -> memoryview:
        if count > len(self.data) - self.at:
            raise ValueError("it ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form: str) -> int | float:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def value(self, depth: int = 0) -> object:
        if depth > DEEPEST:
            raise ValueError(f"it is nested deeper than {DEEPEST} levels")
        code = self.number(">B")
        if code <= 0x7F or code >= 0xE0:
            return code if code <= 0x7F else code - 0x100
        if code in FIXED:
            return FIXED[code]
        if code in NUMBERS:
            return self.number(NUMBERS[code])
        if code in SIZED:
            kind, size = SIZED[code]
            count = self.number(size)
        elif code <= 0xBF:  # short ones carry their length in the code
            kind, count = (
                ("dict", code & 0x0F)
                if code <= 0x8F
                else ("list", code & 0x0F)
                if code <= 0x9F
                else ("text", code & 0x1F)
            )
        elif 0xD4 <= code <= 0xD8:
            kind, count = "extension", 1 << (code - 0xD4)
        else:
            raise ValueError(f"{code:#x} starts no value")
        return self._sized(kind, count, depth)

    def _sized(self, kind: str, count: int, depth: int) -> object:
        if kind == "extension":
            return Extension(self.number(">b"), self.take(count))
        if kind in ("bytes", "text"):
            return self.take(count) if kind == "bytes" else str(self.take(count), "utf-8")
        if count > len(self.data) - self.at:  # every value takes a byte at least
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
    """The arrays of a Flax checkpoint as stored, by their paths with slashes; of a training state, those of its average `params_ema`.

    Raises ValueError naming the file when it is damaged, no msgpack, or a training state without an average.
    """
    try:
        reader = _Reader(memoryview(Path(path).read_bytes()))
        content = reader.value()
        if not isinstance(content, Mapping) or reader.at < len(reader.data):
            raise ValueError("it holds no single tree of arrays")
    except (ValueError, struct.error) as error:
        raise ValueError(
            f"cannot read {path}: {error}. The file is damaged or no Flax checkpoint; fetch it again"
        ) from error
    if "params_ema" in content:
        content = content["params_ema"]
    elif "optimizer" in content or "ema_rate" in content:
        raise ValueError(
            f"{path} is a training state without averaged weights (params_ema), which are what is sampled from: choose a complete one"
        )
    try:
        return dict(_arrays(content, ""))
    except (ValueError, TypeError, struct.error) as error:
        raise ValueError(f"cannot read {path}: {error}. The file is damaged; fetch it again") from error


def _arrays(tree: object, name: str):
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _arrays(value, f"{name}/{key}" if name else str(key))
    elif isinstance(tree, Extension) and tree.code == ARRAY:
        yield name, _array(tree.data, name)


def _array(data: memoryview, name: str) -> Tensor:
    match _Reader(data).value():
        case [[*shape], str(dtype), memoryview() as raw] if dtype in DTYPES and all(
            isinstance(n, int) and n >= 0 for n in shape
        ):
            kind = getattr(torch, dtype)
            if math.prod(shape) * kind.itemsize != len(raw):
                raise ValueError(f"{name} does not have the size that it says")
            return (
                torch.frombuffer(bytearray(raw), dtype=kind).view(shape)
                if len(raw)
                else torch.empty(shape, dtype=kind)
            )
    raise ValueError(f"{name} is no array of numbers")
