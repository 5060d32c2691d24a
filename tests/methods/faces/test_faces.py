from __future__ import annotations

import torch

from priorsr.methods.evaluate.diffsr_study import Sweep
from priorsr.methods.imaging.resize import resize
from priorsr.methods.metrics.faces import FaceMetrics, exact_scale, markdown, reduced


def faces(count=3, size=64):
    generator = torch.Generator().manual_seed(0)
    return resize(torch.rand(count, 1, 8, 8, generator=generator), (size, size)).clamp(0, 1)


def test_exact_scales_reach_the_size_again():
    for scale in (2, 2.7, 4, 8):
        exact = exact_scale(64, scale)
        assert round(64 / exact) == round(64 / scale)
        assert tuple(reduced(faces(), exact).shape[-2:]) == (round(64 / scale),) * 2


def test_a_judge_restores_in_batches_with_a_seed_for_each_face():
    truth, seen = faces(5), []
    low = reduced(truth, 2)

    def restore(x, seeds):
        seen.append(list(seeds))
        return resize(x, (64, 64))

    restored, figures = FaceMetrics(truth).run(restore, low, batch=2)
    assert seen == [[0, 1], [2, 3], [4]]
    assert restored.shape == truth.shape
    assert figures["psnr"] > 25
    assert figures["consistency"] > 30
    assert 0 < figures["sharpness"] <= 1.1
    perfect = FaceMetrics(truth)(truth, low)
    assert perfect["mae"] == 0
    assert perfect["sharpness"] == 1


def test_tables_hold_every_figure_that_any_row_has():
    table = markdown(
        [{"scale": 2, "method": "a", "psnr": 30.123}, {"scale": 2, "method": "b", "psnr": 31.0, "ssim": 0.9}],
        ("scale", "method"),
    )
    assert table.splitlines()[0] == "| scale | method | psnr | ssim |"
    assert table.splitlines()[2] == "| 2 | a | 30.12 |  |"


def test_the_best_level_is_the_lowest_distance_and_the_highest_psnr():
    sweep = Sweep(2, {10: {"psnr": 20.0, "identity": 0.1}, 20: {"psnr": 25.0, "identity": 0.3}}, {})
    assert (sweep.best("psnr"), sweep.best("identity")) == (20, 10)
