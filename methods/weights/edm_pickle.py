"""EDM's .pkl checkpoints, read without running any of the source code that they carry."""

from __future__ import annotations

import mmap
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from .boundary import PickledCode, naming
from .entry import Entry, entry, read_tensors
from .pickle_values import Name, Record, Span
from .pickles import Machine
from .torch_file import ZIP, Stored, legacy

if TYPE_CHECKING:
    from torch import Tensor

# one argument: a dict with class_name, module_src (never looked at) and state
NETWORK = "torch_utils.persistence._reconstruct_persistent_obj"
MODULES = "torch.nn.modules.container.ModuleDict"
STORAGE = "torch.storage._load_from_bytes"
TENSOR = "torch._utils._rebuild_tensor_v2"
PARAMETER = "torch._utils._rebuild_parameter"
SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
DTYPE = "numpy.dtype"
RECORDED = {NETWORK, MODULES, STORAGE, TENSOR, PARAMETER, *SCALARS, DTYPE}
BUILT = {"collections.OrderedDict", "dnnlib.util.EasyDict", "dnnlib.EasyDict"}  # as plain dicts
DEEPEST = 32  # levels of modules

WRAPPER = "EDMPrecond"


class EDMPickle(NamedTuple):
    """A checkpoint's tensors under their published keys, and its constructor arguments by name."""

    state: dict[str, Tensor]
    settings: dict[str, object]


class EDMListing(NamedTuple):
    """The same with the tensors still in the file."""

    entries: dict[str, Entry]
    settings: dict[str, object]


def read_edm_pickle(path: str | os.PathLike) -> EDMPickle:
    """The averaged network of a checkpoint written by EDM: tensors on the CPU as stored, and what `build_edm`
    takes.

    Raises as `list_edm`.
    """
    with naming(path, "EDM checkpoint"):
        listing = list_edm(Path(path))
        return EDMPickle(read_tensors(Path(path), listing.entries), listing.settings)


def list_edm(path: Path) -> EDMListing:
    """What the averaged network of a checkpoint written by EDM holds.

    Raises PickledCode where it would have to run code to be read, ValueError and others of `DAMAGE` for
    damaged files. Layout: Karras et al. (2022), released code's persistent objects.
    """
    if not path.stat().st_size:
        raise ValueError("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _network(Machine(data, allow=_allow, build=_build).load(), data)


def _allow(name: Name) -> None:
    if name.full not in RECORDED and name.full not in BUILT:
        raise PickledCode(f"it asks for {name.full}")


def _build(name: str, args: tuple) -> object:
    if name not in BUILT:
        return Record(name, args)
    given = args[0] if args and isinstance(args[0], list) else []
    return {k: v for k, v in given if isinstance(k, str)}


def _network(content: object, data) -> EDMListing:
    if isinstance(content, dict):
        content = content.get("ema")
    if getattr(content, "name", "") != NETWORK:
        raise ValueError("it holds no network under the name ema")
    meta = cast(Any, content).args[0]
    if (kind := meta.get("class_name", WRAPPER)) != WRAPPER:
        raise ValueError(f"its network is {kind}, and only {WRAPPER} is supported")
    entries: dict[str, Entry] = {}
    _collect(content, "", entries, set(), data)
    return EDMListing(entries, _settings(meta["state"], data))


def _settings(state: dict, data) -> dict[str, object]:
    """The arguments that the wrapper recorded, and what it kept of them, defaults included."""
    from ..nets.edm_precond import WRAPPER_SETTINGS

    kept = {name: state[name] for name in WRAPPER_SETTINGS if name in state}
    return {name: _plain(value, data) for name, value in {**state.get("_init_kwargs", {}), **kept}.items()}


def _collect(record: Any, prefix: str, entries: dict[str, Entry], seen: set[int], data) -> None:
    """Add the tensors of a recorded module and of those inside it, under the keys of its state dict."""
    if getattr(record, "name", "") not in (NETWORK, MODULES) or id(record) in seen:
        raise ValueError(f"its part {prefix.rstrip('.') or 'ema'} is no module, or used twice")
    if prefix.count(".") > DEEPEST:
        raise ValueError(f"its modules are nested deeper than {DEEPEST} levels")
    seen.add(id(record))
    state = record.args[0]["state"] if record.name == NETWORK else record.state
    temporary = state.get("_non_persistent_buffers_set", ())
    buffers = {k: v for k, v in state.get("_buffers", {}).items() if k not in temporary}
    for name, value in {**state.get("_parameters", {}), **buffers}.items():
        if value is not None:
            entries[prefix + name] = _tensor(value, prefix + name, data)
    for name, child in state.get("_modules", {}).items():
        if child is not None:
            _collect(child, prefix + name + ".", entries, seen, data)


def _tensor(record: Any, key: str, data) -> Entry:
    if getattr(record, "name", "") == PARAMETER:
        record = record.args[0]
    if getattr(record, "name", "") != TENSOR or getattr(record.args[0], "name", "") != STORAGE:
        raise ValueError(f"its {key} is no tensor")
    stored, offset, size, stride = record.args[:4]
    (span,) = stored.args
    if not isinstance(span, Span):
        raise ValueError(f"its {key} has no stored numbers")
    if data[span.start : span.start + 4] == ZIP:  # EDM never writes one, and it could hold anything
        raise PickledCode(f"the bytes of {key} are an archive")
    storage = legacy(data, *span)
    if not isinstance(storage, Stored) or storage.start < 0:
        raise ValueError(f"its {key} has no stored numbers")
    if not storage.dtype:
        raise ValueError(f"its {key} holds no real numbers ({storage.what})")
    return entry(storage.dtype, size, storage, offset, stride)


def _plain(value: Any, data, depth: int = 2) -> object:
    """A setting as a number, text or short list of them. Raises ValueError for anything else."""
    if isinstance(value, Span):
        raise ValueError("one of its settings is bytes, not a number or text")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)) and depth:
        return [_plain(v, data, depth - 1) for v in value]
    if getattr(value, "name", "") in SCALARS:
        import numpy as np

        dtype, span = cast(Any, value).args
        if re.fullmatch(r"b1|[fiu][1248]", code := str(dtype.args[0])):
            return np.frombuffer(data[slice(*span)], np.dtype(code).newbyteorder(dtype.state[1]), 1)[0].item()
    raise ValueError(
        f"one of its settings is {getattr(value, 'name', type(value).__name__)}, not a number or text"
    )
