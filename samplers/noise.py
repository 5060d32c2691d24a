"""The one place where random tensors are drawn."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor


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
        self._check(shape)
        return torch.stack(
            [
                torch.randn(tuple(shape[1:]), generator=g, dtype=torch.float32, device="cpu")
                for g in self._generators
            ]
        )

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """The next float32 draw of values in 0..1, 1 excluded, on the CPU."""
        self._check(shape)
        return torch.stack(
            [
                torch.rand(tuple(shape[1:]), generator=g, dtype=torch.float32, device="cpu")
                for g in self._generators
            ]
        )

    def poisson(self, rate: Tensor) -> Tensor:
        """The next Poisson draw for a rate of shape B ..., on the CPU in float32."""
        self._check(rate.shape)
        rate = rate.detach().float().cpu()
        return torch.stack(
            [torch.poisson(r, generator=g) for r, g in zip(rate, self._generators, strict=True)]
        )

    def child(self, name: str) -> Noise:
        """A stream of its own for `name`, seeded from this one's seeds and untouched by its draws."""
        return Noise([zlib.crc32(f"{s}/{name}".encode()) | (s & 0xFFFF_FFFF) << 32 for s in self.seeds])

    def _check(self, shape: Sequence[int]) -> None:
        if len(shape) < 1 or shape[0] != len(self.seeds):
            raise ValueError(
                f"noise of shape {tuple(shape)} asked of {len(self.seeds)} seeds: the first size must be "
                "the number of seeds"
            )
