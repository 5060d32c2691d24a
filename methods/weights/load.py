"""Networks from weight files: recognised and built from the header, then filled; and saved."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .boundary import building, naming
from .construct import at_most, without_numbers
from .entry import Derived, Entry
from .file_settings import read_json
from .foreign import translated
from .kinds import BY_ID, Kind, find_kind, find_parts
from .layouts import Shapes
from .listing import Listing, State, without_prefix
from .read import list_file

if TYPE_CHECKING:
    import torch
    from torch import nn

LIGHTNING = ("model.", "net.", "network.", "generator.", "diffusion_model.")  # of a module's one network
LARGEST_COUNT = 1024  # a number within a key counts layers, blocks or sides of maps
LARGEST_VALUE = 1 << 20  # bytes of a tensor that a network is built from


@dataclass(frozen=True)
class Weights:
    """A loaded network with what its file says of itself."""

    kind: str
    network: Any  # of the class that its kind builds
    path: Path
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def scale(self) -> int | None:
        return scale_of(self.path, self.metadata)

    def json(self, key: str) -> dict[str, Any]:
        """A dict that the metadata carries as JSON, else an empty one. Raises ValueError naming the file."""
        with naming(self.path):
            return read_json(self.metadata, key)


@lru_cache(4096)
def _kind(path: Path, size: int, changed: int) -> str | None:
    listing = _recognisable(list_file(path))
    found = find_kind(listing.entries, listing.metadata)
    return found and found.id


def fits(path: Path, kinds: Collection[str]) -> bool:
    """Whether a file is of one of some kinds, by its header, which is read once for as long as the file is
    the same; files in a folder named as a kind are of that one. One that cannot be read passes: loading it
    tells what is wrong.
    """
    if not kinds or path.parent.name in BY_ID:
        return not kinds or path.parent.name in kinds
    try:
        at = path.stat()
        return _kind(path, at.st_size, at.st_mtime_ns) in kinds
    except (OSError, ValueError):
        return True


@dataclass(frozen=True)
class Description:
    """What a file is by its header. problem: why it cannot be used, or nothing."""

    kind: Kind | None
    parts: tuple[Kind, ...]  # the networks that it holds, where they could be several
    scale: int | None
    dtype: str
    problem: str = ""
    licence: str = ""


def scale_of(path: Path, metadata: Mapping[str, str]) -> int | None:
    """The scale in a file's metadata, else that of a name such as srcnn_x3.pth; None where neither tells."""
    named = re.search(r"_x(\d+)$", path.stem)
    text = metadata.get("scale") or (named and named[1]) or ""
    return int(text) if re.fullmatch("[0-9]{1,4}", text) else None


def load(path: str | os.PathLike, kind: str | None = None) -> Weights:
    """Load a network in evaluation mode on the CPU. `kind` is what the caller needs; None takes any known
    one.

    Of a file that holds several networks, only the tensors of the one that is wanted are read. Raises
    FileNotFoundError, or ValueError naming the file when it is of another kind, incomplete, damaged, or would
    have to run code to be read.
    """
    listing = _recognisable(list_file(path))
    found = _choose(listing, kind)
    network, wanted = _built(listing, found)
    state = replace(listing, entries=wanted).read()
    return Weights(found.id, fill(network, state, str(path)).eval(), Path(path), dict(listing.metadata))


def describe(path: str | os.PathLike, whole: bool = False) -> Description:
    """What a file is and whether it can be used, by its header alone.

    whole: it is known to fit, so that no network is built to see. Raises as `load` where the header cannot
    be read.
    """
    listing = _recognisable(list_file(path))
    found = find_kind(listing.entries, listing.metadata)
    parts = tuple(find_parts(listing.entries))
    dtypes = sorted({e.dtype for e in listing.entries.values() if isinstance(e, (Entry, Derived))})
    floating = [d for d in dtypes if "float" in d]
    problem = ""
    try:
        for kind in parts or [_choose(listing, None)]:
            if not whole:
                _built(listing, kind)
    except ValueError as error:
        problem = str(error)
    metadata = listing.metadata
    licence = metadata.get("licence") or metadata.get("license") or (found.licence if found else "")
    scale = scale_of(listing.path, metadata)
    return Description(found, parts, scale, ", ".join(floating or dtypes), problem, licence)


def network_of(kind: str | None, state: Shapes, name: str = "the state") -> nn.Module:
    """The network of a kind, without numbers, for tensors under their published names.

    Raises ValueError as `load`.
    """
    listing = Listing(Path(name), dict(state))
    return _built(listing, _choose(listing, kind))[0]


def _recognisable(listing: Listing) -> Listing:
    """Under the names that the kinds know: Flax's are translated, a Lightning module's prefix goes."""
    if any("/" in key for key in listing.entries):
        from ..nets.srdg_released import from_flax

        with building(listing.path, "Flax"):
            return replace(listing, entries=from_flax(listing.entries))
    listing = translated(listing)
    if find_kind(listing.entries, listing.metadata) is None:
        for prefix in LIGHTNING:
            inner = without_prefix(listing, prefix)
            if find_kind(inner.entries, inner.metadata) is not None:
                return inner
    return listing


