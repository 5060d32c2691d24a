"""Attributes in nodes: what asks for them, and guidance whose classifiers' place in memory the host
manages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from comfy_api.latest import io

from ..methods.srdg.attributes import (
    AttributeClassifier,
    AttributeTarget,
    attribute_targets,
    load_attribute,
    parse_weights,
    parse_wishes,
    shipped_attributes,
)
from . import host

if TYPE_CHECKING:
    from .host.managed import ManagedClassifier

Attributes = io.Custom("PRIORSR_ATTRIBUTES")  # a tuple of managed classifiers, one an attribute
LABELS = "gender: 0 female, 1 male; glasses: 0 no eyeglasses, 1 eyeglasses; beard: 0 beard, 1 no beard"


def wanted_inputs() -> list[io.Input]:
    """What is wished for, with the meaning of the published classes."""
    return [
        io.String.Input(
            "attributes",
            default="",
            tooltip=(
                f"What the faces shall have, by name or number: gender=male, glasses=1. {LABELS}; "
                "others as their file says."
            ),
        ),
        io.String.Input(
            "weights", default="", tooltip="How much each attribute weighs, where not 1: gender=2, beard=0.5."
        ),
    ]


def wished(judges: Sequence[AttributeClassifier], attributes: str, weights: str) -> list[AttributeTarget]:
    return attribute_targets(judges, parse_wishes(attributes), parse_weights(weights))


def describe(wanted: Sequence[AttributeTarget]) -> str:
    """What the labels mean, a line each."""
    lines = (
        f"{w.classifier.attribute}: {w.classifier.classes[w.labels[0]]} (of {w.classifier.meaning}), "
        f"weight {w.weight:g}"
        for w in wanted
    )
    return "\n".join(lines) or "no attribute is asked for"


def classifiers_of(managed: Sequence[ManagedClassifier]) -> list[AttributeClassifier]:
    return [one.classifier for one in managed]


def load_classifier(name: str, attribute: str = "") -> AttributeClassifier:
    with host.loading():
        return load_attribute(host.weight_name(name, shipped_attributes()), attribute)
