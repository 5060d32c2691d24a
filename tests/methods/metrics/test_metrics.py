from __future__ import annotations

import math

import pytest
import torch

from priorsr.methods.imaging.resize import resize
from priorsr.methods.metrics.benchmark import benchmark, bicubic
from priorsr.methods.metrics.compare import compare, consistency, describe, side_by_side
from priorsr.methods.metrics.fidelity import mae, prepare, psnr, psnr_uint8_wraparound, ssim


def test_known_values():
    a, b = torch.zeros(2, 3, 12, 12), torch.full((2, 3, 12, 12), 0.1)
    b[1] = 0.2
    assert psnr(a, b).tolist() == pytest.approx([20, 20 - 20 * math.log10(2)], abs=1e-5)
    assert mae(a, b).tolist() == pytest.approx([0.1, 0.2])
    constants = (2 * 0 * 0.1 + 0.01**2) / (
        0.1**2 + 0.01**2
    )  # structure and contrast are equal, only the means differ
    assert ssim(a, b)[0].item() == pytest.approx(constants)


def test_equal_images(photo):
    assert psnr(photo, photo).item() == math.inf
    assert ssim(photo, photo).item() == pytest.approx(1)
    assert mae(photo, photo).item() == 0


def test_ssim_is_that_of_the_definition(photo):
    a, b = photo[:, :1, :11, :11].double(), (photo[:, :1, :11, :11] ** 1.5).double()
    axis = torch.exp(-((torch.arange(11.0, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    w = torch.outer(axis, axis) / axis.sum() ** 2
    ma, mb = (w * a).sum(), (w * b).sum()
    va, vb, cov = (w * (a - ma) ** 2).sum(), (w * (b - mb) ** 2).sum(), (w * (a - ma) * (b - mb)).sum()
    expected = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))
    assert ssim(a, b).item() == pytest.approx(expected.item(), rel=1e-6)


def test_each_image_of_a_batch_is_judged_alone(photo):
    a, b = torch.cat([photo, photo.flip(3)]), torch.cat([photo**2, photo])
    for metric in (psnr, ssim, mae):
        torch.testing.assert_close(metric(a, b)[1:], metric(a[1:], b[1:]))


def test_uint8_arithmetic_overstates():
    a, b = torch.full((1, 1, 4, 4), 200, dtype=torch.uint8), torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    assert psnr_uint8_wraparound(a, b) > psnr(a.double(), b.double(), 255) + 10


def test_border_and_luma(photo):
    changed = photo.clone()
    changed[..., :2, :] = 0
    assert psnr(prepare(changed, border=2), prepare(photo, border=2)).item() == math.inf
    assert prepare(photo, "luma").shape[1] == 1
    with pytest.raises(ValueError, match="leaves nothing"):
        prepare(photo, border=30)
    with pytest.raises(ValueError, match="choose rgb or luma"):
        prepare(photo, "hsv")


def test_what_cannot_be_compared_is_refused(photo):
    with pytest.raises(ValueError, match="differ in size"):
        psnr(photo, photo[..., :-1])
    with pytest.raises(ValueError, match="NaN"):
        mae(photo, photo * float("inf"))
    with pytest.raises(ValueError, match="at least 11x11"):
        ssim(photo[..., :10], photo[..., :10])
    with pytest.raises(ValueError, match="cannot pair"):
        compare(photo.expand(2, -1, -1, -1), photo.expand(3, -1, -1, -1))
    with pytest.raises(ValueError, match="differ in size: 71x53 against 70x53"):
        compare(photo, photo[..., :-1])


def test_compare_takes_tiny_grey_and_single_reference(photo):
    rows = compare(torch.cat([photo, photo]) * 0.9, photo)
    assert len(rows) == 2
    assert rows[0] == pytest.approx(rows[1], rel=1e-9)
    tiny = compare(photo[:, :, :3, :3], photo[:, :1, :3, :3])
    assert tiny[0]["ssim"] is None
    assert "too small" in describe(tiny[0])
    assert "equal" in describe(compare(photo, photo)[0])


def test_consistency_is_high_for_what_agrees_and_low_for_what_does_not(photo):
    low = resize(photo, (26, 35))
    agreeing = consistency(resize(low, (53, 71)).clamp(0, 1), low)
    assert agreeing > 30
    assert consistency(1 - resize(low, (53, 71)).clamp(0, 1), low) < 10
    with pytest.raises(ValueError, match="smaller than its input"):
        consistency(low, photo)


def test_side_by_side_keeps_every_picture(photo):
    sheet = side_by_side([photo[0], photo[0]], height=106)
    assert sheet.shape == (3, 106, 142 + 4 + 142)
    assert torch.equal(sheet[:, ::2, :142:2], photo[0])


def test_benchmark_of_bicubic_on_a_smooth_picture_beats_its_half_size_error(photo):
    scores = {scale: benchmark(bicubic, [photo[0], photo[0, :1]], scale) for scale in (2, 4)}
    assert scores[2][0].psnr > scores[4][0].psnr > 20
    assert 0 < scores[4][0].ssim < scores[2][0].ssim <= 1
