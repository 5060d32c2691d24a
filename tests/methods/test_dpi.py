from __future__ import annotations

import dataclasses
import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from fill import fill_
from hypothesis import given, settings
from hypothesis import strategies as st

from priorsr.methods import weights
from priorsr.methods.dpi.clock import ORIGINAL, corrector_time, original_step
from priorsr.methods.dpi.conditions import PAPER, RELEASED, Conditions
from priorsr.methods.dpi.corrector import Corrector, TiledCorrector, load_corrector
from priorsr.methods.dpi.masks import UniformDraws, adaptive_mask, base_condition, chances, fixed_mask, on_grid, sparse
from priorsr.methods.dpi.method import PRESETS, DPISettings, dpi, dpi_upscale, levels_of, preset
from priorsr.methods.dpi.objective import crt_loss, grid_error, omega, posterior_sample, prior_sample, released_loss
from priorsr.methods.nets.adm_config import ADMConfig
from priorsr.methods.nets.adm_released import RELEASED as NETWORKS
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.nets.corrector import SMALL, CorrectorUNet
from priorsr.methods.nets.edm_precond import build_edm
from priorsr.methods.posterior import CanvasSettings
from priorsr.methods.priors.adm import ADMPrior
from priorsr.methods.priors.edm import EDMPrior
from priorsr.samplers.guidance.measurement import MeasurementGuidance
from priorsr.samplers.hooks import ClipX0
from priorsr.samplers.karras import DPMpp2M, Euler, Heun
from priorsr.samplers.noise import Noise
from priorsr.samplers.run import Hook, run
from priorsr.samplers.schedule import CLEAN, DiscreteSchedule, edm_clock, geometric_sigmas, sigma_levels
from priorsr.samplers.sde import EulerMaruyama, ReverseDiffusion
from priorsr.samplers.transition import DDIM, DDPM, Posterior

from ..samplers.gaussian_prior import GaussianPrior

CONFIG = ADMConfig(image_size=16, model_channels=32, num_res_blocks=1, channel_mult=(1, 2), attention_factors=(2,), num_head_channels=16)
CRT = dataclasses.replace(CONFIG, out_channels=3)
EDM = {
    "img_resolution": 16,
    "img_channels": 3,
    "label_dim": 0,
    "model_type": "SongUNet",
    "model_channels": 16,
    "channel_mult": [1, 2],
    "num_blocks": 1,
    "attn_resolutions": [8],
}
MANIFEST = Path(__file__).resolve().parents[1] / "golden" / "cases" / "dpi" / "manifests" / "corrector.json"
VP = DiscreteSchedule.named("linear")
FEW = DPISettings(respacing="6", tau=600.0, omega=900.0)


def filled(network):
    fill_(network)
    return network.eval().requires_grad_(False)


def constant(value):
    """A corrector that always answers the same."""
    return lambda x, t, y_T: torch.full_like(x, value)


def picture(*shape, seed=0):
    return Noise([seed] * shape[0])(shape).clamp(-2, 2) / 2


@pytest.fixture(scope="module")
def prior():
    return ADMPrior(filled(build_adm(CONFIG)))


@pytest.fixture(scope="module")
def corrector():
    return Corrector(filled(CorrectorUNet(CRT)))


class Watch(Hook):
    """The state before and after the conditions of a run, with what they hold."""

    def __init__(self, conditions):
        self.conditions, self.before, self.after, self.masks, self.y = conditions, [], [], [], []

    def state(self, step, x):
        self.before.append((step, x))
        self.y.append(self.conditions.y)
        after = self.conditions.state(step, x)
        self.after.append(after)
        self.masks.append(self.conditions.mask)
        return after

    def begin(self, x, levels):
        self.conditions.begin(x, levels)

    def predict(self, x, level, pred):
        return self.conditions.predict(x, level, pred)


def watched(conditions, prior=None, size=(8, 8), levels=None, transition=DDPM(), batch=1, channels=3):
    prior = prior or GaussianPrior(torch.zeros(channels, 1, 1), torch.ones(channels, 1, 1))
    levels, watch = levels or VP.respace("8").levels(), Watch(conditions)
    noise = Noise(range(batch))
    run(prior, noise((batch, channels, *size)) * math.hypot(levels[0].alpha, levels[0].sigma), levels, transition, [watch, ClipX0()], noise)
    return watch


# masks


