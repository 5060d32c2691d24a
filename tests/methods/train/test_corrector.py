from __future__ import annotations

import dataclasses
import json
from collections import Counter

import pytest
import torch
from trainings import interrupted, weights_of

from priorsr.methods import weights
from priorsr.methods.cli import main as cli
from priorsr.methods.degrade.faces import MIXED
from priorsr.methods.degrade.presets import FACE_LEVELS
from priorsr.methods.dpi.corrector import Corrector, load_corrector
from priorsr.methods.dpi.masks import on_grid, sparse
from priorsr.methods.dpi.method import DPISettings, dpi, dpi_upscale
from priorsr.methods.dpi.objective import grid_error
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.nets.adm_config import ADMConfig
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.nets.corrector import SMALL, CorrectorUNet
from priorsr.methods.priors.adm import ADMPrior
from priorsr.methods.train.corrector import rollouts as corrector_runs
from priorsr.methods.train.corrector.loss import trace
from priorsr.methods.train.corrector.recipe import CorrectorRecipe, conditions, low_resolution_of
from priorsr.methods.train.corrector.rollouts import Rollouts
from priorsr.methods.train.corrector.task import TIMES, TUNED, check, frozen_prior, metadata, task
from priorsr.methods.train.loop import Batch, Optimisation, fit
from priorsr.samplers.noise import Noise

RECIPE = CorrectorRecipe(size=16, scale=4, unshuffle=2, mult="1", attention="", batch=8)
QUICK = Optimisation(steps=6, lr=3e-3, warmup=2, ema=0.9, checkpoint_every=2, validate_every=6)
PRIOR = ADMConfig(
    image_size=16,
    in_channels=1,
    out_channels=1,
    model_channels=32,
    num_res_blocks=1,
    channel_mult=(1,),
    attention_factors=(),
    num_head_channels=32,
)


def faces(count, size=16):
    """Pictures of one kind: a soft disc on a slope each, somewhere and of some brightness."""
    generator = torch.Generator().manual_seed(0)
    x, y, bright, slope = torch.rand(4, count, 1, 1, 1, generator=generator)
    row, column = torch.linspace(0, 1, size).view(-1, 1), torch.linspace(0, 1, size)
    disc = bright * torch.sigmoid(
        20 * (0.3 - ((row - x * 0.5 - 0.25) ** 2 + (column - y * 0.5 - 0.25) ** 2).sqrt())
    )
    return ((disc + slope * 0.3 * column).clamp(0, 1) * 255).round().to(torch.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("faces")
    for i, x in enumerate(faces(6)):
        write(Picture(x[None] / 255), place / f"{i:02}.png")
    return place


def step(seed):
    return Batch(torch.Generator().manual_seed(seed), False, torch.device("cpu"))


def change(**values):
    return dataclasses.replace(RECIPE, **values)


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


@pytest.mark.parametrize(
    ("options", "scale"),
    [(["--scale", "4"], 4), (["--degradation", "mild", "--objective", "released"], None)],
)
def test_a_trained_file_is_loaded_for_what_it_was_trained_for(tmp_path, folder, options, scale):
    out = tmp_path / "crt.safetensors"
    common = [
        "--data",
        str(folder),
        "--validation",
        str(folder),
        "--out",
        str(out),
        "--steps",
        "2",
        "--batch",
        "2",
        "--device",
        "cpu",
    ]
    assert (
        cli.main(
            [
                "train",
                "corrector",
                *common,
                "--size",
                "16",
                "--mult",
                "1",
                "--attention",
                "",
                "--unshuffle",
                "2",
                *options,
            ]
        )
        == 0
    )
    found = load_corrector(str(out))
    assert (found.k, found.scale, found.channels, found.multiple) == (2, scale, 1, 2)
    assert next(iter(weights.read_state(out)[0].values())).dtype == torch.float16
    said = weights.read_metadata(out)
    assert (said["kind"], said["degradation"]) == ("corrector", "mild" if scale is None else "bicubic")
    assert json.loads(said["training"])["steps"] == 2
    assert json.loads(said["settings"])["unshuffle"] == 2
    assert float(said[f"gap@{TIMES[0]}"]) > 0
    found.check(1, 2, scale)
    for wrong, words in (
        ((3, 2), "for 1 channels"),
        ((1, 4), "k 2, not 4"),
        *([((1, 2, 8), "for x4, not x8")] if scale else []),
    ):
        with pytest.raises(ValueError, match=words):
            found.check(*wrong)
    x = sparse(torch.rand(1, 1, 8, 8), 2)
    assert not torch.equal(found(x, 5.0, x), x)


def test_files_that_say_too_little_or_nonsense(tmp_path):
    network = CorrectorUNet(RECIPE.config())
    own = metadata(RECIPE, TUNED)
    for name, changed, words in (
        ("jumpy", {"ema": 0}, "without EMA"),
        ("gridless", {"k": "two"}, "k 'two'"),
        ("everywhere", {"k": 1}, "k '1'"),
    ):
        weights.save(network, tmp_path / f"{name}.safetensors", {**own, **changed})
        with pytest.raises(ValueError, match=words):
            load_corrector(str(tmp_path / f"{name}.safetensors"))
    published = CorrectorUNet(
        ADMConfig(
            image_size=16,
            model_channels=32,
            out_channels=3,
            num_res_blocks=1,
            channel_mult=(1, 1),
            attention_factors=(),
            num_head_channels=16,
        )
    )
    for name, refused in (
        ("ema_0.9999_1", False),
        ("model000001", True),
    ):  # as another program would write them, with metadata of its own
        weights.save(published, tmp_path / f"{name}.safetensors", {"format": "pt"})
        if refused:
            with pytest.raises(ValueError, match="without EMA"):
                load_corrector(str(tmp_path / f"{name}.safetensors"))
        else:
            assert load_corrector(str(tmp_path / f"{name}.safetensors")).channels == 3


def test_the_default_network_is_small_enough_to_ship():
    assert CorrectorRecipe().config() == SMALL
    with torch.device("meta"):
        network = CorrectorUNet(SMALL)
    assert (
        2 * sum(v.numel() for v in network.state_dict().values()) < 0.98e6
    )  # bytes in half precision, with room for what the file says


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
