"""Strips of a large picture give what the whole gives."""

from __future__ import annotations

import pytest
import torch

from priorsr.methods.degrade.steps import Blur
from priorsr.methods.imaging import strips
from priorsr.methods.imaging.images import is_finite
from priorsr.methods.imaging.resize import resize
from priorsr.methods.metrics.fidelity import mae, psnr, ssim
from priorsr.methods.stablesr.color_fix import METHODS, color_fix


def pictures():
    draw = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 61, 47, generator=draw), torch.rand(2, 3, 61, 47, generator=draw)


def both(monkeypatch, work):
    whole = work(*pictures())
    monkeypatch.setattr(strips, "VALUES", 2 * 3 * 47 * 7)  # seven rows, and five at the end
    return whole, work(*pictures())


WORK = {
    **{name: lambda a, b, name=name: color_fix(a, b[..., ::2, ::2], name) for name in METHODS},
    "blur": lambda a, b: Blur(kernel=9, sigma=2.0, sigma_y=1.0, angle=0.4)(a[0], (61, 47)),
    "psnr": psnr,
    "ssim": ssim,
    "mae": mae,
}


@pytest.mark.parametrize("name", WORK)
def test_strips_give_what_the_whole_gives(monkeypatch, name):
    whole, parts = both(monkeypatch, WORK[name])
    near = 1e-5 if name.startswith("lab") else 1e-6  # in the dark a cube root magnifies what is rounded
    torch.testing.assert_close(parts, whole, rtol=1e-6, atol=near)


def test_what_is_not_finite_is_found_in_every_strip(monkeypatch):
    x, _ = pictures()
    monkeypatch.setattr(strips, "VALUES", 300)
    assert is_finite(x)
    for row in (0, 30, 60):
        broken = x.clone()
        broken[1, 2, row, 46] = float("nan")
        assert not is_finite(broken)


def test_what_has_a_gradient_keeps_it():
    x = pictures()[0].requires_grad_()
    laid = strips.laid(x.split(7, -2), 61)
    assert torch.equal(laid, x)
    (gradient,) = torch.autograd.grad(laid.square().sum(), x)
    torch.testing.assert_close(gradient, 2 * x.detach())  # torch's own tolerance


def test_strong_reductions_of_large_pictures_are_those_of_a_column(monkeypatch):
    """Bands of fewer outputs, of which each sees many inputs, give what one band gives; within 1e-6."""
    x = torch.rand(1, 1, 4000, 2, generator=torch.Generator().manual_seed(0))
    cut = resize(x, (160, 2))
    monkeypatch.setattr("priorsr.methods.imaging.resize.REACH", 10**6)
    torch.testing.assert_close(cut, resize(x, (160, 2)), rtol=0, atol=1e-6)
