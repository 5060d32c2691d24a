"""Correctors that see what sampling by a prior shows them, and recipes that are refused."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from corrector_trainings import PRIOR, QUICK, RECIPE, change, faces
from trainings import interrupted, step, weights_of

from priorsr.methods import weights
from priorsr.methods.dpi.masks import sparse
from priorsr.methods.dpi.method import dpi
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.nets.corrector import CorrectorUNet
from priorsr.methods.train.corrector import rollouts as corrector_runs
from priorsr.methods.train.corrector.recipe import conditions
from priorsr.methods.train.corrector.rollouts import Rollouts
from priorsr.methods.train.corrector.task import TUNED, check, frozen_prior, metadata, task
from priorsr.methods.train.loop import Optimisation, fit
from priorsr.samplers.noise import Noise

# a frozen prior


@pytest.fixture(scope="module")
def prior_file(tmp_path_factory):
    place = tmp_path_factory.mktemp("prior") / "tiny.safetensors"
    said = {
        "kind": "prior",
        "settings": json.dumps(dataclasses.asdict(PRIOR)),
        "chain": json.dumps({"schedule": "cosine", "target": "v"}),
    }
    torch.manual_seed(0)
    network = build_adm(PRIOR)
    torch.nn.init.normal_(network.out[2].weight, std=0.02)
    weights.save(network, place, said)
    return str(place)


@pytest.mark.parametrize("objective", ["sampled", "paper"])
def test_a_frozen_prior_may_noise_the_true_conditions(tmp_path, prior_file, objective):
    known = change(objective=objective, prior=prior_file)
    work, closed = task(known, faces(16), faces(4)), task(change(objective=objective), faces(16), faces(4))
    honest = lambda x, t, y_T: x  # noqa: E731
    assert float(work.loss(honest, step(0))) != float(closed.loss(honest, step(0)))
    fit(work, QUICK, tmp_path, progress=False)
    assert torch.isfinite(weights_of(work.network)).all()


# runs of the prior


def test_runs_show_the_corrector_what_sampling_shows_it(prior_file):
    """The inputs that training collects are those of a run with the same picture, seed and settings, and are
    judged by its truth.
    """
    recipe = change(objective="runs", prior=prior_file)
    runs = Rollouts(recipe, frozen_prior(recipe), faces(4))
    network = CorrectorUNet(recipe.config())
    truth, base = conditions(faces(2), recipe, [0, 1])
    seen = runs.rollout(network, truth, base, [5, 6], 6, 300.0)
    told = []
    watched = lambda x, t, y_T: told.append((x.clone(), t)) or network.eval()(x, torch.full((2,), t), y_T)  # noqa: E731
    with torch.no_grad():
        dpi(
            runs.prior,
            watched,
            base,
            (16, 16),
            dataclasses.replace(runs.settings, tau=300.0, omega=500.0, respacing="6"),
            Noise([5, 6]),
        )
    assert len(seen) == len(told) == 5  # none after the last step
    for (one, _), (x, t) in zip(seen, told, strict=True):
        assert torch.equal(sparse(one.x, 2), x)
        assert one.t.tolist() == pytest.approx([t, t])
        assert torch.equal(one.truth, truth)


@pytest.mark.slow
def test_training_on_runs_lowers_their_errors_and_resumes_on_a_round(tmp_path, prior_file, monkeypatch):
    monkeypatch.setattr(corrector_runs, "EVERY", 4)
    monkeypatch.setattr(corrector_runs, "STEPS", (5, 8))
    recipe = change(objective="runs", prior=prior_file)
    settings = Optimisation(steps=24, lr=5e-3, warmup=4, ema=0.9, validate_every=12, checkpoint_every=8)
    whole = fit(task(recipe, faces(64), faces(8), seed=1), settings, tmp_path / "whole", progress=False)
    rows = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["runs"] < 0.8 * rows[-1]["base"]
    interrupted(task(recipe, faces(64), faces(8), seed=1), settings, tmp_path / "cut", 19)
    again = fit(
        task(recipe, faces(64), faces(8), seed=1), settings, tmp_path / "cut", resume=True, progress=False
    )
    assert torch.equal(weights_of(whole), weights_of(again))


def test_a_training_goes_on_from_weights(tmp_path, prior_file):
    network = CorrectorUNet(RECIPE.config())
    torch.nn.init.normal_(network.out[2].weight)
    weights.save(network, tmp_path / "first.safetensors", metadata(RECIPE, TUNED))
    init = str(tmp_path / "first.safetensors")
    assert torch.equal(weights_of(task(change(init=init), faces(4), faces(2)).network), weights_of(network))
    with pytest.raises(ValueError, match=r"other settings \(channel_mult"):
        check(change(init=init, mult="1,1"), QUICK)


# bad input


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"scale": 3}, "scale 3 must divide the size 16"),
        ({"scale": 2, "k": 4}, "at least k 4"),
        ({"k": 3}, "k 3 does not divide"),
        ({"mult": "1,1,1,1,1"}, "no multiple of 32"),
        ({"mult": "one"}, "no list of whole numbers"),
        ({"width": 36}, "multiple of 8"),
    ],
)
def test_recipes_that_cannot_work_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        check(change(**wrong), QUICK)


@pytest.mark.parametrize(
    "wrong",
    [
        {"degradation": "terrible"},
        {"objective": "own"},
        {"omega": "steep"},
        {"k": 1},
        {"scale": 1},
        {"omega_level": 1.5},
        {"batch": 0},
    ],
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        change(**wrong).config()


def test_trainings_that_give_nothing_to_use_are_refused(prior_file):
    with pytest.raises(ValueError, match="ema 0"):
        check(RECIPE, dataclasses.replace(QUICK, ema=0.0))
    with pytest.raises(ValueError, match="is for 1 channels"):
        check(change(prior=prior_file, channels="rgb"), QUICK)
    with pytest.raises(FileNotFoundError):
        check(change(prior="nowhere"), QUICK)
    with pytest.raises(ValueError, match="objective released"):
        check(change(prior=prior_file, objective="released"), QUICK)
    with pytest.raises(ValueError, match="name one with --prior"):
        check(change(objective="runs"), QUICK)
    with pytest.raises(ValueError, match="a batch of 2"):
        check(change(objective="runs", prior=prior_file, batch=1), QUICK)
