"""Tensors that are still in their file: what a header says of them, checked, and the reading of those that
are wanted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

BYTES = {  # of one number
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint64": 8,
    "uint32": 4,
    "uint16": 2,
    "uint8": 1,
    "bool": 1,
}
MOST_AXES = 8
LARGEST = 1 << 40  # numbers of a tensor
SLACK = 64 << 20  # tensors may be larger than a file by this, where it repeats numbers
EXCESS = 4  # and by this factor, as views of each other


class Unusable(NamedTuple):
    """A tensor that no network here takes, and why."""

    reason: str


@dataclass
class Storage:
    """Where numbers lie in a file, in bytes; `start` may be known only later.

    path: the file, where it is another one than that whose header was read.
    """

    size: int
    start: int = -1
    path: Path | None = None


@dataclass(frozen=True)
class Entry:
    """A tensor of a file: its storage, and how it lies in there, in numbers.

    Has what of a Tensor tells its form.
    """

    dtype: str
    shape: tuple[int, ...]
    storage: Storage
    offset: int = 0
    stride: tuple[int, ...] = ()

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def mT(self) -> Entry:
        return self.permute(*range(self.ndim - 2), self.ndim - 1, self.ndim - 2)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * BYTES[self.dtype]

    @property
    def span(self) -> tuple[int, int]:
        """From which byte of the file to which its numbers lie."""
        first = self.storage.start + self.offset * BYTES[self.dtype]
        if not self.nbytes:
            return first, first
        last = sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        return first, first + (last + 1) * BYTES[self.dtype]

    def permute(self, *axes: int) -> Entry:
        return replace(
            self, shape=tuple(self.shape[i] for i in axes), stride=tuple(self.stride[i] for i in axes)
        )

    def widened(self) -> Entry:
        """With two more axes of length 1, as a 1 x 1 convolution has them."""
        return replace(self, shape=(*self.shape, 1, 1), stride=(*self.stride, 1, 1))

    def narrowed(self) -> Entry:
        """Without two last axes of length 1, as a linear layer has it."""
        return replace(self, shape=self.shape[:-2], stride=self.stride[:-2])


@dataclass(frozen=True)
class Derived:
    """A tensor that is made of others, which are still in their files. make: their numbers to its own."""

    dtype: str
    shape: tuple[int, ...]
    parts: tuple[Entry | Derived, ...]
    make: Callable[[Sequence[Tensor]], Tensor]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * BYTES[self.dtype]

    def widened(self) -> Derived:
        """With two more axes of length 1, as a 1 x 1 convolution has them."""
        return Derived(self.dtype, (*self.shape, 1, 1), (self,), lambda parts: parts[0][..., None, None])

    def narrowed(self) -> Derived:
        """Without two last axes of length 1, as a linear layer has it."""
        return Derived(self.dtype, self.shape[:-2], (self,), lambda parts: parts[0][..., 0, 0])


InFile = Entry | Derived


def joined(parts: Sequence[InFile]) -> Derived:
    """Tensors one after the other along the first axis. Raises ValueError for shapes that do not fit."""
    import torch

    if len({part.shape[1:] for part in parts}) != 1 or not all(part.shape for part in parts):
        raise ValueError(f"tensors of {', '.join(str(part.shape) for part in parts)} cannot be joined")
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    return Derived(parts[0].dtype, shape, tuple(parts), lambda found: torch.cat(tuple(found)))


def entry(dtype: str, shape: object, storage: Storage, offset: object = 0, stride: object = None) -> Entry:
    """A tensor as a file describes it. Raises ValueError where that is impossible or leaves its storage."""
    lengths = _numbers(shape, "size")
    if math.prod(lengths) > LARGEST:
        raise ValueError(f"a tensor of {lengths} is larger than any network's")
    steps = contiguous(lengths) if stride is None else _numbers(stride, "stride")
    (first,) = _numbers([offset], "offset")
    if len(lengths) != len(steps):
        raise ValueError(f"a tensor of {lengths} cannot have the strides {steps}")
    if 0 not in lengths:
        last = first + sum((n - 1) * step for n, step in zip(lengths, steps, strict=True))
        if (last + 1) * BYTES[dtype] > storage.size:
            raise ValueError(f"a tensor of {lengths} is larger than what is stored of it")
    return Entry(dtype, lengths, storage, first, steps)


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a tensor that lies in one piece."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def _numbers(values: object, what: str) -> tuple[int, ...]:
    if not isinstance(values, (list, tuple)) or len(values) > MOST_AXES:
        raise ValueError(f"the {what} of a tensor is no short list of numbers")
    if not all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= LARGEST for v in values):
        raise ValueError(f"the {what} of a tensor holds something else than numbers from 0 on")
    return tuple(values)


def read_tensors(path: Path, entries: Mapping[str, InFile | Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU as stored; numbers that several share are read once.

    What is a tensor already is passed on.

    Raises ValueError where they would be far larger than the file, or it became shorter.
    """
    files: dict[Path, list[Entry]] = {}
    for value in entries.values():
        for leaf in _leaves(value):
            files.setdefault(leaf.storage.path or path, []).append(leaf)
    found: dict[int, Tensor] = {}
    for file, leaves in files.items():
        check_total(sum(leaf.nbytes for leaf in leaves), file.stat().st_size)
        found |= _read_file(file, {id(leaf): leaf for leaf in leaves})
    return {key: _made(value, found) for key, value in entries.items()}