@given(st.integers(2, 5), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))
@settings(deadline=None, max_examples=30)
def test_the_grid_carries_one_pixel_of_each_cell(k, h, w, channels):
    base = torch.rand(2, channels, h, w) + 1
    y_T, mask = sparse(base, k), fixed_mask((h * k, w * k), k)
    assert mask.dtype == torch.bool
    assert mask.float().mean() == pytest.approx(1 / k**2)
    assert torch.equal(y_T != 0, mask.expand_as(y_T))
    assert torch.equal(on_grid(y_T, k), base)
    assert all(y_T[..., i, j].any() == (i % k == 0 and j % k == 0) for i in range(h * k) for j in range(w * k))


def test_a_base_condition_is_the_picture_enlarged_to_the_grid():
    low = picture(1, 3, 4, 6)
    assert torch.equal(base_condition(low, (8, 12), 2), low)
    flat = base_condition(torch.full((1, 3, 4, 6), 0.25), (32, 48), 4)
    torch.testing.assert_close(flat, torch.full((1, 3, 8, 12), 0.25))
    for size, k, words in (((8, 12), 3, "does not divide"), ((8, 12), 1, "k of 2 or more"), ((8, 12), 4, "larger than the grid")):
        with pytest.raises(ValueError, match=words):
            base_condition(low, size, k)


@pytest.mark.parametrize("s", [0.5, 1.0, 1.4])
def test_the_adaptive_mask_is_as_dense_as_its_chances(s):
    y = picture(2, 3, 64, 64)
    p = chances(y, s)
    assert 0 <= p.min() <= p.max() <= 1
    torch.testing.assert_close(p, chances(y, 1.0) ** s)
    draws = UniformDraws(Noise([1, 2]))
    density = torch.stack([adaptive_mask(y, s, draws).float() for _ in range(20)]).mean(0)
    assert density.mean() == pytest.approx(p.mean().item(), abs=0.005)
    assert torch.corrcoef(torch.stack([density.flatten(), p.flatten()]))[0, 1] > 0.8


def test_a_larger_exponent_keeps_fewer():
    y = picture(1, 3, 32, 32)
    densities = [adaptive_mask(y, s, UniformDraws(Noise(0))).float().mean() for s in (0.5, 1.0, 1.4, 3.0)]
    assert all(a > b for a, b in pairwise(densities))


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (2, 1, 7, 5), (1, 4, 1, 9), (1, 3, 1, 1)])
@pytest.mark.parametrize("joint", [False, True])
def test_a_flat_picture_has_an_empty_mask(shape, joint):
    flat = torch.full(shape, 0.1) * torch.linspace(0.5, 1, shape[1]).view(1, -1, 1, 1)
    assert torch.equal(chances(flat, 1.2, joint), torch.zeros(shape[0], 1, *shape[2:]))
    assert not adaptive_mask(flat, 0.01, UniformDraws(Noise([0] * shape[0])), joint).any()


def test_edges_attract_conditions_and_flat_areas_none():
    y = torch.zeros(1, 3, 16, 16)
    y[..., 8:] = 1
    p = chances(y, 1.0)[0, 0]
    torch.testing.assert_close(p[:, 7:9], torch.ones(16, 2))
    assert p[:, :7].max() == p[:, 9:].max() == 0
    torch.testing.assert_close(
        chances(y, 1.0, signed=True)[0, 0, :, :7], torch.full((16, 7), 0.5)
    )  # as the equation is printed, half of a flat area would be kept


def test_contrast_is_stretched_over_each_picture_unless_asked_otherwise():
    y = torch.cat([picture(1, 3, 12, 12), 0.1 * picture(1, 3, 12, 12, seed=1)])
    assert chances(y, 1.0).amax((1, 2, 3)).tolist() == pytest.approx([1, 1], abs=1e-4)
    torch.testing.assert_close(chances(y, 1.3)[1:], chances(y[1:], 1.3), rtol=0, atol=1e-4)
    assert chances(y, 1.0, joint=True).amax((1, 2, 3))[1] < 0.3


# the clock


