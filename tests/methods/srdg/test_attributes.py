"""Attributes: wishes and contradictions, views of classifiers, and what they read in pictures."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from fill import tensor
from srdg_tiny import SIDE

from priorsr.methods.imaging.color import grey
from priorsr.methods.srdg.attributes import (
    CLASSES,
    AttributeClassifier,
    AttributeTarget,
    attribute_targets,
    parse_weights,
    parse_wishes,
    read_attributes,
)
from priorsr.methods.srdg.classifier_crop import TIGHT, WHOLE, ClassifierCrop
from priorsr.methods.srdg.guidance import AttributeGuidance
from priorsr.samplers.noise import Noise
from priorsr.samplers.schedule import Level


def test_classes_mean_what_the_published_ones_do(classifiers):
    assert {c.attribute: [c.label(name) for name in c.classes] for c in classifiers} == {
        "gender": [0, 1],
        "glasses": [0, 1],
        "beard": [0, 1],
    }
    gender, glasses, beard = classifiers
    assert (
        gender.label("female"),
        gender.label("male"),
        glasses.label("eyeglasses"),
        beard.label("no beard"),
    ) == (0, 1, 1, 1)


def test_wishes_name_attributes_and_labels(classifiers):
    found = attribute_targets(classifiers, {"gender": "male", "beard": [0, "no beard"]}, {"beard": 0.25})
    assert [(w.classifier.attribute, w.labels, w.weight) for w in found] == [
        ("gender", (1,), 1.0),
        ("beard", (0, 1), 0.25),
    ]
    assert parse_wishes(" gender=male, beard = no beard,") == {"gender": "male", "beard": "no beard"}
    assert parse_wishes("gender=male,gender=male") == {"gender": "male"}
    assert [
        w.labels
        for w in attribute_targets(
            classifiers, parse_wishes("gender=1, beard=0"), parse_weights("gender=0.5")
        )
    ] == [(1,), (0,)]
    assert parse_weights("gender=0.5, beard=2") == {"gender": 0.5, "beard": 2.0}


@pytest.mark.parametrize(
    ("wanted", "weighing", "words"),
    [
        ({"hat": 1}, {}, "no classifier tells 'hat': choose from gender, glasses, beard"),
        ({"gender": "man"}, {}, "gender has no label 'man': give one of 0 female, 1 male"),
        ({"gender": 2}, {}, "no label 2"),
        ({"gender": "2"}, {}, "no label '2'"),
        ({"gender": True}, {}, "no label True"),
        ({"gender": 1}, {"hat": 1.0}, "no classifier tells 'hat'"),
        ({"gender": 1}, {"gender": -1.0}, "weight of -1.0 for gender"),
        ({"gender": []}, {}, "no label of gender"),
    ],
)
def test_unknown_attributes_and_labels_are_refused(classifiers, wanted, weighing, words):
    with pytest.raises(ValueError, match=words):
        attribute_targets(classifiers, wanted, weighing)


def test_contradictions_are_refused(gender):
    with pytest.raises(ValueError, match="gender cannot be 'male' and 'female' at once"):
        parse_wishes("gender=male, gender=female")
    with pytest.raises(ValueError, match="gender cannot be male and female at once"):
        AttributeGuidance([AttributeTarget(gender, (1,)), AttributeTarget(gender, (0,))])
    with pytest.raises(ValueError, match="name each once"):
        AttributeClassifier(gender.network, "gender", ("male", "male"))
    with pytest.raises(ValueError, match="no attribute with its label"):
        parse_wishes("male")
    for wrong in ("gender", "gender=much"):
        with pytest.raises(ValueError, match=r"write gender=2, beard=0\.5"):
            parse_weights(wrong)
    with pytest.raises(ValueError, match="several classifiers tell one attribute"):
        attribute_targets([gender, gender], {"gender": 1})


@pytest.mark.parametrize("h", [-1, 1e9, math.inf, math.nan])
def test_an_absurd_strength_is_refused_and_its_limit_explained(gender, h):
    with pytest.raises(
        ValueError,
        match=(
            rf"h {h} is outside 0 \.\. 10000: published are 50 and 500, .* drowns the prior; .* the "
            r"other label"
        ),
    ):
        AttributeGuidance([AttributeTarget(gender, (1,))], h)
    with pytest.raises(ValueError, match="an h of 0 asks no classifier"):
        AttributeGuidance([AttributeTarget(gender, (1,))], 0)


def test_a_view_shows_the_middle_closer_and_moved_up():
    rows = torch.arange(256.0).view(1, 1, -1, 1).expand(1, 1, 256, 256)
    for view, expected in (
        (WHOLE, lambda r: 2 * r + 0.5),
        (ClassifierCrop(2.0), lambda r: 64 + r),
        (ClassifierCrop(2.0, 8 / 128), lambda r: 72 + r),
    ):
        seen, _ = view(rows, 1.0, 128)
        assert seen.shape == (1, 1, 128, 128)
        torch.testing.assert_close(
            seen[0, 0, 10:-10, 0], expected(torch.arange(128.0))[10:-10], atol=1e-3, rtol=0
        )
    # the eyes of an FFHQ face, 32 apart in row 60 of 128, come to about 40 apart in row 55
    face = torch.zeros(1, 1, 128, 128)
    face[..., 60, 48] = face[..., 60, 80] = 1
    eyes = TIGHT(face, 1.0, 128)[0][0, 0]
    row, left = divmod(int(eyes[:, :64].argmax()), 64)
    right = 64 + int(eyes[row, 64:].argmax())
    assert abs(row - 55) <= 2
    assert abs(right - left - 41.6) <= 1.5


@pytest.mark.parametrize(
    ("size", "view"), [(32, WHOLE), (48, TIGHT), (20, ClassifierCrop(1.25)), (16, TIGHT)]
)
def test_a_view_tells_how_much_noise_is_left(size, view):
    noise = Noise([0])((1, 200, size, size)) * 3
    seen, sigma = view(noise, 3.0, SIDE)
    assert float(seen.std()) == pytest.approx(sigma, rel=0.02)
    if view == ClassifierCrop(1.25):
        assert sigma == 3.0  # cut, not resampled


def test_a_view_makes_other_sizes_possible(gender):
    x, at = tensor("x", (1, 3, 24, 40)), Level(0.0, 1.0, 0.5)
    guidance = AttributeGuidance([AttributeTarget(gender, (1,))], view=WHOLE)
    guidance.begin(x, [])
    gradient = guidance.gradient(x, at)
    assert gradient[..., 8:32].abs().sum() > 0
    assert not gradient[..., :8].any()  # beside the middle square
    with pytest.raises(ValueError, match="leaves the picture"):
        AttributeGuidance([AttributeTarget(gender, (1,))], view=ClassifierCrop(1.1, 0.2)).begin(x, [])
    with pytest.raises(ValueError, match=r"zoom of 0\.5"):
        ClassifierCrop(0.5)


def test_pictures_are_read(classifiers):
    pictures = tensor("p", (2, 3, SIDE, SIDE)).clamp(-2, 2) / 4 + 0.5
    readings = read_attributes(classifiers, pictures)
    assert [r.attribute for r in readings] == list(CLASSES)
    for reading in readings:
        assert reading.probabilities.shape == (2, 2)
        torch.testing.assert_close(reading.probabilities.sum(1), torch.ones(2))
        assert reading.labels == [reading.classes[int(p[1] > p[0])] for p in reading.probabilities]
    again, alone = read_attributes(classifiers, pictures), read_attributes(classifiers, pictures[:1])
    assert torch.equal(again[0].probabilities, readings[0].probabilities)
    torch.testing.assert_close(alone[0].probabilities, readings[0].probabilities[:1])
    assert not torch.equal(
        read_attributes(classifiers, pictures, 0.6)[0].probabilities, readings[0].probabilities
    )
    larger = torch.nn.functional.interpolate(pictures, scale_factor=2)
    assert len(read_attributes(classifiers, larger, view=WHOLE)) == 3
    with pytest.raises(ValueError, match="RGB pictures B 3 16 16 only"):
        read_attributes(classifiers, larger)
    with pytest.raises(ValueError, match=r"outside 0 \.\. 1"):
        read_attributes(classifiers, pictures, 2.0)


def test_a_classifier_of_grey_pictures_judges_the_luma(gender):
    luma, at = dataclasses.replace(gender, luma=True), Level(0.5, 1.0, 0.5)
    colour, plain = tensor("c", (2, 3, SIDE, SIDE)), tensor("g", (2, 1, SIDE, SIDE))
    for judge in (gender, luma):  # a luma prior has nothing but luma to show
        whole = AttributeGuidance([AttributeTarget(judge, (1,))], 1.0).gradient(plain, at)
        thrice = AttributeGuidance([AttributeTarget(gender, (1,))], 1.0).gradient(
            plain.expand(-1, 3, -1, -1), at
        )
        torch.testing.assert_close(whole, thrice.sum(1, keepdim=True), atol=1e-5, rtol=1e-3)
    pushed = AttributeGuidance([AttributeTarget(luma, (1,))], 1.0).gradient(colour, at)
    torch.testing.assert_close(
        pushed[:, 0] / pushed[:, 1], torch.full((2, SIDE, SIDE), 65.481 / 128.553), atol=1e-3, rtol=1e-3
    )
    noise = Noise([0])((1, 3, 300, 300)) * 2
    shown, sigma = luma.shown(noise, 2.0)
    torch.testing.assert_close(shown[:, :1], grey(noise))
    assert shown.shape == noise.shape
    assert float(shown.std()) == pytest.approx(sigma, rel=0.02)
    assert gender.shown(noise, 2.0)[1] == 2.0
    readings = read_attributes([luma], plain.clamp(0, 1))
    torch.testing.assert_close(
        readings[0].probabilities, read_attributes([gender], plain.clamp(0, 1))[0].probabilities
    )
    assert readings[0].describe(0).startswith("gender: female 0.")