def _choose(listing: Listing, wanted: str | None) -> Kind:
    """The kind that is wanted of a file, or that of the whole file.

    Raises ValueError that says what it holds instead.
    """
    found = find_kind(listing.entries, listing.metadata)
    if wanted is not None and wanted in {part.id for part in find_parts(listing.entries)}:
        return BY_ID[wanted]
    hint = _hint(wanted)
    if found is None:
        first = ", ".join([*listing.top[:8], *(k for k in list(listing.entries)[:3] if k not in listing.top)])
        bad = "".join(f"; its {key} is {reason}" for key, reason in list(listing.unusable.items())[:1])
        raise ValueError(
            f"{listing.path} holds no network that PriorSR knows (first keys: {first or 'none'}{bad}){hint}"
        )
    if wanted not in (None, found.id):
        raise ValueError(
            f"{listing.path} holds {found.title} weights where {wanted} weights are needed{hint}"
        )
    if found.build is None:
        raise ValueError(
            f"{listing.path} holds the several networks of a {found.title} file: choose a file of one"
        )
    return found


def _hint(wanted: str | None) -> str:
    example = BY_ID[wanted].example if wanted else ""
    return f": choose a file such as {example}" if example else ": choose another file"


def _built(listing: Listing, kind: Kind) -> tuple[nn.Module, dict]:
    """The network without numbers, and the entries that belong in it. Raises ValueError naming the file."""
    import torch

    with building(listing.path, kind.title):
        entries = kind.select(listing.entries)
        _check_counts(entries)
        entries = {**entries, **_values(listing, entries, kind)}
        with torch.device("meta"), without_numbers(), at_most(4 * len(entries) + 1000):
            network = cast(Callable, kind.build)(entries, listing.metadata)
    wrong = _misfit(network, entries)
    if wrong:
        bad = next(iter(listing.unusable.items()), None)
        raise ValueError(
            f"{listing.path} does not fit {kind.title}: {wrong}. Is it the right file, and complete?"
            + (f" Its {bad[0]} is {bad[1]}" if bad else "")
        )
    return network, entries


def _check_counts(entries: Shapes) -> None:
    """Raises ValueError for keys that would have more layers counted than any network has."""
    for key in entries:
        for number in re.findall(r"(?:^|[._])(\d+)(?=[._]|$)", key):
            if len(number) > 4 or int(number) > LARGEST_COUNT:
                raise ValueError(f"its key {key[:60]} counts further than any network")


def _values(listing: Listing, entries: Mapping, kind: Kind) -> State:
    """The few small tensors whose numbers say how a network is built."""
    wanted = {k: entries[k] for k in kind.values if k in entries and hasattr(entries[k], "storage")}
    if sum(e.nbytes for e in wanted.values()) > LARGEST_VALUE:
        raise ValueError(f"its {', '.join(wanted)} are larger than any network's")
    return listing.read(wanted) if wanted else {}


def _misfit(network: nn.Module, state: Shapes) -> str:
    """Missing, surplus and misshapen keys, in words."""
    wanted = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    problems = [
        ("missing", sorted(wanted.keys() - state.keys())),
        ("surplus", sorted(state.keys() - wanted.keys())),
        ("misshapen", sorted(k for k in wanted.keys() & state.keys() if wanted[k] != tuple(state[k].shape))),
    ]
    return "; ".join(
        f"{len(keys)} {what} ({', '.join(keys[:3])}{' ...' if len(keys) > 3 else ''})"
        for what, keys in problems
        if keys
    )


def fill(network: nn.Module, state: State, name: str) -> nn.Module:
    """Assign a state dict, in float32 or the precision that is wanted now (precision.loaded_in).

    Raises ValueError that lists what is missing, surplus, misshapen or no real number.
    """
    from .. import precision

    if wrong := _misfit(network, state):
        raise ValueError(
            f"{name} does not fit {type(network).__name__}: {wrong}. Is it the right file, and complete?"
        )
    wanted = network.state_dict()
    precise = {path for path, module in network.named_modules() if precision.keeps_float32(module)}
    filled = {}
    chosen = precision.wanted()
    for key, value in state.items():
        if value.is_floating_point() != wanted[key].is_floating_point() or value.is_complex():
            raise ValueError(
                f"{name}: its {key} holds {value.dtype} numbers, where {wanted[key].dtype} belong"
            )
        own = value.float() if key.rpartition(".")[0] in precise else value.to(chosen)
        filled[key] = own if value.is_floating_point() else value
        if not _finite(filled[key]):
            raise ValueError(f"{name}: its {key} holds numbers that are not finite: the file is damaged")
    network.load_state_dict(filled, assign=True)
    return network.requires_grad_(False)


def _finite(value: torch.Tensor) -> bool:
    if not value.is_floating_point() or not value.numel():
        return True
    low, high = value.aminmax()  # no mask of the size of the tensor
    return bool(low.isfinite() and high.isfinite())


def save(
    network: nn.Module,
    path: str | os.PathLike,
    metadata: Mapping[str, object],
    dtype: torch.dtype | None = None,
) -> Path:
    """Write a network as safetensors in one step, in `dtype` if given; metadata becomes text."""
    from safetensors.torch import save_file

    from ..imaging.images import replacing

    path = Path(path)
    tensors = {k: v.detach().to("cpu", dtype).contiguous() for k, v in network.state_dict().items()}
    with replacing(path) as partial:
        save_file(tensors, partial, {k: str(v) for k, v in metadata.items()})
    return path