def test_steps_mean_the_same_under_any_respacing():
    for rule in ("", "20", "ddim25", "250"):
        chain = VP.respace(rule)
        assert [original_step(level) for level in chain.table] == list(chain.timesteps)
    fine = DiscreteSchedule.named("linear", 4000).table
    assert original_step(fine[-1]) == pytest.approx(999, abs=5)
    exploding = sigma_levels([level.sigma / level.alpha for level in reversed(VP.table)], edm_clock)[:-1]
    assert [original_step(level) for level in exploding] == list(range(999, -1, -1))
    assert original_step(sigma_levels([1e4], float)[0]) == 999
    assert corrector_time(VP.table[0]) == 1
    assert corrector_time(VP.table[999]) == 999


@pytest.mark.parametrize("rule", ["10", "50", "ddim20", "200"])
def test_stages_and_weights_do_not_move_with_the_number_of_steps(rule):
    levels, tau = VP.respace(rule).levels(), 400
    watch = watched(Conditions(picture(1, 3, 4, 4), constant(0.3), tau=tau, omega=800), levels=levels)
    seconds = [mask is not None for mask in watch.masks]
    assert seconds == [level.t + 1 <= tau for level in levels[:-1]]
    assert any(seconds)
    assert not all(seconds)
    for (step, before), after, mask, y in zip(watch.before, watch.after, watch.masks, watch.y, strict=True):
        if mask is None or not mask.any():
            continue
        pull = (on_grid(after, 2) - on_grid(before, 2)) / (step.nxt.alpha * (y - on_grid(step.pred.x0, 2)))
        assert pull[mask.expand_as(pull)].median().item() == pytest.approx((step.cur.t + 1) / 800, rel=1e-3)


# fusion


def test_a_tau_of_zero_has_no_second_stage_and_one_beyond_all_no_first():
    low = picture(1, 3, 4, 4)
    assert all(m is None for m in watched(Conditions(low, None, tau=0)).masks)
    assert all(m is not None for m in watched(Conditions(low, None, tau=1000, omega=1000)).masks)


@pytest.mark.parametrize("k", [2, 4])
def test_the_first_stage_sets_the_grid_and_nothing_else(k):
    low = picture(1, 3, 2, 3)
    watch = watched(Conditions(low, None, tau=0, k=k), size=(8, 12))
    base, mask = base_condition(low, (8, 12), k), fixed_mask((8, 12), k)
    for (step, before), after in zip(watch.before, watch.after, strict=True):
        noisy = on_grid(before - step.nxt.alpha * step.pred.x0, k)
        torch.testing.assert_close(on_grid(after, k), step.nxt.alpha * base + noisy)
        assert torch.equal(after[~mask.expand_as(after)], before[~mask.expand_as(after)])
    torch.testing.assert_close(on_grid(watch.after[-1], k), base)


def test_the_second_stage_moves_chosen_pixels_only_and_less_and_less():
    watch = watched(Conditions(picture(1, 3, 8, 8), constant(0.4), tau=1000, omega=1000, s=0.3), size=(16, 16))
    assert torch.equal(watch.after[0][..., 1::2, :], watch.before[0][1][..., 1::2, :])
    for (_, before), after, mask in list(zip(watch.before, watch.after, watch.masks, strict=True))[1:]:
        moved = (on_grid(after, 2) != on_grid(before, 2)).any(1, keepdim=True)
        assert not (moved & ~mask).any()


def test_noising_is_the_papers_equations_whatever_the_transition():
    """Where x0 is not clipped, Eq. 6 and 7 written out and the transition-agnostic form agree."""
    cur, nxt = VP.table[500], VP.table[450]
    prior = GaussianPrior(torch.zeros(3, 1, 1), torch.full((3, 1, 1), 0.3))
    conditions = Conditions(picture(1, 3, 4, 4), None, tau=0)
    watch, x = Watch(conditions), picture(1, 3, 8, 8, seed=4)
    run(prior, x, [cur, nxt], DDPM(), [watch], Noise(3))
    ((step, _),), q, y = watch.before, Posterior.between(cur, nxt), watch.y[0]
    noisy = cur.alpha * y + cur.sigma * on_grid(step.pred.eps, 2)
    expected = q.on_x0 * y + q.on_x * noisy + math.sqrt(q.variance) * on_grid(step.noise, 2)
    torch.testing.assert_close(on_grid(watch.after[0], 2), expected)
    literal = dataclasses.replace(conditions, convention=dataclasses.replace(PAPER, raw_noise=True))
    torch.testing.assert_close(run(prior, x, [cur, nxt], DDPM(), [literal], Noise(3)), watch.after[0])


