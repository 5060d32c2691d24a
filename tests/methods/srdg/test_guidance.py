"""The push of attribute classifiers on priors of every kind: limits, windows, weights."""

from __future__ import annotations

import pytest
import torch
from fill import filled, tensor
from srdg_tiny import SIDE

from priorsr.methods.nets.adm_config import ADMConfig
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.nets.edm_precond import build_edm
from priorsr.methods.nets.ncsnpp import NCSNpp, NCSNppConfig
from priorsr.methods.priors.adm import ADMPrior
from priorsr.methods.priors.edm import EDMPrior
from priorsr.methods.priors.ncsnpp import NCSNppPrior
from priorsr.methods.srdg.attributes import AttributeTarget
from priorsr.methods.srdg.guidance import AttributeGuidance
from priorsr.samplers.denoiser import Cond, from_eps
from priorsr.samplers.karras import Heun
from priorsr.samplers.noise import Noise
from priorsr.samplers.run import run
from priorsr.samplers.schedule import ExplodingSchedule, Level
from priorsr.samplers.sde import ReverseDiffusion
from priorsr.samplers.transition import DDIM, DDPM

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


class Counted:
    """How many pictures a classifier was shown, at which noise."""

    def __init__(self, classifier):
        self.sigmas = []
        self.handle = classifier.network.register_forward_pre_hook(
            lambda _, given: self.sigmas.append(float(given[1][0]))
        )


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
