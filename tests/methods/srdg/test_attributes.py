"""Attributes: wishes and contradictions, what classifiers see, the push on priors of every kind, and reading
a picture.
"""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from fill import fill_, tensor

from priorsr.methods.imaging.color import grey
from priorsr.methods.nets.adm_config import ADMConfig
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.nets.densenet import DenseNet, DenseNetConfig
from priorsr.methods.nets.edm_precond import build_edm
from priorsr.methods.nets.ncsnpp import NCSNpp, NCSNppConfig
from priorsr.methods.priors.adm import ADMPrior
from priorsr.methods.priors.edm import EDMPrior
from priorsr.methods.priors.ncsnpp import NCSNppPrior
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
from priorsr.samplers.denoiser import Cond, from_eps
from priorsr.samplers.karras import Heun
from priorsr.samplers.noise import Noise
from priorsr.samplers.run import run
from priorsr.samplers.schedule import ExplodingSchedule, Level
from priorsr.samplers.sde import ReverseDiffusion
from priorsr.samplers.transition import DDIM, DDPM

SIDE = 16
VE = ExplodingSchedule()
EDM = {
    "img_resolution": SIDE,
    "img_channels": 3,
    "model_type": "SongUNet",
    "model_channels": 16,
    "channel_mult": [1, 2],
    "num_blocks": 1,
}
ADM = ADMConfig(
    image_size=SIDE,
    model_channels=32,
    num_res_blocks=1,
    channel_mult=(1, 2),
    attention_factors=(2,),
    num_head_channels=16,
)


def filled(network, *kept):
    fill_(network, kept)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def classifiers():
    networks = [filled(DenseNet(DenseNetConfig(SIDE, (2, 1), 4))) for _ in CLASSES]
    for i, network in enumerate(networks):
        network.Dense_3.weight.mul_(1 + i)  # three that differ
    return [
        AttributeClassifier(network, name, CLASSES[name])
        for network, name in zip(networks, CLASSES, strict=True)
    ]


@pytest.fixture(scope="module")
def gender(classifiers):
    return classifiers[0]


class Counted:
    """How many pictures a classifier was shown, at which noise."""

    def __init__(self, classifier):
        self.sigmas = []
        self.handle = classifier.network.register_forward_pre_hook(
            lambda _, given: self.sigmas.append(float(given[1][0]))
        )


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


def norms(x):
    return x.flatten(1).norm(dim=1)


def test_the_limit_holds_for_all_wishes_of_a_guidance_together_and_for_each_guidance_of_a_chain(classifiers):
    x, at, limit = tensor("x", (2, 3, SIDE, SIDE)), Level(0.3, 1.0, 0.3), 0.5
    own = from_eps(x, at, tensor("e", x.shape))
    wanted = [AttributeTarget(c, (1,)) for c in classifiers[:2]]
    free, held = (AttributeGuidance(wanted, 5000.0, limit=most).predict(x, at, own) for most in (0.0, limit))
    assert (norms(free.eps - own.eps) > norms(own.eps)).all()
    torch.testing.assert_close(norms(held.eps - own.eps), limit * norms(own.eps))
    first = AttributeGuidance(wanted[:1], 5000.0, limit=limit).predict(x, at, own)
    second = AttributeGuidance(wanted[1:], 5000.0, limit=limit).predict(x, at, first)
    torch.testing.assert_close(norms(first.eps - own.eps), limit * norms(own.eps))
    torch.testing.assert_close(
        norms(second.eps - first.eps), limit * norms(first.eps)
    )  # of the score that it is added to


@pytest.mark.parametrize(
    ("shape", "labels", "words"),
    [
        ((1, 3, 32, 32), (1,), "takes 16 x 16 pixels, not 32 x 32"),
        ((1, 4, 16, 16), (1,), "pictures of 1 or 3 channels"),
        ((3, 3, 16, 16), (1, 0), "3 pictures need one label of gender or as many, not 2"),
    ],
)
def test_what_the_classifiers_cannot_judge_is_refused_before_the_first_step(gender, shape, labels, words):
    with pytest.raises(ValueError, match=words):
        AttributeGuidance([AttributeTarget(gender, labels)]).begin(torch.zeros(shape), [])


def test_a_window_needs_two_times(gender):
    with pytest.raises(ValueError, match=r"no window within 0 \.\. 1"):
        AttributeGuidance([AttributeTarget(gender, (1,))], window=(0.5, 0.5))


