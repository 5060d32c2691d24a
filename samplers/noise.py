"""The one place where random tensors are drawn."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

LEAST = 16  # values that torch draws as one block; parts that end with whole blocks are those of one draw
PART = 2**21


class Noise:
    """Standard normal noise with one CPU generator per sample.

    A sample's noise depends on its own seed alone, never on its place in the batch or on the device.
    `child(name)` gives an independent stream, so that one more consumer does not shift the others.
    """

    def __init__(self, seeds: int | Sequence[int]):
        self.seeds = (seeds,) if isinstance(seeds, int) else tuple(int(s) for s in seeds)
        if not self.seeds:
            raise ValueError("Noise needs at least one seed")
        self._generators = [torch.Generator().manual_seed(s & 0xFFFF_FFFF_FFFF_FFFF) for s in self.seeds]

    def __call__(self, shape: Sequence[int]) -> Tensor:
        """The next float32 draw on the CPU; shape is B ... with B the number of seeds."""
        return self._drawn(shape, lambda out, at, g: out.normal_(generator=g))

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """The next float32 draw of values in 0..1, 1 excluded, on the CPU."""
        return self._drawn(shape, lambda out, at, g: out.uniform_(generator=g))

    def poisson(self, rate: Tensor) -> Tensor:
        """The next Poisson draw for a rate of shape B ..., on the CPU in float32."""
        self._check(rate.shape)
        rates = rate.detach().float().cpu().flatten()
        return self._drawn(rate.shape, lambda out, at, g: out.copy_(torch.poisson(rates[at], generator=g)))

    def _drawn(
        self, shape: Sequence[int], fill: Callable[[Tensor, slice, torch.Generator], object]
    ) -> Tensor:
        """What fill(part, its place, generator) draws: the same as all at once, in parts between which a host
        can end the work.
        """
        self._check(shape)
        drawn = torch.empty(tuple(shape), dtype=torch.float32, device="cpu")
        flat, size = drawn.view(-1), drawn[0].numel()
        for i, generator in enumerate(self._generators):
            stops = [*range(PART, size - LEAST + 1, PART), size]
            for start, stop in zip([0, *stops], stops, strict=False):
                place = slice(i * size + start, i * size + stop)
                fill(flat[place], place, generator)
        return drawn

    def child(self, name: str) -> Noise:
        """A stream of its own for `name`, seeded from this one's seeds and untouched by its draws."""
        return Noise([zlib.crc32(f"{s}/{name}".encode()) | (s & 0xFFFF_FFFF) << 32 for s in self.seeds])

    def _check(self, shape: Sequence[int]) -> None:
        if len(shape) < 1 or shape[0] != len(self.seeds):
            raise ValueError(
                f"noise of shape {tuple(shape)} asked of {len(self.seeds)} seeds: the first size must be "
                "the number of seeds"
            )
