"""SRDG as a method: settings and presets, runs in any units, pictures of any size, where a run begins."""

from __future__ import annotations

import math
import shutil
from dataclasses import fields, replace

import pytest
import torch
from fill import tensor
from srdg_tiny import CONFIG, SIDE

import priorsr
from priorsr.methods import weights
from priorsr.methods.imaging.canvas import TileSettings
from priorsr.methods.imaging.resize import resize
from priorsr.methods.nets.ncsnpp import NCSNpp
from priorsr.methods.priors.adm import ADMPrior
from priorsr.methods.priors.ncsnpp import NCSNppPrior
from priorsr.methods.srdg.attributes import AttributeTarget
from priorsr.methods.srdg.method import (
    DECIDED,
    PRESETS,
    SRDGSettings,
    enlarged,
    guidance_of,
    levels_of,
    preset,
    shipped_networks,
    srdg,
    srdg_upscale,
    start_of,
    transition_of,
)
from priorsr.samplers.denoiser import Cond
from priorsr.samplers.noise import Noise
from priorsr.samplers.run import run
from priorsr.samplers.schedule import Level
from priorsr.samplers.sde import EulerMaruyama, ReverseDiffusion

FEW = SRDGSettings(steps=4, h=5.0)


def test_presets_are_the_published_ones(prior):
    published, paper, plain = (PRESETS[name] for name in ("published", "paper", "sde-sr"))
    assert (published.steps, published.h, transition_of(prior, published)) == (
        1000,
        500,
        ReverseDiffusion(2, 0.16),
    )
    assert (paper.steps, paper.h, transition_of(prior, paper)) == (
        2000,
        50,
        EulerMaruyama(math.log(34800) / 2000),
    )
    assert (plain.steps, plain.h, transition_of(prior, plain)) == (2000, 0, ReverseDiffusion(1, 0.075))
    assert transition_of(prior, replace(published, joint=True)).joint_norm
    assert preset("paper", h=20.0) == replace(paper, h=20.0)
    with pytest.raises(
        ValueError, match="unknown preset 'fast': choose one of auto, shipped, published, paper, sde-sr"
    ):
        preset("fast")
    undecided = {f.name: f.default for f in fields(SRDGSettings) if f.name not in DECIDED}
    assert all(vars(settings).items() >= undecided.items() for settings in PRESETS.values())
    assert (published.limit, published.first, published.last, published.view) == (0, 1, 0, "exact")
    assert preset("auto", "checkpoint_30.pth") == published
    assert all(preset("auto", name) == PRESETS["shipped"] for name in shipped_networks())
    assert {name: start_of(name) for name in shipped_networks()} == {"srdg128": 1.0, "srdg_face64": 0.0}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"h": -1.0}, "h -1.0 is outside 0 .* wish for the other label"),
        ({"h": 1e6}, r"h 1000000.0 is outside 0 \.\. 10000: published are 50 and 500"),
        ({"h": math.nan}, "h nan is outside"),
        ({"steps": 1}, "steps 1"),
        ({"sampler": "heun"}, "sampler 'heun'"),
        ({"first": 0.2, "last": 0.4}, "from time 0.2 down to 0.4"),
        ({"view": "near"}, "view 'near'"),
    ],
)
def test_impossible_settings_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        SRDGSettings(**options)


@pytest.mark.parametrize(("sampler", "calls"), [("predictor-corrector", 12), ("euler", 4), ("renoise", 4)])
def test_the_networks_are_called_as_often_as_promised(prior, gender, low, sampler, calls):
    counts = {prior.network: 0, gender.network: 0}
    handles = [n.register_forward_pre_hook(lambda n, _: counts.update({n: counts[n] + 1})) for n in counts]
    srdg(prior, low, (SIDE, SIDE), [AttributeTarget(gender, (1,))], replace(FEW, sampler=sampler))
    assert list(counts.values()) == [calls, calls]
    srdg(prior, low, (SIDE, SIDE), [AttributeTarget(gender, (1,))], replace(FEW, sampler=sampler, h=0.0))
    for handle in handles:
        handle.remove()
    assert list(counts.values()) == [2 * calls, calls]  # h 0 asks no classifier


