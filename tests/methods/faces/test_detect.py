from __future__ import annotations

import pytest
import torch

from priorsr.methods.faces import mtcnn
from priorsr.methods.faces.detect import (
    Detection,
    DetectSettings,
    Faces,
    choose,
    colours,
    detect,
    face_numbers,
    largest,
    most_central,
    nms,
    no_faces,
)
from priorsr.methods.faces.load import load_codeformer, load_detector, load_parser
from priorsr.methods.faces.mtcnn import crops, shifted, square
from priorsr.methods.faces.overlay import overlay
from priorsr.methods.imaging.images import read
from priorsr.methods.nets.retinaface import RetinaFace


def faces(*boxes, scores=None):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    middle = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    spread = (
        torch.tensor([[-1.0, -1], [1, -1], [0, 0], [-1, 1], [1, 1]])
        * (boxes[:, None, 2:] - boxes[:, None, :2])
        / 4
    )
    return Faces(boxes, torch.tensor(scores or [0.99] * len(boxes)), middle + spread)


THREE = faces((100, 10, 150, 60), (10, 10, 110, 110), (50, 20, 60, 30), scores=[0.95, 0.99, 0.97])


@pytest.mark.parametrize(
    ("order", "lefts"),
    [("left to right", [50, 10, 100]), ("largest", [10, 100, 50]), ("best", [10, 50, 100])],
)
def test_faces_are_numbered_as_asked(order, lefts):
    assert choose(THREE, 1, DetectSettings(order=order)).faces.boxes[:, 0].tolist() == lefts


def test_what_is_left_out_is_said():
    found = choose(THREE, 20, DetectSettings(limit=1))
    assert found.faces.boxes[:, 0].tolist() == [10]
    assert found.notes == ("1 smaller than 20 pixels", "1 beyond the limit of 1")
    assert len(choose(THREE, 1, DetectSettings(confidence=0.98)).faces) == 1
    assert choose(THREE, 1, DetectSettings(which=(2, 0))).faces.boxes[:, 0].tolist() == [100, 50]
    with pytest.raises(ValueError, match="no face 3: the picture has faces 0 to 2"):
        choose(THREE, 1, DetectSettings(which=(3,)))
    with pytest.raises(ValueError, match="order 'age'"):
        DetectSettings(order="age")


def test_largest_and_most_central_see_the_picture_differently():
    some = faces((-50, 10, 60, 60), (90, 30, 130, 80), (150, 20, 260, 70))
    assert (largest(some, (100, 200)), most_central(some, (100, 200))) == (0, 1)


def test_suppression_keeps_the_best_of_those_that_overlap():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [2, 2, 4, 4]])
    scores = torch.tensor([0.5, 0.9, 0.4, 0.3])
    assert nms(boxes, scores, 0.5).tolist() == [1, 2, 3]
    assert nms(boxes, scores, 0.5, of_smaller=True).tolist() == [1, 2]
    assert nms(boxes[:0], scores[:0], 0.5).tolist() == []


@pytest.mark.parametrize("of_smaller", [False, True])
def test_boxes_compared_together_leave_what_those_one_by_one_leave(monkeypatch, of_smaller):
    monkeypatch.setattr("priorsr.methods.faces.detect.TOGETHER", 8)
    draw = torch.Generator().manual_seed(0)
    corner, side = torch.rand(150, 2, generator=draw) * 60, torch.rand(150, 2, generator=draw) * 30
    boxes, scores = torch.cat([corner, corner + side], 1), torch.rand(150, generator=draw)
    left, wanted = scores.argsort(descending=True).tolist(), []
    while left:
        best, *rest = left
        wanted.append(best)
        left = [i for i in rest if overlap(boxes[best].double(), boxes[i].double(), of_smaller) <= 0.4]
    assert len(wanted) > 2 * 8
    assert nms(boxes, scores, 0.4, of_smaller).tolist() == wanted


def overlap(a, b, of_smaller):
    shared = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0).prod()
    of_a, of_b = ((x[2:] - x[:2]).prod() for x in (a, b))
    return shared / (torch.minimum(of_a, of_b) if of_smaller else of_a + of_b - shared)


@pytest.mark.parametrize("turns", range(4))
def test_turned_pictures_give_the_same_faces(turns):
    """A detector that knows the upright picture only, told by a bright corner."""
    upright = torch.zeros(1, 3, 40, 60)
    upright[..., 0, 0] = 1

    def finds_upright(picture, smallest):
        return (
            faces((10, 5, 30, 25))
            if picture[0, 0, 0, 0] == 1 and picture.shape[2:] == (40, 60)
            else no_faces()
        )

    picture = torch.rot90(upright, turns, (2, 3))
    found = detect(picture, finds_upright, DetectSettings(turned=True, smallest=5))[0].faces
    (points,) = found.landmarks
    value = torch.zeros(1, 3, 40, 60)
    for i, (x, y) in enumerate(faces((10, 5, 30, 25)).landmarks[0].long().tolist()):
        value[..., y, x] = i + 1
    marked = torch.rot90(value, turns, (2, 3))
    assert [int(marked[0, 0, int(y), int(x)]) for x, y in points.tolist()] == [1, 2, 3, 4, 5]