def test_the_corrector_sees_the_fused_state_at_unit_variance_and_is_told_its_step():
    calls = []

    def record(x, t, y_T):
        calls.append((x.clone(), t, y_T))
        return y_T

    sigmas = [level.sigma / level.alpha for level in reversed(VP.respace("8").table)]
    low, mask = picture(1, 3, 4, 4), fixed_mask((8, 8), 2).expand(1, 3, 8, 8)
    for levels, transition in ((VP.respace("8").levels(), DDPM()), (sigma_levels(sigmas, edm_clock), DDIM(0.5))):
        calls.clear()
        watch = watched(Conditions(low, record, tau=500), levels=levels, transition=transition)
        assert len(calls) == len(levels) - 2  # what would be refined after the last step is never used
        for (x, t, y_T), after, (step, _) in zip(calls, watch.after, watch.before, strict=False):
            torch.testing.assert_close(on_grid(x, 2), on_grid(after, 2) / math.hypot(step.nxt.alpha, step.nxt.sigma))
            assert not x[~mask].any()
            assert torch.equal(on_grid(y_T, 2), low)
            assert t == corrector_time(step.nxt)
    times = []
    watched(Conditions(low, lambda x, t, y_T: times.append(t) or y_T, tau=500), levels=VP.levels(20))
    assert times == list(range(20, 0, -1))  # with no step left out, the paper's t


@pytest.mark.parametrize("refine", [True, False])
def test_without_refinement_the_corrector_sees_the_condition_alone(refine):
    seen = []
    record = lambda x, t, y_T: seen.append(on_grid(x, 2).clone()) or torch.full_like(x, 0.2)  # noqa: E731
    conditions = Conditions(picture(1, 3, 8, 8), record, tau=1000, omega=1000, refine=refine)
    watch = watched(conditions, size=(16, 16), levels=VP.levels(2))
    for x, (step, before), after, y in zip(seen, watch.before, watch.after, watch.y, strict=False):
        alone = on_grid(before - step.nxt.alpha * step.pred.x0, 2) + step.nxt.alpha * y
        torch.testing.assert_close(x, on_grid(after, 2) if refine else alone)
        assert not torch.allclose(on_grid(after, 2), alone)


def test_weights_may_be_switched_off():
    watch = watched(Conditions(picture(1, 3, 8, 8), constant(0.4), tau=1000, omega=1000, s=0.2, weighted=False), size=(16, 16))
    (step, _), after, mask, y = watch.before[-1], watch.after[-1], watch.masks[-1], watch.y[-1]
    assert step.nxt == CLEAN
    chosen = mask.expand(-1, 3, -1, -1)
    torch.testing.assert_close(on_grid(after, 2)[chosen], y[chosen])


def test_the_released_convention_leaves_the_last_step_alone_and_counts_from_zero():
    low = picture(1, 3, 4, 4)
    released = watched(Conditions(low, None, tau=3, omega=10, convention=RELEASED["ddim"]), transition=DDIM())
    assert [m is not None for m in released.masks] == [False] * 4 + [True] * 3 + [False]  # indices 3, 2, 1; nothing at 0
    assert released.after[-1] is released.before[-1][1]
    paper = watched(Conditions(low, None, tau=300, omega=1000), transition=DDIM(), levels=VP.respace("10").levels())
    assert [m is not None for m in paper.masks] == [False] * 7 + [True] * 3


def test_the_method_translates_settings_for_the_released_convention(prior, corrector):
    settings = dataclasses.replace(PRESETS["dpi20"], respacing="ddim5", convention="released")
    low = picture(1, 3, 8, 8)
    hook = Conditions(low, corrector, 350 / 200, 1.4, 1500 / 200, convention=RELEASED["ddim"], uniform=UniformDraws(Noise(3).child("dpi")))
    noise = Noise(3)
    by_hand = run(prior, noise((1, 3, 16, 16)), VP.respace("ddim5").levels(), DDIM(), [hook, ClipX0()], noise)
    assert torch.equal(dpi(prior, corrector, low, (16, 16), settings, Noise(3)), by_hand)


