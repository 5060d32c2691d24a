"""Files of torch.save, zipped and legacy, listed by a reader of our own: tensors stay in the file, nothing in
it runs.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from .boundary import PickledCode
from .entry import BYTES, Entry, Storage, Unusable, entry
from .pickle_values import Name, Record
from .pickles import Machine

ZIP = b"PK\x03\x04"
LEGACY = 0x1950A86A20F9469CFC6C  # what a legacy file starts with, pickled
DTYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
}
OTHERS = {  # bytes of what is stored, and passed over
    "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
    "QInt8Storage": 1,
    "QUInt8Storage": 1,
    "QInt32Storage": 4,
    "QUInt4x2Storage": 1,
    "QUInt2x4Storage": 1,
}
PLAIN = {
    "collections.OrderedDict",
    "torch.Size",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
}
LARGEST_PICKLE = 256 << 20
DATA_MODULES = {  # of Python's own, those whose objects are data
    "_codecs",
    "argparse",
    "array",
    "collections",
    "copy_reg",
    "copyreg",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "pathlib",
    "random",
    "types",
    "typing",
    "uuid",
}
DATA_BUILTINS = {"bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list"}
DATA_BUILTINS |= {"object", "range", "set", "slice", "str", "tuple", "type"}


class Stored(Storage):
    """A storage with the type of its numbers; `dtype` is empty for types that no network here has."""

    def __init__(self, dtype: str, what: str, count: int):
        super().__init__(count * (BYTES[dtype] if dtype else OTHERS[what]))
        self.dtype = dtype
        self.what = what


def allow(name: Name) -> None:
    """Any name of other programs, which becomes a record; of Python's own, names of data only."""
    root = name.module.split(".")[0]
    if root in ("builtins", "__builtin__"):
        harmless = name.name in DATA_BUILTINS
    else:
        harmless = root in DATA_MODULES or root not in sys.stdlib_module_names
    if not harmless:
        raise PickledCode(f"it asks for {name.full}")


def allow_plain(name: Name) -> None:
    """Only what a plain state dict mentions."""
    storage = name.module == "torch" and name.name in (*DTYPES, *OTHERS)
    if not storage and name.full not in PLAIN:
        raise PickledCode(f"it asks for {name.full}")


