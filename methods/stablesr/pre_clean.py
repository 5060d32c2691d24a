"""Pre-cleaning: a badly damaged picture is restored by another method before StableSR works on it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..imaging.resize import resize

CLEANED = 2.0  # how much a method that cleans pictures enlarges them before they are reduced again

Restorer = Callable[[Tensor], Tensor]


def pre_clean(low: Tensor, clean: Restorer, reduction: float = 2.0) -> Tensor:
    """A badly damaged picture B 3 h w in 0..1 through another restorer (0..1, of any enlargement), then
    reduced bicubically.

    The reduction keeps the restorer's artefacts from being enlarged. Source: Wang et al. 2024, appendix C.
    """
    return resize(clean(low), scale=1 / reduction).clamp(0, 1)