def test_a_corrector_that_knows_the_truth_is_followed(prior):
    truth = picture(1, 3, 16, 16, seed=7).clamp(-1, 1)
    for strength in (FEW, dataclasses.replace(FEW, tau=0.0)):
        result = dpi(prior, lambda x, t, y_T: truth, torch.zeros(1, 3, 8, 8), (16, 16), strength)
        free = dpi(prior, None, torch.zeros(1, 3, 8, 8), (16, 16), strength)
        distance = lambda x: (on_grid(x - truth, 2)).abs().mean().item()  # noqa: E731
        assert distance(result) < (1 if strength.tau else 1e-5) * distance(free)


# any prior, any transition, any batch


def edm_prior():
    return EDMPrior(filled(build_edm(EDM)))


def exploding(steps=8):
    return sigma_levels(geometric_sigmas(steps, 0.02, 50.0), edm_clock)


@pytest.mark.parametrize("transition", [DDPM(), DDIM(), DDIM(0.7), Euler(), Heun(), DPMpp2M()], ids=lambda t: str(t))
@pytest.mark.parametrize("family", ["VP", "VE"])
def test_every_transition_of_the_core_carries_conditions(transition, family):
    prior = GaussianPrior(torch.zeros(3, 1, 1), torch.full((3, 1, 1), 0.5))
    levels = VP.respace("8").levels() if family == "VP" else exploding()
    low = picture(2, 3, 4, 5)
    for tau in (0, 400):
        end = watched(Conditions(low, constant(0.25), tau=tau), prior, (8, 10), levels, transition, batch=2).after[-1]
        assert torch.isfinite(end).all()
        if tau == 0:
            torch.testing.assert_close(on_grid(end, 2), torch.full((2, 3, 4, 5), 0.25), atol=1e-4, rtol=0)


@pytest.mark.parametrize("transition", [EulerMaruyama(), ReverseDiffusion(1)], ids=["Euler-Maruyama", "Langevin"])
def test_the_transitions_of_exploding_priors_carry_conditions(transition):
    prior = GaussianPrior(torch.zeros(3, 1, 1), torch.full((3, 1, 1), 0.5))
    end = watched(Conditions(picture(1, 3, 4, 4), constant(0.25), tau=0), prior, levels=exploding(), transition=transition).after[-1]
    torch.testing.assert_close(on_grid(end, 2), torch.full((1, 3, 4, 4), 0.25), atol=1e-4, rtol=0)


def test_the_method_runs_on_adm_and_edm_priors(prior, corrector):
    low = picture(1, 3, 4, 4)
    for one in (prior, edm_prior()):
        for sampler in ("ddpm", "ddim"):
            result = dpi(one, corrector, low, (16, 16), dataclasses.replace(FEW, sampler=sampler))
            assert result.shape == (1, 3, 16, 16)
            assert torch.isfinite(result).all()
    assert len(levels_of(edm_prior(), FEW)) == 7
    with pytest.raises(ValueError, match="set respacing to a number"):
        levels_of(edm_prior(), DPISettings())


def test_a_batch_of_sixteen_equals_sixteen_singles(prior, corrector):
    low, seeds = picture(16, 3, 4, 4), list(range(16))
    low = low * torch.linspace(0.1, 1, 16).view(-1, 1, 1, 1)
    together = dpi(prior, corrector, low, (16, 16), FEW, Noise(seeds))
    for i in (0, 7, 15):
        alone = dpi(prior, corrector, low[i : i + 1], (16, 16), FEW, Noise(seeds[i : i + 1]))
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-4, rtol=1e-4)
    assert (together[:1] - dpi(prior, corrector, low[:1], (16, 16), FEW, Noise(99))).abs().max() > 0.01


def test_the_mask_draws_from_a_stream_of_its_own(prior):
    """Adding conditions does not change the noise of the run, and a run repeats."""
    noise = Noise(5)
    drawn = []
    dpi(prior, None, picture(1, 3, 4, 4), (16, 16), FEW, noise, on_step=lambda step, x: drawn.append(step.noise))
    again = Noise(5)
    start = again((1, 3, 16, 16))
    for got in drawn[:-1]:
        assert torch.equal(got, again(start.shape))
    hook = Conditions(picture(1, 3, 4, 4), None, uniform=5, tau=1000, omega=1000, s=0.2)
    first, second = (torch.cat(watched(hook).masks) for _ in range(2))
    assert torch.equal(first, second)


