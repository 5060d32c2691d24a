"""Trainings that go on from the weights of an earlier one (`--init`)."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from torch import nn

from .. import weights
from ..settings import option

FREE = ("image_size", "dropout")  # of a network's settings, what its weights do not depend on


def init_option(what: str = "they must be of this network") -> Any:
    """The field `init` of a training's recipe."""
    return option(
        "",
        "Weights of an earlier training to go on from (a file, or a name in a model folder), with a "
        "course and "
        f"learning rate of their own; {what}. Not needed any more once the run has a checkpoint",
    )


def begin_from(network: nn.Module, file: str, kind: str) -> weights.Weights | None:
    """Fill a network with the weights of `file`, where one is named; returns what was read.

    Raises FileNotFoundError, or ValueError that names the file and the settings in which it differs.
    """
    if not file:
        return None
    found = weights.load(weights.locate(file), kind)
    check_settings(file, getattr(found.network, "config", None), getattr(network, "config", None))
    try:
        network.load_state_dict(found.network.state_dict())
    except RuntimeError as error:
        raise ValueError(f"{file} is of a network of other sizes: {CURE}") from error
    return found


CURE = "repeat the settings that it was trained with, or leave --init out"


def check_settings(file: str, found: Any, wanted: Any) -> None:
    """Raises ValueError where two networks' settings differ in what their weights depend on."""
    if found is None or wanted is None:
        return
    differing = [
        f"{f.name} {getattr(found, f.name)}"
        for f in fields(wanted)
        if f.name not in FREE and getattr(found, f.name) != getattr(wanted, f.name)
    ]
    if differing:
        raise ValueError(f"{file} is of a network of other settings ({', '.join(differing)}): {CURE}")
