"""The checkpoint of a training: written whole, read back with what it must agree with."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ..imaging.images import replacing
from .optimizers import Optimizers

CHECKPOINT = {"network", "average", "optimizer", "step", "identity"}


def restore(path: Path, network: nn.Module, average: nn.Module, optimizer: Optimizers, identity: dict) -> int:
    state = read_checkpoint(path)
    made = state["identity"]  # settings that came after it was made are not in it
    differing = sorted(k for k in identity if k in made and made[k] != identity[k])
    if differing:
        shown = ", ".join(f"{k}={made[k]}" for k in differing)
        raise ValueError(
            f"{path} was made with other settings ({shown}): repeat them, or choose another run folder"
        )
    try:
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is of another network or optimizer: choose another run folder, or repeat the command "
            f"that "
            "made it"
        ) from error
    return state["step"]


def read_checkpoint(path: Path) -> dict:
    """What a run folder's checkpoint holds: network, average, optimizer, step and identity.

    Raises ValueError naming a file that is damaged or something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        whole = (
            state.keys() >= CHECKPOINT
            and isinstance(state["step"], int)
            and isinstance(state["identity"], dict)
        )
    except OSError:
        raise
    except (
        Exception
    ):  # whatever the reader of pickled files makes of damage; its own advice is an unsafe switch
        whole = False
    if not whole:
        raise ValueError(
            f"{path} is damaged or no checkpoint of a training: delete it and begin again, or choose another "
            "run folder"
        )
    return state


def save(
    path: Path, network: nn.Module, average: nn.Module, optimizer: Optimizers, step: int, identity: dict
) -> None:
    state = {"network": network, "average": average, "optimizer": optimizer}
    content = {**{k: v.state_dict() for k, v in state.items()}, "step": step, "identity": identity}
    try:
        with replacing(path) as partial:
            torch.save(content, partial)
    except (OSError, RuntimeError) as error:  # torch says RuntimeError of a full disk
        reason = getattr(error, "strerror", None) or "the disk may be full"
        raise OSError(
            f"{path} cannot be written at step {step} ({reason}): make room and --resume, which goes on from "
            "the checkpoint before, if there is one"
        ) from error