def test_nothing_is_differentiated(prior, corrector):
    low = picture(1, 3, 4, 4)
    assert not Conditions(low).needs_grad
    grad = []
    record = lambda x, t, y_T: grad.append(torch.is_grad_enabled()) or corrector(x, t, y_T)  # noqa: E731
    guidance = MeasurementGuidance(lambda x0: x0.mean((2, 3)), torch.zeros(1, 3), 0.1)
    end = dpi(prior, record, low, (16, 16), FEW, hooks=(guidance,))  # composes with what needs a gradient
    assert torch.isfinite(end).all()
    assert grad
    assert not any(grad)
    assert not end.requires_grad


# pictures


@pytest.mark.parametrize(("shape", "scale"), [((1, 3, 8, 8), 2), ((2, 3, 5, 7), 4), ((1, 1, 6, 3), 2.7), ((1, 3, 1, 2), 8)])
def test_any_picture_and_scale(prior, corrector, shape, scale):
    low = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    result = dpi_upscale(prior, corrector, low, scale, FEW, CanvasSettings(16, 6))
    assert result.shape == (*shape[:2], *[math.ceil(round(n * scale, 6)) for n in shape[2:]])
    assert 0 <= result.min() <= result.max() <= 1


def test_tiles_start_on_the_grid_whatever_their_batch(prior, corrector):
    low = torch.rand(1, 3, 10, 13, generator=torch.Generator().manual_seed(0))
    shown = []
    watching = lambda x, t, y_T: shown.append(bool(y_T[..., ::2, ::2].all())) or corrector(x, t, y_T)  # noqa: E731
    tiled = TiledCorrector(watching, 16, 6, 3)
    y_T = sparse(picture(1, 3, 10, 13) + 3, 2)
    assert tiled(y_T, 5.0, y_T).shape == y_T.shape
    assert len(shown) > 1
    assert all(shown)
    few = dataclasses.replace(FEW, respacing="3")
    one, many = (dpi_upscale(prior, corrector, low, 2, few, CanvasSettings(16, 7, batch)) for batch in (1, 3))
    torch.testing.assert_close(one, many, atol=1e-4, rtol=0)


def test_a_luma_prior_restores_luma_and_keeps_the_colours(photo):
    grey = ADMPrior(filled(build_adm(dataclasses.replace(CONFIG, in_channels=1, out_channels=2))))
    small = Corrector(filled(CorrectorUNet(dataclasses.replace(CRT, in_channels=1, out_channels=1, unshuffle=2))))
    low = photo[..., :8, :8]
    result = dpi_upscale(grey, small, low, 2, FEW, seeds=[1])
    difference = result - torch.nn.functional.interpolate(low, scale_factor=2, mode="bicubic", antialias=True)
    inside = ((result > 0) & (result < 1)).all(1)[0]
    torch.testing.assert_close((difference[:, 0] - difference[:, 1])[0][inside], torch.zeros(int(inside.sum())), atol=0.02, rtol=0)


def test_presets_are_the_papers():
    found = {name: (p.tau, p.s, p.omega) for name, p in PRESETS.items()}
    assert found == {"x4": (100, 1.4, 500), "x8": (300, 1.2, 750), "x16": (500, 1.0, 1000), "real": (500, 1.0, 1000), "dpi20": (350, 1.4, 1500)}
    assert {scale: preset(scale) for scale in (2, 4, 8, 16)} == {2: PRESETS["x4"], 4: PRESETS["x4"], 8: PRESETS["x8"], 16: PRESETS["x16"]}
    assert DPISettings() == PRESETS["x8"]
    assert all(p.k == 2 and p.convention == "paper" for p in PRESETS.values())


# the corrector


def test_the_published_corrector_has_the_published_keys():
    listed = json.loads(MANIFEST.read_text(encoding="utf-8"))
    with torch.device("meta"):
        state = CorrectorUNet(NETWORKS["corrector"]).state_dict()
    assert {k: list(v.shape) for k, v in state.items()} == {k.removeprefix("module."): v for k, v in listed.items()}
    assert sum(v.numel() for v in state.values()) == 5_867_427


@pytest.mark.parametrize("unshuffle", [1, 2])
def test_the_initial_condition_is_injected_without_weights(unshuffle):
    network = filled(CorrectorUNet(dataclasses.replace(CRT, unshuffle=unshuffle)))
    x, t, base = picture(2, 3, 16, 16), torch.tensor([3.0, 700.0]), picture(2, 3, 8, 8, seed=1)
    y_T = sparse(base, 2)
    plain = build_adm(dataclasses.replace(CRT, unshuffle=unshuffle)).eval()
    plain.load_state_dict(network.state_dict())
    torch.testing.assert_close(network(x, t, torch.zeros_like(x)), plain(x, t))
    biased = plain.stem(x) + 0.1 * (base if unshuffle == 2 else y_T).mean(1, keepdim=True)
    torch.testing.assert_close(network(x, t, y_T), plain.body(biased, plain.embed(t)) + y_T)
    with pytest.raises(ValueError, match="must agree"):
        network(x, t, y_T[:1])


