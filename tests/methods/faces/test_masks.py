from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from priorsr.methods.faces.align import template
from priorsr.methods.faces.detect import Faces
from priorsr.methods.faces.enhance import PAPER, RELEASED, EnhanceSettings, enhance_outside, filtered
from priorsr.methods.faces.filters import dilate, erode, gaussian_taps, smooth
from priorsr.methods.faces.masks import (
    CLASSES,
    MaskSettings,
    box_mask,
    classes,
    face_mask,
    feather,
    grow,
    hull_mask,
    part_mask,
)


def test_filters_follow_opencv():
    assert gaussian_taps(3).tolist() == [0.25, 0.5, 0.25]
    assert gaussian_taps(9).sum() == pytest.approx(1)
    assert (gaussian_taps(9)[4] / gaussian_taps(9)[3]).log().item() == pytest.approx(0.5 / 1.7**2)
    with pytest.raises(ValueError, match="4 taps has no centre"):
        gaussian_taps(4)
    x = torch.rand(1, 2, 6, 7, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
    kernel = torch.outer(gaussian_taps(3), gaussian_taps(3)).float()[None, None].expand(2, 1, 3, 3)
    torch.testing.assert_close(
        smooth(x, gaussian_taps(3)), torch.nn.functional.conv2d(padded, kernel, groups=2)
    )
    assert smooth(torch.ones(1, 1, 1, 2), gaussian_taps(9)).tolist() == [
        [[[pytest.approx(1), pytest.approx(1)]]]
    ]


def test_erosion_of_even_size_reaches_up_and_left():
    x = torch.ones(1, 1, 5, 5)
    x[..., 2, 2] = 0
    assert (erode(x, 2)[0, 0] == 0).nonzero().tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]
    assert (erode(x, 3) == 0).sum() == 9
    assert erode(torch.ones(1, 1, 4, 4), 3).min() == 1
    assert dilate(1 - x, 3).sum() == 9


def test_boxes_fill_their_last_row_and_stay_inside():
    mask = box_mask(torch.tensor([[-5.0, 1.9, 2.2, 3.9], [6, 6, 90, 90]]), (8, 9))
    assert mask[0, 0].nonzero()[:, 1].max() == 8
    assert mask[0, 0, 1:4, :3].min() == 1
    assert mask.sum() == 9 + 6


def test_hulls_hold_their_landmarks_and_grow_with_spread():
    some = Faces(torch.zeros(1, 4), torch.ones(1), template(60)[None] + torch.tensor([20.0, 10.0]))
    small, large = (hull_mask(some, (80, 100), spread) for spread in (1.0, 2.0))
    for x, y in some.landmarks[0].round().long().tolist():
        assert small[0, 0, y, x] > 0
        assert large[0, 0, y, x] == 1
    assert large.sum() == pytest.approx(4 * small.sum().item(), rel=0.05)
    assert hull_mask(Faces(some.boxes, some.scores, some.landmarks - 500), (80, 100)).sum() == 0


def test_parts_land_where_the_face_is():
    parts = torch.zeros(1, 32, 32, dtype=torch.long)
    parts[:, 8:16, 4:12] = 4
    mask = part_mask(
        parts, torch.tensor([[[2.0, 0, 10], [0, 2, 5]]], dtype=torch.float64), (90, 80), classes(["left eye"])
    )
    assert mask[0, 0, 24:30, 22:30].min() == 1
    assert mask.sum() == pytest.approx(4 * 64, rel=0.05)
    with pytest.raises(ValueError, match="no part 'beard'"):
        classes(["beard"])


def test_masks_grow_shrink_and_fade():
    mask = box_mask(torch.tensor([[10.0, 10, 19, 19]]), (30, 30))
    assert (grow(mask, 2).sum(), grow(mask, -2).sum(), grow(mask, 0).sum()) == (14 * 14, 6 * 6, 100)
    soft = feather(mask, 4)
    assert soft.sum() == pytest.approx(100, rel=1e-4)
    assert 0 < soft[0, 0, 15, 8] < soft[0, 0, 15, 11] < 1
    assert torch.equal(feather(mask, 0), mask)


