"""What tests of trainings ask of any of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from priorsr.methods.train.loop import fit


def weights_of(network):
    return torch.cat([p.flatten() for p in network.state_dict().values()])


def interrupted(work, settings, run, after):
    """A training cut off after so many steps."""
    calls = []

    def loss(network, batch):
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return work.loss(network, batch)

    with pytest.raises(KeyboardInterrupt):
        fit(replace(work, loss=loss), settings, run, progress=False)