def test_it_is_the_core_loop_on_the_published_levels(prior, low):
    noise = Noise([3, 4])
    shown = resize(low, (SIDE, SIDE))
    start = noise((2, 3, SIDE, SIDE)) * 348
    expected = run(
        prior, start, prior.schedule.levels(4), ReverseDiffusion(2, 0.16), [], noise, Cond({"low_res": shown})
    )
    for given in (low, shown):
        torch.testing.assert_close(srdg(prior, given, (SIDE, SIDE), (), FEW, Noise([3, 4])), expected)


@pytest.mark.parametrize("sampler", ["predictor-corrector", "euler", "renoise"])
def test_a_state_in_other_units_gives_the_same_picture(prior, gender, low, sampler):
    settings, wanted = replace(FEW, sampler=sampler), [AttributeTarget(gender, (1,))]
    signed = NCSNppPrior(prior.network, (-1.0, 1.0))
    assert [
        b.sigma / a.sigma
        for a, b in zip(levels_of(prior, FEW)[:-1], levels_of(signed, FEW)[:-1], strict=True)
    ] == pytest.approx([2.0] * 4)
    published, other = (srdg(p, low, (SIDE, SIDE), wanted, settings) for p in (prior, signed))
    torch.testing.assert_close(other, published, atol=2e-2, rtol=1e-3)
    assert published.abs().max() > 10 * 2e-2


def test_a_prior_in_other_units_is_a_prior_like_the_others(prior):
    signed = NCSNppPrior(prior.network, (-1.0, 1.0))
    x0, eps, y = (
        tensor("x", (1, 3, SIDE, SIDE)) / 4,
        tensor("e", (1, 3, SIDE, SIDE)),
        torch.zeros(1, 3, SIDE, SIDE),
    )
    sigma = 0.6
    pred = signed(x0 + sigma * eps, Level(signed.c_noise(sigma), 1.0, sigma), Cond({"low_res": y}))
    plain = prior(
        (x0 + sigma * eps + 1) / 2, Level(sigma / 2, 1.0, sigma / 2), Cond({"low_res": (y + 1) / 2})
    )
    torch.testing.assert_close(pred.eps, plain.eps)
    torch.testing.assert_close(pred.x0, plain.x0 * 2 - 1, atol=1e-5, rtol=1e-4)


def test_pictures_of_a_batch_do_not_couple_unless_asked(prior, gender, low):
    wanted, alone = [AttributeTarget(gender, (0, 1))], [AttributeTarget(gender, (1,))]
    both = srdg(prior, low, (SIDE, SIDE), wanted, FEW, Noise([1, 2]))
    single = srdg(prior, low[1:], (SIDE, SIDE), alone, FEW, Noise([2]))
    torch.testing.assert_close(both[1:], single, atol=1e-2, rtol=1e-3)
    joint = srdg(prior, low, (SIDE, SIDE), wanted, replace(FEW, joint=True), Noise([1, 2]))
    assert (joint[1:] - single).abs().max() > 0.1


@pytest.mark.parametrize(
    ("shape", "scale"), [((1, 3, 4, 4), 4), ((2, 1, 3, 5), 4), ((1, 3, 2, 3), 2.5), ((1, 3, 1, 1), 7)]
)
def test_any_picture_is_enlarged(prior, shape, scale):
    result = srdg_upscale(prior, torch.full(shape, 0.4), scale, settings=replace(FEW, steps=2))
    assert result.shape == (*shape[:2], *[math.ceil(n * scale) for n in shape[2:]])
    assert 0 <= result.min() <= result.max() <= 1


def test_larger_pictures_are_tiled_and_judged_whole(prior, gender):
    sizes = {"prior": set(), "gender": set()}
    named = {"prior": prior.network, "gender": gender.network}
    handles = [
        n.register_forward_pre_hook(lambda _, given, k=k: sizes[k].add(tuple(given[0].shape)))
        for k, n in named.items()
    ]
    settings, canvas = replace(FEW, steps=2, view="whole"), TileSettings(SIDE, 4, 3)
    result = srdg_upscale(
        prior, torch.full((1, 3, 6, 9), 0.4), 4, [AttributeTarget(gender, (1,))], settings, canvas
    )
    for handle in handles:
        handle.remove()
    assert result.shape == (1, 3, 24, 36)
    assert {s[2:] for s in sizes["prior"]} == {(SIDE, SIDE)}
    assert sizes["gender"] == {(1, 3, SIDE, SIDE)}


