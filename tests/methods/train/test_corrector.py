from __future__ import annotations

import json
from collections import Counter

import pytest
import torch
from corrector_trainings import PRIOR, QUICK, RECIPE, change, faces
from trainings import interrupted, step, weights_of

from priorsr.methods.degrade.faces import MIXED
from priorsr.methods.degrade.presets import FACE_LEVELS
from priorsr.methods.dpi.corrector import Corrector
from priorsr.methods.dpi.masks import on_grid, sparse
from priorsr.methods.dpi.method import DPISettings, dpi_upscale
from priorsr.methods.dpi.objective import grid_error
from priorsr.methods.imaging.images import read
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.nets.corrector import CorrectorUNet
from priorsr.methods.priors.adm import ADMPrior
from priorsr.methods.train.corrector.loss import trace
from priorsr.methods.train.corrector.recipe import conditions, low_resolution_of
from priorsr.methods.train.corrector.task import TIMES, task
from priorsr.methods.train.loop import Optimisation, fit

# conditions


@pytest.mark.parametrize(
    "recipe",
    [change(scale=4), change(scale=8), change(scale=4, k=4), change(degradation="mild")],
    ids=["x4", "x8", "k4", "mild"],
)
def test_conditions_are_those_of_inference(recipe):
    """What training gives the corrector for y_T is what `dpi_upscale` gives it for the same low-resolution
    pictures.
    """
    seen = []

    class Recording(CorrectorUNet):
        def forward(self, x, t, y_T):
            seen.append(y_T)
            return y_T

    pictures = faces(3)
    low, scale = low_resolution_of(pictures, recipe, [5, 6, 7])
    assert torch.equal(low, (low * 255).round() / 255)
    prior = ADMPrior(build_adm(PRIOR).eval())
    corrector = Corrector(Recording(recipe.config()).eval(), recipe.k)
    dpi_upscale(prior, corrector, low, scale, DPISettings(respacing="3", k=recipe.k))
    truth, base = conditions(pictures, recipe, [5, 6, 7])
    torch.testing.assert_close(truth, pictures / 127.5 - 1)
    torch.testing.assert_close(on_grid(seen[0], recipe.k), base, rtol=0, atol=1e-6)
    assert base.shape == (3, 1, 16 // recipe.k, 16 // recipe.k)


def test_degradations_follow_their_seeds_and_a_mix_has_all_of_them():
    recipe = change(degradation="mix")
    (one, scale), (same, _), (other, _) = (low_resolution_of(faces(1), recipe, [seed]) for seed in (3, 3, 4))
    assert scale == recipe.k
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert set(MIXED) <= set(FACE_LEVELS)
    limits = [FACE_LEVELS[level] for level in MIXED]
    drawn = Counter()
    for seed in range(200):
        _, shrink, grain, _, _ = recipe.degradations().draw(seed).steps[0].steps
        fits = [
            r[0] <= shrink.factor <= r[1] and d[0] <= grain.sigma <= d[1]
            for r, d in ((x.r, x.delta) for x in limits)
        ]
        drawn.update(level for level, fit in zip(MIXED, fits, strict=True) if fit)
        assert any(fits)
    assert all(drawn[level] >= 30 for level in MIXED)


# the loss


@pytest.mark.parametrize("form", ["linear", "constant"])
def test_one_term_drawn_by_its_weight_is_the_whole_loss_in_the_mean(form):
    """A corrector that answers what it is shown: the errors of both terms are noise and the base condition's
    own.
    """
    honest = lambda x, t, y_T: x  # noqa: E731
    means = []
    for objective in ("paper", "sampled"):
        work = task(
            change(objective=objective, omega=form, omega_level=0.3, batch=64, flip=False),
            faces(32),
            faces(2),
        )
        means.append(sum(float(work.loss(honest, step(i))) for i in range(12)) / 12)
    assert means[0] == pytest.approx(means[1], rel=0.03)
    ends = [
        task(change(objective="sampled", omega="constant", omega_level=level, batch=64), faces(32), faces(2))
        for level in (0.0, 1.0)
    ]
    blind = lambda x, t, y_T: y_T  # noqa: E731  (what is shown does not matter)
    assert float(ends[0].loss(blind, step(0))) == pytest.approx(float(ends[1].loss(blind, step(0))))
    assert float(ends[0].loss(honest, step(0))) > 1.02 * float(ends[1].loss(honest, step(0)))


def test_the_loss_is_the_error_on_the_grid_and_the_released_one_a_quarter():
    pictures = faces(1).repeat(8, 1, 1, 1)
    truth, base = conditions(pictures, RECIPE, range(8))
    expected = float(grid_error(sparse(base, 2), truth, 2).mean())
    for objective, share in (("sampled", 1), ("paper", 1), ("released", 1 / 4)):
        work = task(change(objective=objective, flip=False), pictures, pictures)
        assert work.loss(work.network, step(0)).item() == pytest.approx(
            share * expected, rel=1e-4
        )  # a new corrector answers y_T
        assert work.validate(work.network)["base"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("objective", ["sampled", "paper", "released"])
def test_training_lowers_the_errors_and_draws_them(tmp_path, objective):
    work = task(change(objective=objective), faces(64), faces(16), seed=1)
    fit(work, Optimisation(steps=24, lr=5e-3, warmup=4, ema=0.9, validate_every=12), tmp_path, progress=False)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["gap"] < 0.8 * rows[-1]["base"]
    for name in ("prior", "gap"):
        profile = [rows[-1][f"{name}@{t}"] for t in TIMES]
        assert sum(profile) / len(profile) == pytest.approx(rows[-1][name])
    for name, columns in (("curve.png", 4), ("error.png", 2)):
        height, width = read(tmp_path / name).pixels.shape[-2:]
        assert width == pytest.approx(columns * 400, abs=2)
        assert height == pytest.approx(300, abs=2)
    assert read(tmp_path / "conditions.png").pixels.shape == (1, 1, 8 * 8, (len(TIMES) + 2) * 8)


def test_the_trace_feeds_the_corrector_its_own_answers():
    truth, base = conditions(faces(2), RECIPE, [0, 1])
    seen = []

    class Halving(torch.nn.Linear):
        def forward(self, x, t, y_T):
            seen.append((x, int(t[0])))
            return y_T / 2 ** (len(seen) // 2)

    found = list(trace(Halving(1, 1), truth, base, [100, 900, 0], 2))
    assert [t for t, _, _ in found] == [900, 100, 0]
    assert [t for _, t in seen] == [900, 900, 100, 100, 0, 0]
    torch.testing.assert_close(seen[4][0], sparse(on_grid(truth, 2), 2))  # at 0 nothing is noised
    torch.testing.assert_close(seen[5][0], found[1][2])


# runs and files


def test_a_cut_run_resumes_to_the_same_weights(tmp_path):
    def make():
        return task(RECIPE, faces(16), faces(4), seed=3)

    whole = fit(make(), QUICK, tmp_path / "whole", progress=False)
    interrupted(make(), QUICK, tmp_path / "cut", 5)
    resumed = fit(make(), QUICK, tmp_path / "cut", resume=True, progress=False)
    assert torch.equal(weights_of(whole), weights_of(resumed))
    with pytest.raises(ValueError, match=r"other settings \(scale=4"):
        fit(task(change(scale=8), faces(16), faces(4)), QUICK, tmp_path / "cut", resume=True, progress=False)