def test_weights_are_those_of_the_gradients(classifiers):
    x, at = tensor("x", (2, 3, SIDE, SIDE)), Level(0.3, 1.0, 0.3)
    wanted = [
        AttributeTarget(classifiers[0], (1,), 2.0),
        AttributeTarget(classifiers[1], (0, 1), 0.5),
        AttributeTarget(classifiers[2], (0,), 0.0),
    ]
    alone = [
        AttributeGuidance([AttributeTarget(w.classifier, w.labels)], 7.0).gradient(x, at) for w in wanted
    ]
    torch.testing.assert_close(
        AttributeGuidance(wanted, 7.0).gradient(x, at), 2 * alone[0] + 0.5 * alone[1], atol=1e-6, rtol=1e-4
    )
    assert (alone[0] - alone[1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("alpha", "span"), [(1.0, (0.0, 1.0)), (1.0, (-1.0, 1.0)), (0.6, (-1.0, 1.0)), (0.9, (0.0, 255.0))]
)
def test_the_push_does_not_depend_on_how_a_prior_writes_its_state(gender, alpha, span):
    """The same noisy picture in the units of any prior gives the same shift of eps."""
    picture, sigma = tensor("p", (2, 3, SIDE, SIDE)) * 0.2 + 0.5, 0.4
    plain = (
        AttributeGuidance([AttributeTarget(gender, (1, 0))], span=(0, 1)).gradient(
            picture, Level(0.0, 1.0, sigma)
        )
        * sigma
    )
    width = span[1] - span[0]
    level = Level(0.0, alpha, alpha * width * sigma)
    shift = (
        AttributeGuidance([AttributeTarget(gender, (1, 0))], span=span).gradient(
            alpha * (span[0] + width * picture), level
        )
        * level.sigma
    )
    torch.testing.assert_close(shift, plain, atol=1e-5, rtol=1e-3)


def priors():
    score = NCSNppPrior(filled(NCSNpp(NCSNppConfig(SIDE, 3, 8, (1, 2), 1, (8,))), "sigmas"))
    adm, edm = ADMPrior(filled(build_adm(ADM))), EDMPrior(filled(build_edm(EDM)))
    ladder = adm.schedule.respace("4").levels()
    return {
        "ve": (
            score,
            score.levels(4),
            ReverseDiffusion(1),
            "score",
            Cond({"low_res": torch.full((2, 3, SIDE, SIDE), 0.5)}),
        ),
        "adm-ddpm": (adm, ladder, DDPM(), "mean", None),
        "adm-ddim": (adm, ladder, DDIM(), "score", None),
        "edm": (edm, edm.levels(4), Heun(), "score", None),
    }


@pytest.mark.parametrize("name", ["ve", "adm-ddpm", "adm-ddim", "edm"])
def test_any_prior_can_be_guided_and_only_within_the_window(classifiers, name):
    prior, levels, transition, form, cond = priors()[name]
    span = getattr(prior, "span", (-1.0, 1.0))
    start = Noise([0, 1])((2, 3, SIDE, SIDE)) * levels[0].sigma
    ends = []
    for window in ((0.0, 1.0), (0.3, 0.7)):
        counted = Counted(classifiers[0])
        guidance = AttributeGuidance(
            [AttributeTarget(classifiers[0], (1,))], 5.0, form, window=window, span=span
        )
        ends.append(run(prior, start, levels, transition, [guidance], Noise([0, 1]), cond))
        counted.handle.remove()
        low, high = (VE.sigma(t) for t in window)
        assert counted.sigmas
        assert all(low * 0.999 <= s <= high * 1.001 for s in counted.sigmas)
    free = run(prior, start, levels, transition, [], Noise([0, 1]), cond)
    assert all((end - free).abs().max() > 1e-6 for end in ends)
    pushed = AttributeGuidance([AttributeTarget(classifiers[0], (0, 1))], 5.0, form, span=span)
    alone = AttributeGuidance([AttributeTarget(classifiers[0], (1,))], 5.0, form, span=span)
    batch = run(prior, start, levels, transition, [pushed], Noise([0, 1]), cond)
    single = Cond({k: v[1:] for k, v in cond.spatial.items()}) if cond else None
    torch.testing.assert_close(
        run(prior, start[1:], levels, transition, [alone], Noise([1]), single),
        batch[1:],
        atol=2e-3,
        rtol=2e-3,
    )


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
