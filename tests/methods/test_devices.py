"""Every method on a pretended device: torch's meta device computes nothing, but keeps its tensors apart from
the processor's, has no values to wait for, and is watched for float64, which some devices lack.
"""

from copy import deepcopy

import pytest
import torch
from stablesr_tiny import context, tiny
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from priorsr.methods.dpi import upscaler as dpi
from priorsr.methods.imaging import canvas
from priorsr.methods.registry import method_named
from priorsr.methods.stablesr import method as stablesr
from priorsr.methods.stablesr.method import StableSRSettings
from priorsr.methods.stablesr.upscaler import StableSRUpscaler

AWAY = torch.device("meta")
RUNS = {  # files and settings of a few network calls
    "dps": ({"prior": "face64"}, {"respacing": "4"}),
    "dpi": ({}, {"steps": 6}),
    "srdg": ({}, {"steps": 4}),
    "ddrm": ({}, {"respacing": "4"}),
    "ddnm": ({}, {"respacing": "4"}),
    "ilvr": ({}, {"respacing": "4"}),
    "repaint": ({}, {"respacing": "4", "repeats": 1}),
    "srcnn": ({}, {}),
}


class Watch(TorchDispatchMode):
    """Raises TypeError where float64 comes to the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor) and leaf.is_meta and leaf.dtype == torch.float64:
                raise TypeError(f"float64 on the device by {func}")
        return out


@pytest.fixture
def unchecked(monkeypatch):
    """Without what looks at a picture's values once, before the first step."""
    from priorsr.methods.srdg import method as srdg
    from priorsr.methods.visionrefine import srcnn

    for module in (canvas, stablesr, srcnn, srdg):
        monkeypatch.setattr(module, "check_pixels", lambda x, name="": x)
    monkeypatch.setattr(dpi, "ood_warnings", lambda prior, low, scale: [])


def taken(upscaler) -> tuple[int, int]:
    """Network calls that a run on the device takes, and those that were planned."""
    calls = upscaler.plan((16, 16), 4.0).calls
    for network in upscaler.networks:
        network.to(AWAY)
    done = []
    low = torch.empty(1, 3, 16, 16, device=AWAY)
    with Watch():
        try:
            result = upscaler.enlarge(low, 4.0, [0], lambda *step, **more: done.append(1), lambda text: None)
            assert result.device == AWAY
        except NotImplementedError as error:  # the one look at the values, after the last step
            if "Cannot copy out of meta tensor" not in str(error):
                raise
    return len(done), calls


@pytest.mark.parametrize("name", RUNS)
def test_no_step_mixes_devices_waits_or_needs_float64(unchecked, name):
    files, values = RUNS[name]
    done, calls = taken(method_named(name).prepare(files, values=values))
    assert done == calls


def test_no_step_of_stablesr_mixes_devices_waits_or_needs_float64(unchecked):
    settings = StableSRSettings(steps=4, tile=64, overlap=32, vae_tile=0, color="none")
    model = deepcopy(tiny())  # which others use
    done, calls = taken(StableSRUpscaler(model, context().to(AWAY), settings))
    assert done == calls