def list_torch(path: str | os.PathLike, allow: Callable[[Name], None] = allow) -> object:
    """What was given to torch.save, with an Entry for every tensor and inert records for objects of other
    programs.

    Raises PickledCode for a file that wants functions called, ValueError and others of `DAMAGE` for damaged
    ones.
    """
    path = Path(path)
    with path.open("rb", buffering=0) as file:
        if file.read(4) == ZIP:
            return _zipped(file, allow)
        if not path.stat().st_size:
            raise ValueError("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return legacy(data, 0, len(data), allow)


def build(name: str, args: tuple) -> object:
    """Dicts, sizes and tensors; a record of anything else."""
    module, _, function = name.rpartition(".")
    if name in ("collections.OrderedDict", "collections.defaultdict"):
        given = args[0] if args and isinstance(args[0], list) else []
        return {k: v for k, v in given if isinstance(k, str)}
    if name == "torch.Size":
        return tuple(args[0])
    if function in ("_rebuild_parameter", "_rebuild_parameter_with_state") and module == "torch._utils":
        return args[0]
    if name == "torch._tensor._rebuild_from_type_v2" and isinstance(args[0], Name):
        if args[0].full == name:
            raise ValueError("a tensor of it stands for itself")
        return build(args[0].full, args[2])
    if module == "torch._utils" and function.startswith("_rebuild_"):
        return _tensor(function, args)
    return Record(name, args)


def _tensor(function: str, args: tuple) -> Entry | Unusable:
    if function not in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"):
        return Unusable(f"no dense tensor of real numbers ({function.removeprefix('_rebuild_')})")
    storage, offset, shape, stride = args[:4]
    if not isinstance(storage, Stored):
        raise ValueError("a tensor of it has no stored numbers")
    dtype = storage.dtype
    if function == "_rebuild_tensor_v3":
        dtype = args[6].name if isinstance(args[6], Name) else ""
    if dtype not in BYTES:
        return Unusable(f"no tensor of real numbers ({dtype or storage.what})")
    return entry(dtype, shape, storage, offset, stride)


def _stored(identity: object) -> tuple[str, Stored]:
    """The key and the storage that a persistent id names."""
    match identity:
        case ("storage", Name(_, what), str() | int() as key, _, int(count), *view) if count >= 0:
            if what not in DTYPES and what not in OTHERS:
                raise ValueError(f"its numbers are {what}, which is unknown")
            if view not in ([], [None]):
                raise ValueError(
                    "its storages are parts of others, as before torch 0.4: save it again with a newer one"
                )
            return str(key), Stored(DTYPES.get(what, ""), what, count)
    raise ValueError("it refers to objects that it does not hold")


def _zipped(file: BinaryIO, allow: Callable[[Name], None]) -> object:
    size = os.fstat(file.fileno()).st_size
    try:
        archive = zipfile.ZipFile(file)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise ValueError("its archive points before its start") from error
    with archive:
        entries = {info.filename: info for info in archive.infolist()}
        if len(entries) != len(archive.infolist()):  # readers differ in which of two they take
            raise ValueError("two parts of it have one name")
    heads = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(heads) != 1:
        raise ValueError("it is an archive of something else than tensors")
    prefix = heads[0].removesuffix("data.pkl")
    if f"{prefix}constants.pkl" in entries:
        raise ValueError("it is a TorchScript program: choose its state dict")
    storages: dict[str, Stored] = {}

    def persistent(identity: object) -> Stored:
        key, stored = _stored(identity)
        if key not in storages:
            start, length = _position(file, entries[f"{prefix}data/{key}"], size)
            if length < stored.size:
                raise ValueError(f"its part {key} is shorter than it says")
            stored.start = start
            storages[key] = stored
        if storages[key].size < stored.size or storages[key].dtype != stored.dtype:
            raise ValueError(f"its part {key} is described twice, differently")
        return storages[key]

    if f"{prefix}byteorder" in entries and _bytes(file, entries[f"{prefix}byteorder"], size) != b"little":
        raise ValueError("it was written on a big-endian machine: save it again on another")
    data = _bytes(file, entries[heads[0]], size)
    return Machine(data, allow=allow, build=build, persistent=persistent).load()


def _bytes(file: BinaryIO, info: zipfile.ZipInfo, size: int) -> bytes:
    start, length = _position(file, info, size)
    if length > LARGEST_PICKLE:
        raise ValueError(f"its pickle has {length} bytes")
    file.seek(start)
    data = file.read(length)
    if len(data) != length:
        raise ValueError("it ends too early")
    return data


def _position(file: BinaryIO, info: zipfile.ZipInfo, size: int) -> tuple[int, int]:
    """Where an entry's bytes start, and how many there are.

    Raises ValueError for compressed ones, which torch never writes.
    """
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise ValueError("its archive is compressed: unpack it, or save it again with torch")
    if not 0 <= info.header_offset <= size:
        raise ValueError(f"its part {info.filename} is not where the archive says")
    file.seek(info.header_offset)
    head = file.read(30)
    if len(head) < 30 or head[:4] != ZIP:
        raise ValueError(f"its part {info.filename} is not where the archive says")
    start = info.header_offset + 30 + sum(struct.unpack("<HH", head[26:30]))
    if start + info.file_size > size:
        raise ValueError("it ends too early")
    return start, info.file_size


def legacy(data, at: int, stop: int, allow: Callable[[Name], None] = allow) -> object:
    """The content of a legacy file, or of a plain pickle, that lies in `data` (bytes or a mapped file) from
    `at` to `stop`.
    """
    machine = Machine(data, at, stop, allow=allow, build=build)
    content = machine.load()
    if content != LEGACY:
        return content
    if machine.load() != 1001:
        raise ValueError("it is of an unknown version of torch's legacy format")
    machine.load()  # sizes of C types where it was written
    storages: dict[str, Stored] = {}

    def persistent(identity: object) -> Stored:
        key, stored = _stored(identity)
        known = storages.setdefault(key, stored)
        if (known.size, known.dtype) != (stored.size, stored.dtype):
            raise ValueError(f"its part {key} is described twice, differently")
        return known

    machine.persistent = persistent
    content = machine.load()
    machine.persistent = None
    keys = machine.load()
    if (
        not isinstance(keys, list)
        or {str(key) for key in keys if isinstance(key, (str, int))} != storages.keys()
    ):
        raise ValueError("it does not hold the numbers that it refers to")
    for key in keys:
        machine.skip(8)  # how many numbers, said before
        storages[str(key)].start = machine.skip(storages[str(key)].size).start
    return content
