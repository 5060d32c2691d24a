"""A process that runs for weeks: no tensor more after any number of runs of any method."""

from __future__ import annotations

import gc

import every_method
import pytest
import torch
from every_method import RUNS, made, prepared

from priorsr.methods.registry import methods

WARM = 2  # runs until caches are filled
RUNS_MORE = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights")
    every_method.make(path)
    return path


def tensors():
    """How many there are on whatever device; only types are looked at, for some objects answer anything."""
    gc.collect()
    return sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())


@pytest.mark.slow
@pytest.mark.parametrize("name", list(methods()))
def test_runs_leave_no_tensor_behind(folder, name):
    """Planning, which measures on the meta device, included; the network is loaded anew each time."""
    counts = []
    for _ in range(WARM + RUNS_MORE):
        upscaler = prepared(folder, name)
        upscaler.plan((8, 10), RUNS[name].scale)
        made(upscaler, name, slice(0, 1))
        del upscaler
        counts.append(tensors())
    assert counts[-1] <= counts[WARM - 1], counts