def test_grey_and_alpha_serve_and_odd_channels_do_not():
    for channels in (1, 2, 3, 4):
        assert colours(torch.zeros(2, channels, 4, 5)).shape == (2, 3, 4, 5)
    with pytest.raises(ValueError, match="1 to 4 channels"):
        colours(torch.zeros(1, 5, 4, 4))


def test_boxes_become_squares_and_crops_black_beyond_the_picture():
    box = torch.tensor([[0.0, 0, 10, 20]])
    assert square(box).tolist() == [[-5, 0, 15, 20]]
    assert shifted(box, torch.tensor([[0.1, 0, 0, -0.1]])).tolist() == [[1, 0, 10, 18]]
    cropped = crops(torch.ones(1, 3, 8, 8), torch.tensor([[-4.0, 0, 4, 8], [50, 50, 60, 60]]), 4)
    assert cropped[0, 0, 0].tolist() == [0, 0, 1, 1]
    assert cropped[1].max() == 0


def test_the_shipped_detector_finds_the_astronaut(root):
    picture = read(root / "docs/sample/astronaut.png").pixels
    detector = load_detector()
    found, mirrored = (detect(x, detector)[0].faces for x in (picture, picture.flip(3)))
    assert len(found) == len(mirrored) == 1
    left, right, nose, *mouth = found.landmarks[0]
    assert left[0] < nose[0] < right[0]
    assert max(left[1], right[1]) < nose[1] < min(m[1] for m in mouth)
    back = mirrored.landmarks[0, [1, 0, 2, 4, 3]]
    back[:, 0] = picture.shape[3] - 1 - back[:, 0]
    assert (back - found.landmarks[0]).norm(dim=1).mean() < 0.06 * found.eye_distances[0]
    assert len(detect(torch.zeros(1, 3, 64, 64), detector)[0].faces) == 0
    assert len(detect(torch.zeros(1, 1, 7, 300), detector)[0].faces) == 0


def test_the_overlay_marks_boxes_and_landmarks():
    some = faces((10, 10, 49, 49))
    drawn = overlay(torch.zeros(1, 1, 60, 80), some)
    assert drawn.shape == (1, 3, 60, 80)
    assert drawn[0, 0, 10, 10:50].min() == 1
    for x, y in some.landmarks[0].round().long().tolist():
        assert drawn[0, 2, y, x] == 1
    assert drawn[0, :, 55:].max() == 0
    assert overlay(torch.ones(1, 4, 5, 6), no_faces()).min() == 1


def test_numbers_of_faces_and_what_is_said_of_them():
    assert face_numbers("0, 2 5,") == (0, 2, 5)
    assert face_numbers(" ") == ()
    with pytest.raises(ValueError, match="'first' does not number faces"):
        face_numbers("first")
    assert Detection(faces((10, 10, 49, 59)), ("2 smaller than 20 pixels",)).describe() == (
        "1 face; left out: 2 smaller than 20 pixels\n  face 0: 39 x 49 px at 10, 10, score 0.99"
    )
    assert Detection(no_faces()).describe() == "no faces"


def test_missing_optional_weights_name_the_file(monkeypatch, tmp_path):
    monkeypatch.setenv("PRIORSR_MODELS", str(tmp_path))
    cases = (
        (lambda: load_detector("retinaface"), "detection_Resnet50_Final", "facexlib"),
        (load_parser, "parsing_parsenet", "facexlib"),
        (load_codeformer, "codeformer", "CodeFormer"),
    )
    for load, file, source in cases:
        with pytest.raises(
            FileNotFoundError, match=rf"{file}.*looked in {tmp_path}.*{source}/releases publishes {file}\.pth"
        ):
            load()


def test_retinaface_files_become_detectors_and_others_do_not(monkeypatch, tmp_path, root):
    monkeypatch.setenv("PRIORSR_MODELS", str(tmp_path))
    network = RetinaFace("mobile0.25")
    torch.save(network.state_dict(), tmp_path / "detection_mobilenet0.25_Final.pth")
    detector = load_detector("retinaface-mobile")
    found = detector(torch.rand(1, 3, 40, 50), 1.0)
    assert found.landmarks.shape[1:] == (5, 2)
    with pytest.raises(ValueError, match="srcnn weights, no face detector"):
        load_detector(str(root / "weights/srcnn_x2.safetensors"))


@pytest.mark.parametrize("size", [(12, 12), (13, 30), (40, 17), (41, 12), (63, 64)])
def test_large_pictures_are_looked_at_in_strips_that_change_nothing(monkeypatch, size):
    detector = load_detector("mtcnn")
    x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)) - 0.5
    with torch.no_grad():
        whole = detector.network.pnet(x)
        for pixels in (1, 200, 1000):
            monkeypatch.setattr(mtcnn, "STRIP", pixels)
            for found, expected in zip(detector._asked_everywhere(x), whole, strict=True):
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
