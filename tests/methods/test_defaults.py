"""Global defaults of torch that other code sets change no result."""

from __future__ import annotations

import pytest
import torch

from priorsr.methods.registry import method_named

RUNS = {
    "bicubic": {},
    "srcnn": {},
    "diffsr": {"steps": 2},
    "dpi": {"steps": 2},
    "srdg": {"steps": 2},
    "ddrm": {"respacing": "2"},
    "ddnm": {"respacing": "2"},
    "ilvr": {"respacing": "2"},
    "repaint": {"respacing": "2", "repeats": 2},
    "no-prior": {},
}


@pytest.mark.parametrize("name", RUNS)
def test_defaults_of_others_count_for_nothing(name):
    low = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def run():
        return method_named(name).prepare(values=RUNS[name])(low, 4.0)

    expected = run()
    try:
        torch.set_default_dtype(torch.float64)
        wide = run()
        assert torch.get_default_dtype() == torch.float64
        torch.set_default_device("meta")
        elsewhere = run()
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    torch.testing.assert_close(wide, expected, rtol=0, atol=1e-3)
    torch.testing.assert_close(elsewhere, expected, rtol=0, atol=1e-3)
