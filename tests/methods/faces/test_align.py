from __future__ import annotations

import math

import pytest
import torch

from priorsr.methods.faces.align import (
    BORDER,
    cut,
    enlargement,
    fit_similarity,
    invert,
    robust_similarity,
    similarity,
    template,
    then,
    transform,
    warp,
)
from priorsr.methods.faces.paste import to_picture


def turned(angle, scale, x, y):
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    return torch.tensor([[c, -s, x], [s, c, y]], dtype=torch.float64)


MOVES = [
    turned(0.0, 1.0, 0, 0),
    turned(0.4, 0.3, 20, -7),
    turned(-2.5, 2.0, 300, 40),
    turned(math.pi, 0.05, 5, 5),
]


@pytest.mark.parametrize("move", MOVES)
def test_a_similarity_is_found_exactly(move):
    points = transform(move, template())[None]
    for matrix in (
        fit_similarity(points, template().expand_as(points)),
        robust_similarity(points, template())[0],
    ):
        torch.testing.assert_close(matrix[0], invert(move), rtol=1e-8, atol=1e-6)
    torch.testing.assert_close(
        then(move, invert(move)), torch.eye(3, dtype=torch.float64)[:2], rtol=0, atol=1e-9
    )


def test_one_wrong_landmark_moves_plain_least_squares_only():
    points = transform(MOVES[1], template()) + 0.02 * torch.randn(
        5, 2, generator=torch.Generator().manual_seed(0)
    )
    points[4] += 40
    matrix, trusted = robust_similarity(points[None], template())
    assert trusted[0].tolist() == [True, True, True, True, False]
    assert (transform(matrix[0], points[:4]) - template()[:4]).norm(dim=1).max() < 0.5
    plain = similarity(points[None], template(), robust=False)
    assert (transform(plain[0], points[:4]) - template()[:4]).norm(dim=1).max() > 10


@pytest.mark.parametrize("robust", [True, False])
def test_coinciding_landmarks_are_refused(robust):
    with pytest.raises(ValueError, match="coincide"):
        similarity(torch.ones(1, 5, 2), template(), robust)


def test_the_template_scales_with_the_face():
    torch.testing.assert_close(template(128) * 4, template(512))
    with pytest.raises(ValueError, match="no frame 'square'"):
        template(512, "square")


def test_warping_by_whole_pixels_copies(photo):
    moved = warp(photo, torch.tensor([[[1.0, 0, 3], [0, 1, -5]]], dtype=torch.float64), (53, 71), BORDER)
    torch.testing.assert_close(moved[..., :-5, 3:], photo[..., 5:, :-3], rtol=0, atol=2e-6)
    for channel, value in enumerate(BORDER):
        assert moved[0, channel, :, :3] == pytest.approx(torch.full((53, 3), value), abs=1e-5)


def test_half_a_pixel_beyond_the_edge_is_half_border():
    ones = warp(
        torch.ones(1, 1, 4, 4), torch.tensor([[[1.0, 0, 0.5], [0, 1, 0]]], dtype=torch.float64), (4, 4), 0.2
    )
    torch.testing.assert_close(ones[0, 0, 0], torch.tensor([0.6, 1.0, 1.0, 1.0]))


def test_one_picture_serves_many_matrices(photo):
    matrices = torch.stack([turned(0.1, 0.9, 3, 2), turned(-0.2, 1.3, -8, 1)])
    batch = warp(photo, matrices, (20, 30), 0.5)
    for matrix, one in zip(matrices, batch, strict=True):
        torch.testing.assert_close(warp(photo, matrix[None], (20, 30), 0.5)[0], one)


def test_faces_are_cut_as_from_the_whole_picture(photo):
    matrices = torch.stack([turned(0.3, 2.0, -40, -30), turned(-0.1, 0.8, -20, -20), turned(0, 1, 500, 0)])
    torch.testing.assert_close(
        cut(photo, matrices, 32, published=True),
        warp(photo, matrices, (32, 32), BORDER, steps=32),
        rtol=0,
        atol=0.02,
    )


def test_large_faces_are_reduced_without_aliasing():
    stripes = (torch.arange(256) % 2).float().expand(1, 3, 256, 256)
    matrix = torch.tensor([[[0.25, 0, -0.375], [0, 0.25, -0.375]]], dtype=torch.float64)
    assert cut(stripes, matrix, 64).var() < 1e-3
    smooth = torch.linspace(0, 1, 256).expand(1, 3, 256, 256)
    torch.testing.assert_close(
        cut(smooth, matrix, 64)[..., 2:-2],
        cut(smooth, matrix, 64, published=True)[..., 2:-2],
        rtol=0,
        atol=1e-3,
    )


@pytest.mark.parametrize("scale", [1.0, 2.0, 3.5])
@pytest.mark.parametrize("ratio", [1.0, 4.0])
def test_the_way_back_keeps_pixel_centres(scale, ratio):
    move, points = MOVES[1], torch.tensor([[3.0, 4.0], [100.0, 50.0]], dtype=torch.float64)
    back = to_picture(move[None], ratio, scale)[0]
    there = (transform(move, points) + 0.5) * ratio - 0.5
    torch.testing.assert_close(transform(back, there), (points + 0.5) * scale - 0.5)


def test_the_published_way_back_is_half_a_pixel_off():
    exact, published = (to_picture(MOVES[0][None], 1.0, 2.0, published=p)[0] for p in (False, True))
    torch.testing.assert_close(
        published - exact, torch.tensor([[0, 0, 0.5], [0, 0, 0.5]], dtype=torch.float64)
    )
    torch.testing.assert_close(to_picture(MOVES[0][None], 1.0, 1.0, published=True)[0], enlargement(1.0))
