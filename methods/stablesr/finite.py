"""What to do where half precision does not hold the values of an autoencoder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..imaging.images import is_finite

log = logging.getLogger("priorsr")


def half_of(networks: Sequence[nn.Module]) -> list[torch.dtype]:
    """The precisions of networks, none where the first has no numbers or has them in float32."""
    kept = [next((p.dtype for p in network.parameters()), torch.float32) for network in networks]
    return kept if kept and kept[0] != torch.float32 else []


def finite(call: Callable[[], Tensor], networks: Sequence[nn.Module], what: str) -> Tensor:
    """What `call` gives, computed again with its networks in float32 where half precision overflowed, with a
    word in the log.

    what: of the picture, encoded or decoded. Raises FloatingPointError where float32 overflows too.
    """
    y = call()
    if y.is_meta or is_finite(y):  # there are no values where only memory is counted
        return y
    if kept := half_of(networks):
        log.warning("NaN from the autoencoder in %s, so this part is %s again in float32", kept[0], what)
        try:
            for network in networks:
                network.float()
            y = call()
        finally:
            for network, dtype in zip(networks, kept, strict=True):
                network.to(dtype)
    if not is_finite(y):
        raise FloatingPointError(
            f"NaN or infinite values where a picture was {what} by the autoencoder in full precision: is "
            "its file damaged?"
        )
    return y
