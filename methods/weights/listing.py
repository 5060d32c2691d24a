"""What one weight file holds: the form of its tensors from the header, without containers and prefixes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Union

from .boundary import Incomplete, naming
from .edm_pickle import list_edm
from .entry import Derived, Entry, Unusable, read_tensors
from .flax import list_flax
from .safetensors_file import list_safetensors
from .torch_file import ZIP, list_torch

if TYPE_CHECKING:
    from torch import Tensor

State = dict[str, "Tensor"]
Entries = dict[str, Union[Entry, Derived, "Tensor"]]

CONTAINERS = (  # names under which published files keep their tensors, averages first
    "params_ema",
    "params-ema",
    "state_dict_ema",
    "ema",
    "params",
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "generator",
)
WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and torch.compile, before every key
NESTED = 6  # containers within each other
MOST_TENSORS = 50_000
GGUF = b"GGUF"
LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"  # torch's magic number, pickled


@dataclass(frozen=True)
class Listing:
    """A weight file's header: its tensors, still in the file, those that no network takes, and what it says
    of itself.
    """

    path: Path
    entries: Entries
    unusable: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    top: tuple[str, ...] = ()  # its outermost keys

    def read(self, keys: Entries | None = None) -> State:
        """The tensors (or those of `keys`, under their names there). Raises ValueError naming the file."""
        with naming(self.path):
            return read_tensors(self.path, self.entries if keys is None else keys)


def list_single(path: Path) -> Listing:
    """The header of one file, without prefixes and containers; no tensor is read.

    Raises ValueError naming the file when it is damaged or would have to run code to be read.
    """
    suffix = path.suffix.lower()
    with naming(path):
        _refuse_gguf(path)
        if suffix in (".safetensors", ".sft"):
            return unwrapped(path, *list_safetensors(path))
        if suffix in (".msgpack", ""):  # Flax names its checkpoints checkpoint_30
            return unwrapped(path, list_flax(path))
        if suffix == ".pkl" and not _is_torch(path):
            found = list_edm(path)
            return unwrapped(path, found.entries, {"settings": json.dumps(found.settings)})
        return unwrapped(path, list_torch(path))


def _refuse_gguf(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        if file.read(4) == GGUF:
            raise Incomplete(
                "it is a GGUF file, whose numbers are quantised: choose a safetensors file of the same model"
            )


def _is_torch(path: Path) -> bool:
    with path.open("rb", buffering=0) as file:
        start = file.read(len(LEGACY_START))
    return start.startswith(ZIP) or start == LEGACY_START


def unwrapped(path: Path, content: object, metadata: Mapping[str, str] | None = None) -> Listing:
    """A file's content without its containers and prefixes."""
    if not isinstance(content, Mapping):
        raise Incomplete(f"it holds {_named(content)}, not a state dict: choose a weight file")
    top = tuple(str(key)[:60] for key in list(content)[:20] if isinstance(key, (str, int)))
    content = _averaged(content)
    content = _unwrap(content, NESTED)
    tensors = {k: v for k, v in content.items() if isinstance(v, (Entry, Unusable))}
    if len(tensors) > MOST_TENSORS:
        raise ValueError(f"it holds {len(tensors)} tensors, more than any network")
    if not all(isinstance(key, str) for key in tensors):
        raise ValueError("its tensors are not named by text")
    tensors = _without_wrappers(tensors)
    entries: Entries = {k: v for k, v in tensors.items() if isinstance(v, Entry)}
    unusable = {k: v.reason for k, v in tensors.items() if isinstance(v, Unusable)}
    return Listing(path, entries, unusable, metadata or {}, top)


def _averaged(content: Mapping) -> Mapping:
    """A training checkpoint of SDE-SR as its average, which is a list beside the network; anything else as it
    is.
    """
    model = content.get("model")
    if not isinstance(model, Mapping) or not any("all_modules.0.W" in str(key)[:30] for key in model):
        return content
    from ..nets.srdg_released import averaged, is_score_state

    if not is_score_state(model):
        return content
    try:
        return averaged(content)
    except ValueError as error:
        raise Incomplete(str(error)) from error


def _named(content: object) -> str:
    name = getattr(content, "name", "") if not isinstance(content, (Entry, Unusable)) else "a tensor"
    return f"an object {name}" if name else type(content).__name__


def _unwrap(content: Mapping, depth: int) -> Mapping:
    """The innermost container that holds tensors, else the content itself."""
    if not depth:
        return content
    for name in CONTAINERS:
        inner = content.get(name)
        if isinstance(inner, Mapping) and _holds_tensors(found := _unwrap(inner, depth - 1)):
            return found
    return content


def _holds_tensors(content: Mapping) -> bool:
    return any(isinstance(v, (Entry, Unusable)) for v in content.values())


def _without_wrappers(tensors: Mapping[str, Entry | Unusable]) -> dict[str, Entry | Unusable]:
    """Without what wraps every key: DataParallel, torch.compile, an average with its count, a container in
    safetensors.
    """
    prefixes = (*WRAPPERS, *(f"{name}." for name in CONTAINERS if name not in ("model", "net", "generator")))
    while True:
        counted = {k: v for k, v in tensors.items() if k != "n_averaged"}
        shared = next((p for p in prefixes if counted and all(k.startswith(p) for k in counted)), None)
        if shared is None:
            return dict(tensors)
        tensors = {k.removeprefix(shared): v for k, v in counted.items()}


def without_prefix(listing: Listing, prefix: str) -> Listing:
    """Only what a prefix leads to, without it: a module of Lightning, among others."""
    return replace(
        listing,
        entries={k.removeprefix(prefix): v for k, v in listing.entries.items() if k.startswith(prefix)},
        unusable={k.removeprefix(prefix): v for k, v in listing.unusable.items() if k.startswith(prefix)},
    )
