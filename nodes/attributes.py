"""Attribute guidance whose classifiers' place in memory the host manages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from ..methods.srdg.attributes import AttributeClassifier, Wish
from ..methods.srdg.guidance import AttributeGuidance
from ..methods.srdg.method import SRDGSettings
from ..methods.srdg.view import VIEWS
from .memory import gradient_bytes

if TYPE_CHECKING:
    from .host_model import ManagedClassifier


class ManagedAttributes(AttributeGuidance):
    """Guidance of any prior of pictures in -1..1; as_sampler loads `models` for the run, with room for `memory`."""

    def __init__(self, managed: Sequence[ManagedClassifier], wanted: Sequence[Wish], form: str, settings: SRDGSettings):
        window = (settings.last, settings.first)
        super().__init__(wanted, settings.h, form, settings.limit, window, view=VIEWS[settings.view])
        asked = [wish.classifier for wish in wanted]
        self.models = tuple(m.patcher for m in managed if any(m.classifier is c for c in asked))

    def memory(self, x: Tensor) -> int:
        self.begin(x, ())  # complains before anything is loaded
        return attribute_bytes([wish.classifier for wish in self.wanted], len(x))


def attribute_bytes(classifiers: Sequence[AttributeClassifier], count: int) -> int:
    """What the gradients of classifiers need beside their weights for so many pictures at once."""
    sides = [(c.network, c.network.config.image_size) for c in classifiers]
    return sum(gradient_bytes(network, (count, 3, side, side)) for network, side in sides)
