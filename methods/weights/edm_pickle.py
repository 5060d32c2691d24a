"""EDM's .pkl checkpoints, read without running any of the source code that they carry."""

from __future__ import annotations

import io
import math
import os
import pickle
import re
import struct
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..nets.edm_precond import WRAPPER_SETTINGS

NETWORK = "torch_utils.persistence._reconstruct_persistent_obj"  # one argument: a dict with class_name, module_src (never looked at), state
MODULES = "torch.nn.modules.container.ModuleDict"
STORAGE = "torch.storage._load_from_bytes"
TENSOR = "torch._utils._rebuild_tensor_v2"
PARAMETER = "torch._utils._rebuild_parameter"
SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
DTYPE = "numpy.dtype"
RECORDED = {NETWORK, MODULES, STORAGE, TENSOR, PARAMETER, *SCALARS, DTYPE}
BUILT = {"collections.OrderedDict": OrderedDict, "dnnlib.util.EasyDict": dict, "dnnlib.EasyDict": dict}

WRAPPER = "EDMPrecond"
DAMAGE = (  # what reading a damaged file can raise, here and in torch.load
    pickle.UnpicklingError,
    struct.error,
    AssertionError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)


class EDMPickle(NamedTuple):
    """A checkpoint's tensors under their published keys, and its constructor arguments by name."""

    state: dict[str, Tensor]
    settings: dict[str, object]


class _Foreign(ValueError):
    """The file wants something called that PriorSR does not know to be data."""


class _Recorded:
    """What a pickle wants built, kept as data: the arguments and the state, with nothing built or called."""

    name = ""

    def __new__(cls, *args: object):
        self = object.__new__(cls)
        self.args, self.state = args, None
        return self

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    """Knows a few names by heart, and builds an inert record for each. Each reader has its own classes: a file can change only those."""

    def __init__(self, file: io.BufferedIOBase):
        super().__init__(file)
        self.known = {name: type("Recorded", (_Recorded,), {"name": name}) for name in RECORDED}

    def find_class(self, module: str, name: str) -> type:
        full = f"{module}.{name}"
        if full in self.known:
            return self.known[full]
        if full in BUILT:
            return BUILT[full]
        raise _Foreign(f"it asks for {full}")


def read_edm_pickle(path: str | os.PathLike) -> EDMPickle:
    """The averaged network of a checkpoint written by EDM: tensors on the CPU as stored, and what `build_edm` takes.

    Raises FileNotFoundError, or ValueError naming the file when it is damaged, holds another network, or would have to run
    code to be read. Layout: Karras et al. (2022), released code's persistent objects.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint at {path}")
    try:
        with path.open("rb") as file:
            content = _Reader(file).load()
        return _network(content)
    except _Foreign as error:
        raise ValueError(
            f"{path} is not read: {error}, and PriorSR never runs code from a file. Choose a checkpoint written by EDM"
        ) from error
    except DAMAGE as error:
        raise ValueError(
            f"cannot read {path}: {str(error) or type(error).__name__}. The file is damaged or no EDM checkpoint; fetch it again"
        ) from error


def _network(content: object) -> EDMPickle:
    if isinstance(content, dict):
        content = content.get("ema")
    if getattr(content, "name", "") != NETWORK:
        raise ValueError("it holds no network under the name ema")
    meta = content.args[0]
    if (kind := meta.get("class_name", WRAPPER)) != WRAPPER:
        raise ValueError(f"its network is {kind}, and only {WRAPPER} is supported")
    tensors: dict[str, Tensor] = {}
    _collect(content, "", tensors, set())
    return EDMPickle(tensors, _settings(meta["state"]))


def _settings(state: dict) -> dict[str, object]:
    """The arguments that the wrapper recorded, and what it kept of them, defaults included."""
    kept = {name: state[name] for name in WRAPPER_SETTINGS if name in state}
    return {name: _plain(value) for name, value in {**state.get("_init_kwargs", {}), **kept}.items()}


def _collect(record: object, prefix: str, tensors: dict[str, Tensor], seen: set[int]) -> None:
    """Add the tensors of a recorded module and of those inside it, under the keys of its state dict."""
    if getattr(record, "name", "") not in (NETWORK, MODULES) or id(record) in seen:
        raise ValueError(f"its part {prefix.rstrip('.') or 'ema'} is no module, or used twice")
    seen.add(id(record))
    state = record.args[0]["state"] if record.name == NETWORK else record.state
    temporary = state.get("_non_persistent_buffers_set", ())
    buffers = {k: v for k, v in state.get("_buffers", {}).items() if k not in temporary}
    for name, value in {**state.get("_parameters", {}), **buffers}.items():
        if value is not None:
            tensors[prefix + name] = _tensor(value, prefix + name)
    for name, child in state.get("_modules", {}).items():
        if child is not None:
            _collect(child, prefix + name + ".", tensors, seen)


def _tensor(record: object, key: str) -> Tensor:
    while getattr(record, "name", "") == PARAMETER:
        record = record.args[0]
    if getattr(record, "name", "") != TENSOR or getattr(record.args[0], "name", "") != STORAGE:
        raise ValueError(f"its {key} is no tensor")
    stored, offset, size, stride = record.args[:4]
    try:
        # from memory: torch's reader of tar archives, which was once unsafe, opens real files only
        storage = torch.load(io.BytesIO(stored.args[0]), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _Foreign(f"the bytes of {key} are pickled code or damaged") from error
    if not isinstance(storage, torch.storage.TypedStorage):
        raise ValueError(f"its {key} has no stored numbers")
    flat = torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage)
    if math.prod(size) > flat.numel():
        raise ValueError(f"its {key} is larger than what is stored of it")
    return flat.as_strided(size, stride, offset).clone(
        memory_format=torch.contiguous_format
    )  # as_strided refuses to leave the storage


def _plain(value: object, depth: int = 2) -> object:
    """A setting as a number, text or short list of them. Raises ValueError for anything else."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)) and depth:
        return [_plain(v, depth - 1) for v in value]
    if getattr(value, "name", "") in SCALARS:
        dtype, data = value.args
        if re.fullmatch(r"b1|[fiu][1248]", code := str(dtype.args[0])):
            return np.frombuffer(data, np.dtype(code).newbyteorder(dtype.state[1]), 1)[0].item()
    raise ValueError(
        f"one of its settings is {getattr(value, 'name', type(value).__name__)}, not a number or text"
    )