def test_mistakes_are_told_before_the_first_step(prior, gender, low):
    wanted = [AttributeTarget(gender, (1,))]
    with pytest.raises(ValueError, match="4 x 4 is larger than the 2 x 2"):
        srdg(prior, low, (2, 2), settings=FEW)
    with pytest.raises(ValueError, match="multiples of 2, not 15 x 16"):
        srdg(prior, low, (15, 16), settings=FEW)
    with pytest.raises(ValueError, match="would shrink"):
        srdg_upscale(prior, low, 0.5)
    with pytest.raises(ValueError, match="3 channels, not 1"):
        srdg(prior, low[:, :1], (SIDE, SIDE), settings=FEW)
    with pytest.raises(ValueError, match="16 x 16 pixels, not 32 x 32"):
        srdg_upscale(prior, low, 8, wanted, FEW)
    with pytest.raises(ValueError, match="as the condition low_res"):
        prior(low, Level(1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="no room between black and white"):
        NCSNppPrior(prior.network, (1.0, 1.0))
    assert guidance_of(prior, (), FEW) == []


def test_the_limit_and_the_window_reach_the_classifiers(prior, gender, low):
    (hook,) = guidance_of(
        prior, [AttributeTarget(gender, (1,))], replace(FEW, limit=2.0, first=0.5, last=0.1)
    )
    assert hook.limit == 2.0
    times = 0.01 * 34800**0.1, 0.01 * 34800**0.5
    assert hook.window == pytest.approx(times)
    weak, signed = (
        NCSNppPrior(NCSNpp(replace(CONFIG, sigma_max=10.0))),
        NCSNppPrior(prior.network, (-1.0, 1.0)),
    )
    for other, width in (
        (weak, 1),
        (signed, 2),
        (ADMPrior(None), 2),
    ):  # the classifiers' times, whatever the prior's
        (again,) = guidance_of(other, [AttributeTarget(gender, (1,))], replace(FEW, first=0.5, last=0.1))
        assert again.window == pytest.approx(tuple(width * t for t in times))
    wanted = [AttributeTarget(gender, (1,))]
    held, loose = (
        srdg(prior, low, (SIDE, SIDE), wanted, replace(FEW, h=500.0, limit=limit)) for limit in (1e-4, 0.0)
    )
    free = srdg(prior, low, (SIDE, SIDE), (), FEW)
    assert (held - free).abs().max() < 0.1 * (loose - free).abs().max()


def test_a_run_begins_on_the_enlarged_picture_where_asked(prior, low):
    seen = []

    def remember(step, x):
        seen.append(step)

    settings = SRDGSettings(steps=4, sampler="renoise", start_sigma=0.5)
    srdg(prior, low, (SIDE, SIDE), settings=settings, noise=Noise([0] * len(low)), on_step=remember)
    noise = Noise([0] * len(low))((len(low), 3, SIDE, SIDE))
    assert torch.equal(seen[0].x, enlarged(low, (SIDE, SIDE)) + 0.5 * noise)
    assert [s.cur.sigma for s in seen] == pytest.approx([0.5 * 0.02 ** (i / 3) for i in range(4)])


def test_runs_begin_as_the_file_says_unless_told():
    given = {"prior": "srdg128"}
    assert priorsr.load("srdg", **given).upscaler.settings.start_sigma == 1.0
    assert priorsr.load("srdg", **given, start_sigma=3.0).upscaler.settings.start_sigma == 3.0
    assert priorsr.load("srdg", **given, preset="published").upscaler.settings.start_sigma == 0.0
    assert priorsr.load("srdg", prior="srdg_face64").upscaler.settings.start_sigma == 0.0


def test_a_network_of_ones_own_that_says_where_runs_begin_has_the_steps_of_those_that_come_along(tmp_path):
    own = shutil.copy(weights.SHIPPED / "srdg128.safetensors", tmp_path / "mine.safetensors")
    expected = replace(PRESETS["shipped"], start_sigma=1.0)
    assert priorsr.load("srdg", prior=str(own)).upscaler.settings == expected


def test_a_start_above_all_levels_begins_at_the_highest(prior, low):
    assert prior.begun_at(1e4).schedule == prior.schedule
    assert prior.begun_at(0) is prior
    with pytest.raises(ValueError, match="does not ascend"):
        prior.begun_at(1e-3)