def test_the_small_corrector_fits_a_luma_prior():
    network = CorrectorUNet(SMALL)
    x = picture(1, 1, 64, 64)
    assert network(x, torch.zeros(1), x).shape == x.shape
    assert sum(p.numel() for p in network.parameters()) < 1.1e6
    for wrong in ({"out_channels": 2}, {"num_classes": 3}):
        with pytest.raises(ValueError, match="corrector"):
            CorrectorUNet(dataclasses.replace(SMALL, **wrong))


def test_corrector_files_come_back(tmp_path, corrector, prior):
    state = {f"module.{k}": v for k, v in corrector.network.state_dict().items()}
    own = {"kind": "corrector", "settings": json.dumps(dataclasses.asdict(CRT)), "k": 4, "scale": 16, "ema": 0.999}
    weights.save(corrector.network, tmp_path / "own.safetensors", own)
    torch.save(state, tmp_path / "Corrector8.pt")
    torch.save(state, tmp_path / "ema_0.9999_100000.pt")
    expected = {"own.safetensors": (4, 16), "Corrector8.pt": (2, 8), "ema_0.9999_100000.pt": (2, None)}
    x = picture(1, 3, 16, 16)
    for name, (k, scale) in expected.items():
        loaded = load_corrector(str(tmp_path / name))
        assert (loaded.k, loaded.scale, loaded.channels) == (k, scale, 3)
        torch.testing.assert_close(loaded(x, 5.0, x), corrector(x, 5.0, x))
    assert weights.load(tmp_path / "own.safetensors").kind == weights.load(tmp_path / "Corrector8.pt").kind == "corrector"
    weights.save(prior.network, tmp_path / "prior.safetensors", {"settings": json.dumps(dataclasses.asdict(CONFIG))})
    assert weights.load(tmp_path / "prior.safetensors").kind == "adm"
    weights.save(corrector.network, tmp_path / "raw.safetensors", {**own, "ema": 0.0})
    torch.save(state, tmp_path / "model100000.pt")
    for name, words in {"raw.safetensors": "without EMA", "model100000.pt": "without EMA", "prior.safetensors": "where corrector weights"}.items():
        with pytest.raises(ValueError, match=words):
            load_corrector(str(tmp_path / name))


