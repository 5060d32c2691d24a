"""The header of safetensors files (github.com/huggingface/safetensors): eight bytes of length, then JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .boundary import naming
from .entry import Entry, Storage, Unusable, entry

LONGEST_HEADER = 100 << 20
SAFETENSORS = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """What a safetensors file says of itself. Raises as `list_file`."""
    with naming(path):
        return list_safetensors(Path(path))[1]


def list_safetensors(path: Path) -> tuple[dict[str, Entry | Unusable], dict[str, str]]:
    """Tensors by name, still in the file, and metadata.

    Raises ValueError and others of `DAMAGE` for damaged files.
    """
    size = path.stat().st_size
    with path.open("rb", buffering=0) as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(size - 8, LONGEST_HEADER):
            raise ValueError("its header is longer than the file")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is no dict")
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("what it says of itself is no text")
    return {key: _described(value, 8 + length, size) for key, value in header.items()}, metadata


def _described(value: Any, base: int, size: int) -> Entry | Unusable:
    dtype = value["dtype"]
    start, stop = value["data_offsets"]
    if not (isinstance(start, int) and isinstance(stop, int) and 0 <= start <= stop <= size - base):
        raise ValueError("its tensors end after the file")
    if dtype not in SAFETENSORS:
        return Unusable(f"no tensor of real numbers ({str(dtype)[:30]})")
    found = entry(SAFETENSORS[dtype], value["shape"], Storage(stop - start, base + start))
    if found.nbytes != stop - start:
        raise ValueError("a tensor of it does not have the size that it says")
    return found
