"""Faces chosen by boxes, masks and meshes that others made."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from priorsr.methods.faces.detect import Faces
from priorsr.methods.faces.load import load_detector
from priorsr.methods.faces.masks import box_mask
from priorsr.methods.faces.regions import MESH_POINTS, faces_in, faces_of_meshes, frontal, holding, parts
from priorsr.methods.imaging.images import read
from priorsr.methods.imaging.resize import resize


def some(*boxes):
    return frontal(torch.tensor(boxes, dtype=torch.float32))


@pytest.fixture(scope="module")
def detector():
    return load_detector()


@pytest.fixture(scope="module")
def scene():
    """A portrait twice in a plain picture, 1 3 120 300."""
    portrait = read(Path(__file__).parents[3] / "docs/sample/astronaut.png").pixels
    small = resize(portrait, (56, 56)).clamp(0, 1)
    picture = torch.full((1, 3, 120, 300), 0.4)
    picture[..., 30:86, 50:106] = small
    picture[..., 30:86, 200:256] = small
    return picture


def test_parts_of_a_mask_are_told_apart():
    mask = torch.zeros(1, 1, 300, 700)
    mask[..., 10:40, 100:130] = 1
    mask[..., 200:211, 400:421] = 0.6
    mask[..., 211:220, 421:430] = 1  # they touch at a corner
    mask[..., 100:120, 500:520] = 0.4  # less than half
    ring = mask[..., 50:150, 200:300]
    ring[:] = 1
    ring[..., 10:-10, 10:-10] = 0
    assert parts(mask).tolist() == [[100, 10, 129, 39], [200, 50, 299, 149], [400, 200, 429, 219]]
    assert parts(torch.zeros(1, 1, 5, 5)).shape == (0, 4)
    assert parts(torch.ones(1, 1, 1, 3)).tolist() == [[0, 0, 2, 0]]
    boxes = torch.tensor([[3.0, 4, 9, 12], [20, 4, 30, 7]])
    assert torch.equal(parts(box_mask(boxes, (20, 40))), boxes)


def test_a_winding_part_is_one():
    mask = torch.zeros(1, 1, 200, 200)
    for i in range(0, 200, 8):
        mask[..., i : i + 2, :] = 1
        side = slice(198, 200) if i // 8 % 2 == 0 else slice(0, 2)
        mask[..., i : i + 10, side] = 1
    assert parts(mask).tolist() == [[0, 0, 199, 199]]


def test_faces_are_those_whose_middles_lie_in_a_box(scene, detector):
    right = faces_in(scene, torch.tensor([[190.0, 20, 260, 100]]), detector)
    assert len(right.faces) == 1
    assert right.notes == ()
    assert 200 < right.faces.boxes[0, 0] < 256
    both = faces_in(scene, torch.tensor([[0.0, 0, 299, 119], [200, 30, 255, 85]]), detector)
    assert len(both.faces) == 2  # one of them lies in both boxes
    assert both.faces.boxes[0, 0] < both.faces.boxes[1, 0]


def test_a_box_without_a_face_is_looked_at_again_and_then_filled(scene, detector):
    faint = scene.clone()
    faint[..., :150] = 0.4 + 0.08 * (scene[..., :150] - 0.4)  # too faint for the whole picture's look
    assert len(faces_in(faint, torch.tensor([[0.0, 0, 299, 119]]), detector).faces) == 1
    filled = faces_in(scene, torch.tensor([[120.0, 40, 159, 89]]), detector)
    assert filled.notes == ("region 0 shows no face, so a frontal one is taken to fill it",)
    assert filled.faces.boxes.tolist() == [[120, 40, 159, 89]]
    assert filled.faces.scores.tolist() == [0]
    marks = filled.faces.landmarks[0]
    assert marks[0, 0] < marks[2, 0] < marks[1, 0]
    assert marks[0, 1] < marks[2, 1] < marks[3, 1]


def test_known_faces_are_chosen_among(scene):
    known = some((10, 10, 30, 30), (100, 10, 130, 40), (200, 20, 240, 70))
    found = faces_in(scene, torch.tensor([[90.0, 0, 299, 100], [40, 40, 60, 60]]), known=known)
    assert torch.equal(found.faces.boxes, known.boxes[1:])
    assert found.notes == ("region 1 holds none of the faces",)
    none = faces_in(scene, torch.zeros(0, 4), known=known)
    assert len(none.faces) == 0
    assert holding(torch.tensor([[0.0, 0, 20, 20]]), known).tolist() == [[True, False, False]]


def test_five_landmarks_of_a_mesh():
    points = torch.zeros(1, MESH_POINTS + 10, 2)
    for i, place in {33: (10, 20), 133: (20, 22), 362: (40, 22), 263: (50, 20), 1: (30, 35)}.items():
        points[0, i] = torch.tensor(place)
    points[0, 61], points[0, 291] = torch.tensor([18.0, 50]), torch.tensor([42.0, 50])
    faces = faces_of_meshes(torch.tensor([[0.0, 0, 60, 70]]), torch.tensor([0.8]), points)
    assert faces.landmarks[0].tolist() == [[15, 21], [45, 21], [30, 35], [18, 50], [42, 50]]
    assert isinstance(faces, Faces)
    with pytest.raises(ValueError, match="a face mesh has 468 points or more, not"):
        faces_of_meshes(torch.zeros(1, 4), torch.zeros(1), torch.zeros(1, 5, 2))