# bad input


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"tau": 1200.0}, "tau 1200"),
        ({"tau": -1.0}, "tau"),
        ({"omega": 200.0}, "at least tau"),
        ({"omega": math.inf}, "omega"),
        ({"s": 0.0}, "positive number"),
        ({"s": -1.0}, "s -1"),
        ({"k": 1}, "k 1"),
        ({"sampler": "euler"}, "not one of ddpm, ddim"),
        ({"convention": "mine"}, "not one of paper, released"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        DPISettings(**wrong)


@pytest.mark.parametrize("wrong", [{"tau": 1001}, {"s": 0}, {"omega": 100}])
def test_the_hook_refuses_them_too(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Conditions(torch.zeros(1, 3, 4, 4), **wrong)


def test_mistakes_are_explained_before_the_first_step(prior, corrector):
    low, calls = picture(1, 3, 8, 8), []
    counted = lambda *a: calls.append(1) or prior(*a)  # noqa: E731
    grey = Corrector(filled(CorrectorUNet(dataclasses.replace(CRT, in_channels=1, out_channels=1))))
    other, scaled = dataclasses.replace(corrector, k=4), dataclasses.replace(corrector, scale=8)
    for one, size, words in ((grey, (16, 16), "for 1 channels"), (other, (16, 16), "trained with k 4"), (None, (17, 16), "does not divide")):
        with pytest.raises(ValueError, match=words):
            dpi(prior, one, low, size, FEW, denoiser=counted)
    with pytest.raises(ValueError, match="larger than the grid"):
        dpi(prior, None, low, (8, 8), FEW, denoiser=counted)
    with pytest.raises(ValueError, match="they must agree"):
        run(counted, picture(3, 3, 16, 16), VP.respace("2").levels(), DDPM(), [Conditions(picture(2, 3, 8, 8))], Noise(range(3)))
    for one, scale, words in ((scaled, 4, "trained for x8, not x4"), (corrector, 1.5, "give 2 or more"), (grey, 2, "for 1 channels")):
        with pytest.raises(ValueError, match=words):
            dpi_upscale(prior, one, low.abs(), scale, FEW)
    with pytest.raises(ValueError, match="tile of 8 is smaller"):
        dpi_upscale(prior, Corrector(filled(CorrectorUNet(dataclasses.replace(CRT, unshuffle=8)))), low.abs(), 2, FEW, CanvasSettings(8, 0))
    assert not calls


# the objective


def test_a_posterior_draw_has_the_moments_of_the_forward_process():
    clean = torch.full((4, 1, 160, 160), 0.6)
    t, noise = torch.tensor([1, 250, 700, 999]), Noise(range(4))
    drawn = posterior_sample(clean, t, noise(clean.shape), noise(clean.shape))
    before = [ORIGINAL.table[i - 1] for i in t.tolist()]
    torch.testing.assert_close(drawn.mean((1, 2, 3)), torch.tensor([0.6 * level.alpha for level in before]), atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.std((1, 2, 3)), torch.tensor([level.sigma for level in before]), atol=0.02, rtol=0.02)
    zero = torch.zeros(1, dtype=torch.long)
    torch.testing.assert_close(posterior_sample(clean[:1], zero, noise(clean.shape)[:1], noise(clean.shape)[:1]), clean[:1])


@pytest.mark.parametrize("family", ["VP", "VE"])
def test_a_frozen_prior_draws_the_same_as_the_closed_form(family):
    """For a prior that knows every picture is the same, both are the true posterior."""
    clean = torch.full((1, 1, 200, 200), 0.6)
    prior = GaussianPrior(torch.full((1, 1, 1), 0.6), torch.zeros(1, 1, 1))
    chain = VP.table if family == "VP" else tuple(sigma_levels([level.sigma / level.alpha], edm_clock)[0] for level in VP.table)
    drawn = prior_sample(prior, clean, chain[400], chain[399], Noise(0))
    assert drawn.mean().item() == pytest.approx(0.6 * VP.table[399].alpha, abs=0.02)
    assert drawn.std().item() == pytest.approx(VP.table[399].sigma, rel=0.02)


def test_omega_goes_from_the_prior_to_the_gap_along_the_sampling():
    t = torch.tensor([999, 600, 300, 0])
    for form in ("linear", "cosine"):
        weights_ = omega(t, form).tolist()
        assert weights_[0] == pytest.approx(1)
        assert weights_[-1] == 0
        assert all(a > b for a, b in pairwise(weights_))
    assert omega(t, "constant", 0.3).tolist() == pytest.approx([0.3] * 4)
    with pytest.raises(ValueError, match="not one of linear, cosine, constant"):
        omega(t, "steep")


def test_the_loss_weighs_both_errors_on_the_grid_alone():
    network, truth, base = CorrectorUNet(CRT), picture(2, 3, 16, 16), picture(2, 3, 8, 8, seed=1)
    t, noise = torch.tensor([10, 900]), Noise([1, 2])
    noisy = posterior_sample(truth, t, noise(truth.shape), noise(truth.shape))
    loss = crt_loss(network, truth, base, t, noisy, noisy * 0.5, omega(t))
    # a new network adds nothing to y_T, so that both errors are those of the base condition
    expected = (on_grid(truth, 2) - base).square().mean((1, 2, 3))
    torch.testing.assert_close(loss.prior, expected)
    torch.testing.assert_close(loss.total, omega(t) * loss.prior + (1 - omega(t)) * loss.gap)
    torch.testing.assert_close(loss.refined, sparse(base, 2))
    assert not loss.refined.requires_grad
    loss.total.mean().backward()
    assert network.out[2].weight.grad.abs().sum() > 0
    changed = truth.clone()
    changed[..., 1::2, :] += 1
    torch.testing.assert_close(grid_error(noisy, changed, 2), grid_error(noisy, truth, 2))
    single = released_loss(network, truth, base, t, noise(truth.shape), noise(truth.shape))
    torch.testing.assert_close(single, expected / 4)