def test_inside_the_mask_nothing_changes(photo):
    mask = box_mask(torch.tensor([[20.0, 10, 50, 40]]), (53, 71))
    for settings in (RELEASED, PAPER, EnhanceSettings(feather=0)):
        done = enhance_outside(photo, mask, settings)
        assert torch.equal(done[..., 10:41, 20:51], photo[..., 10:41, 20:51])
        assert not torch.equal(done, photo)
        assert 0 <= done.min() <= done.max() <= 1
    fading = enhance_outside(photo, mask, EnhanceSettings(amount=2, feather=6))
    torch.testing.assert_close(fading[..., 25, 35], photo[..., 25, 35], rtol=0, atol=1e-3)


def test_strength_and_order_count(photo):
    plain = EnhanceSettings(0, "none")
    assert torch.equal(filtered(photo, plain), photo)
    for kind in ("unsharp", "released", "paper"):
        weak, strong = (filtered(photo, replace(plain, sharpen=kind, amount=a)) for a in (0.1, 1.0))
        assert (weak - photo).abs().mean() < (strong - photo).abs().mean()
        torch.testing.assert_close(filtered(photo, replace(plain, sharpen=kind, amount=0.0)), photo)
    first, second = (
        filtered(photo, replace(RELEASED, order=order, eight_bit=False))
        for order in ("blur first", "sharpen first")
    )
    assert not torch.equal(first, second)


def test_masks_and_settings_are_checked(photo):
    with pytest.raises(ValueError, match="B 1 H W of their size"):
        enhance_outside(photo, torch.zeros(1, 1, 5, 5))
    with pytest.raises(ValueError, match="blur 4 has no centre"):
        EnhanceSettings(blur=4)


def test_a_mask_of_faces_covers_what_is_asked():
    points = (template(64) + torch.tensor([20.0, 30.0])).float()[None]
    face = Faces(torch.tensor([[30.0, 40, 70, 80]]), torch.ones(1), points)
    picture = torch.zeros(1, 3, 120, 110)
    box, hull = (face_mask(picture, face, MaskSettings(kind)) for kind in ("box", "hull"))
    assert torch.equal(box, box_mask(face.boxes, (120, 110)))
    assert torch.equal(hull, hull_mask(face, (120, 110), 2.0))
    assert face_mask(picture, face, MaskSettings(grow=2)).sum() == 45 * 45
    assert face_mask(picture, face, MaskSettings(grow=-2)).sum() == 37 * 37
    soft = face_mask(picture, face, MaskSettings(feather=6.0))
    assert 0.3 < soft[0, 0, 60, 30] < 0.7
    seen = []

    def left_half(aligned):
        seen.append(tuple(aligned.shape))
        parts = torch.zeros(1, 512, 512, dtype=torch.long)
        parts[..., :256] = CLASSES.index("hair")
        return parts

    hair, skin = (
        face_mask(picture, face, MaskSettings("parts", parts=name), left_half) for name in ("hair", "skin")
    )
    assert seen == [(1, 3, 512, 512)] * 2
    assert hair.sum() == pytest.approx(64 * 32, rel=0.02)
    assert hair[0, 0, 62, 25:50].min() > 0.99
    assert skin.sum() == 0
    with pytest.raises(ValueError, match=r"parsing_parsenet\.pth"):
        face_mask(picture, face, MaskSettings("parts"))
    with pytest.raises(ValueError, match="no part 'beard'"):
        face_mask(picture, face, MaskSettings("parts", parts="skin, beard"), left_half)


def test_a_mask_of_no_numbers_is_refused():
    mask = torch.ones(1, 1, 8, 8)
    mask[..., 3, 3] = float("nan")
    with pytest.raises(ValueError, match="the mask holds NaN"):
        enhance_outside(torch.rand(1, 3, 8, 8), mask)