def _leaves(value: InFile | Tensor) -> Iterator[Entry]:
    if isinstance(value, Entry):
        yield value
    elif isinstance(value, Derived):
        for part in value.parts:
            yield from _leaves(part)


def _made(value: InFile | Tensor, found: Mapping[int, Tensor]) -> Tensor:
    if isinstance(value, Entry):
        return found[id(value)]
    if isinstance(value, Derived):
        return value.make([_made(part, found) for part in value.parts]).contiguous()
    return value


def _read_file(path: Path, waiting: Mapping[int, Entry]) -> dict[int, Tensor]:
    import torch

    found: dict[int, Tensor] = {}
    with path.open("rb", buffering=0) as file:
        for first, last, keys in _runs((*e.span, k) for k, e in waiting.items()):
            numbers = torch.empty(last - first, dtype=torch.uint8, device="cpu")
            _read_into(file, first, memoryview(numbers.numpy().data))
            for key in keys:
                found[key] = _view(waiting[key], numbers, first)
    return found


def check_total(size: int, file_size: int) -> None:
    """Raises ValueError for tensors of `size` bytes that a file of that size cannot mean."""
    if size > EXCESS * file_size + SLACK:
        raise ValueError(f"its tensors take {size} bytes, and the file has {file_size}")


def _runs(spans: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, int, list[int]]]:
    """Spans that overlap, together: first byte, last byte, names."""
    first = last = -1
    names: list[int] = []
    for start, stop, name in sorted(spans):
        if names and start < last:
            last = max(last, stop)
            names.append(name)
            continue
        if names:
            yield first, last, names
        first, last, names = start, stop, [name]
    if names:
        yield first, last, names


def _read_into(file, first: int, buffer: memoryview) -> None:
    file.seek(first)
    while buffer:
        count = file.readinto(buffer)
        if not count:
            raise ValueError("it ends too early")
        buffer = buffer[count:]


def _view(entry: Entry, numbers: Tensor, first: int) -> Tensor:
    import torch

    dtype = getattr(torch, entry.dtype, None)
    if dtype is None:
        raise ValueError(f"it holds {entry.dtype} numbers, which this torch does not know: update torch")
    start, stop = (at - first for at in entry.span)
    inside = numbers[start:stop]
    if start % BYTES[entry.dtype]:  # a view of another type must start at a multiple of its size
        inside = inside.clone()
    flat = inside.view(dtype)
    return flat.as_strided(entry.shape, entry.stride, flat.storage_offset()).contiguous()
