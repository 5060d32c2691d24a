"""Rows of SRDG's study that are known: harm and rise of each label, and plots of few of them."""

from __future__ import annotations

from priorsr.methods.evaluate.srdg_plot import strength_plot
from priorsr.methods.evaluate.srdg_study import effects
from priorsr.methods.imaging.images import read


def row(asked, h, probability, psnr, identity):
    return {
        "method": "a",
        "asked": asked,
        "h": h,
        "probability": probability,
        "psnr": psnr,
        "identity": identity,
    }


def test_harm_and_rise_are_told_for_each_label():
    rows = [{"method": "bicubic", "asked": "true", "h": ""}]
    rows += [
        row("true", h, p, db, 0.1)
        for h, p, db in ((0.0, 0.5, 25.0), (1.0, 0.6, 24.95), (2.0, 0.597, 24.85), (3.0, 0.8, 20.0))
    ]
    rows += [
        row("opposite", h, p, 25.0, far)
        for h, p, far in ((0.0, 0.5, 0.1), (1.0, 0.4, 0.103), (2.0, 0.9, 0.2))
    ]
    rows += [row("free", h, 0.5, 25.0, 0.1) for h in (0.0, 1.0)]
    true, opposite, free = effects(rows, ("method", "asked"))
    assert true == {
        "method": "a",
        "asked": "true",
        "free": 0.5,
        "strongest": 0.8,
        "rising": "yes",
        "harm at h": 2.0,
        "of": "psnr",
    }
    assert (opposite["rising"], opposite["harm at h"], opposite["of"]) == ("no", 1.0, "identity")
    assert (free["harm at h"], free["of"]) == ("none", "")


def test_one_scale_and_no_harm_can_be_drawn(tmp_path):
    rows = [
        {
            "scale": 4,
            "method": "bicubic",
            "asked": "true",
            "h": "",
            "probability": 0.4,
            "psnr": 20.0,
            "ssim": 0.5,
        }
    ]
    for asked in ("true", "opposite"):
        rows += [
            {"scale": 4, "method": "a", "asked": asked, "h": h, "probability": 0.4, "psnr": 21.0, "ssim": 0.6}
            for h in (0.0, 9.0)
        ]
    strength_plot(rows, effects(rows, ("scale", "method", "asked")), tmp_path / "plot.png")
    assert min(read(tmp_path / "plot.png").pixels.shape[-2:]) > 300
