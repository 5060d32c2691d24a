"""Faces from what other nodes find and draw, and as what they take."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

HALF = {"x": 150, "y": 0, "width": 150, "height": 120}


@pytest.fixture(scope="module")
def two(scene):
    """Two faces side by side, 1 120 300 3."""
    return torch.cat([scene, scene], 2)


@pytest.fixture(scope="module")
def found(pack, two):
    return pack.run("DetectFaces", image=two)[0]


def faces_of(pack, image, **regions):
    faces, overlay, count, report = pack.run("FacesFromRegions", image=image, **regions)
    assert overlay.shape == image.shape
    assert count == sum(len(d.faces) for d in faces.detections)
    assert report.count("picture ") == len(image)
    return faces


@pytest.mark.parametrize("boxes", [HALF, [HALF], [[HALF]]], ids=["one", "list", "for each"])
def test_a_box_chooses_a_face(pack, two, found, boxes):
    (right,) = faces_of(pack, two, boxes=boxes).detections
    assert torch.equal(right.faces.boxes, found.detections[0].faces.boxes[1:])
    (same,) = faces_of(pack, two, boxes=boxes, faces=found).detections
    assert torch.equal(same.faces.landmarks, right.faces.landmarks)


def test_boxes_are_for_all_images_or_for_each(pack, two):
    pair = torch.cat([two, two])
    for_all = faces_of(pack, pair, boxes=[HALF])
    assert [len(d.faces) for d in for_all.detections] == [1, 1]
    for_each = faces_of(pack, pair, boxes=[[], [HALF]])
    assert [len(d.faces) for d in for_each.detections] == [0, 1]
    with pytest.raises(ValueError, match="3 boxes for 2 images"):
        faces_of(pack, pair, boxes=[[HALF]] * 3)


def test_a_mask_drawn_by_hand_chooses_faces(pack, two, found):
    mask = torch.zeros(1, 60, 150)
    mask[:, 10:50, 95:140] = 1
    (right,) = faces_of(pack, two, mask=mask, faces=found).detections
    assert torch.equal(right.faces.boxes, found.detections[0].faces.boxes[1:])
    mask[:, 5:55, 20:70] = 1
    assert len(faces_of(pack, two, mask=mask).detections[0].faces) == 2
    empty = faces_of(pack, two, mask=torch.zeros(1, 64, 64))
    assert len(empty.detections[0].faces) == 0


def test_a_face_that_no_detector_sees_can_be_restored_where_it_is_drawn(pack):
    plain = torch.full((1, 120, 150, 3), 0.4)
    mask = torch.zeros(1, 120, 150)
    mask[:, 30:90, 40:90] = 1
    faces, _, count, report = pack.run("FacesFromRegions", image=plain, mask=mask)
    assert count == 1
    assert "region 0 shows no face, so a frontal one is taken to fill it" in report
    aligned, _, cut = pack.run("CropFaces", image=plain, faces=faces, size=64)
    assert cut == len(aligned) == 1


def test_meshes_are_faces(pack, two):
    points = np.full((478, 2), (220.0, 60.0), np.float32)
    points[[33, 133]] += [-12, -10]
    points[[362, 263]] += [12, -10]
    points[61] += [-8, 14]
    points[291] += [8, 14]
    face = {"bbox_xyxy": np.array([195.0, 30, 245, 90]), "landmarks_xy": points, "score": 0.9}
    mesh = {"frames": [[face]], "image_size": (120, 300), "connection_sets": {}}
    (one,) = faces_of(pack, two, landmarks=mesh).detections
    assert one.faces.landmarks[0, 0].tolist() == [208, 50]
    assert one.faces.scores[0].item() == pytest.approx(0.9)
    (none,) = faces_of(pack, two, landmarks={**mesh, "frames": [[]]}).detections
    assert len(none.faces) == 0
    with pytest.raises(ValueError, match="the landmarks are those of images of 300 x 100"):
        faces_of(pack, two, landmarks={**mesh, "image_size": (100, 300)})


def test_faces_go_out_and_come_back(pack, two, found):
    boxes, masks, segs = pack.run("FacesToRegions", faces=found)
    assert [len(one) for one in boxes] == [2]
    assert {"x", "y", "width", "height"} <= boxes[0][0].keys()
    assert masks.shape == (2, 120, 300)
    for box, mask, face in zip(boxes[0], masks, found.detections[0].faces.boxes, strict=True):
        assert all(isinstance(box[name], int) for name in ("x", "y", "width", "height"))
        assert abs(box["x"] - face[0]) <= 1
        assert abs(box["x"] + box["width"] - face[2]) <= 2
        assert mask.sum() == pytest.approx(box["width"] * box["height"], rel=0.1)
    for regions in ({"boxes": boxes}, {"segs": segs[0]}, {"mask": masks.amax(0)}):
        (back,) = faces_of(pack, two, **regions).detections
        assert torch.equal(back.faces.boxes, found.detections[0].faces.boxes), list(regions)


def test_segments_have_the_shape_that_others_take(pack, two, found):
    _, _, (segs,) = pack.run("FacesToRegions", faces=found, margin=3.0)
    size, items = segs
    assert size == (120, 300)
    for one in items:
        left, top, right, bottom = one.crop_region
        assert one.cropped_mask.shape == (bottom - top, right - left)
        inner = [one.bbox[i] - one.crop_region[i % 2] for i in range(4)]
        assert one.cropped_mask[inner[1] : inner[3], inner[0] : inner[2]].min() == 1
        assert one.cropped_mask.sum() == (inner[2] - inner[0]) * (inner[3] - inner[1])
        assert 0 <= left <= one.bbox[0] < one.bbox[2] <= right <= 300
        assert one.label == "face"
        assert 0.9 < one.confidence <= 1
    none = pack.run("DetectFaces", image=torch.full((1, 60, 60, 3), 0.4))[0]
    boxes, masks, segs = pack.run("FacesToRegions", faces=none)
    assert (boxes, masks.sum().item(), segs) == ([[]], 0, [((60, 60), [])])


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ({}, "takes one of boxes, landmarks, mask, segs, not none of them"),
        ({"boxes": HALF, "mask": torch.zeros(1, 8, 8)}, "not boxes and mask: connect one"),
        ({"boxes": [{"x": 1, "y": 2}]}, "boxes must hold x, y, width and height"),
        ({"boxes": "0 0 10 10"}, "boxes must hold x, y, width and height"),
        ({"segs": ((50, 60), [])}, "the SEGS are those of an image of 60 x 50"),
        ({"mask": torch.zeros(3, 8, 8)}, "3 masks for 1 images"),
        ({"segs": ((120, 300), [SimpleNamespace(bbox=(1, 2))])}, "SEGS must hold a bbox of four numbers"),
        ({"landmarks": {"frames": []}}, "landmarks must be those of Detect Face Landmarks"),
    ],
)
def test_what_is_no_region_is_said(pack, two, regions, message):
    with pytest.raises(ValueError, match=message):
        pack.run("FacesFromRegions", image=two, **regions)
