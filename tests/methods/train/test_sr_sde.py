"""Training of score networks: conditions, the loss, going on from a file, resuming, files that restore."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from prior_trainings import ramps
from trainings import interrupted, written

from priorsr.methods import weights
from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.images import read
from priorsr.methods.nets.ncsnpp import NCSNppConfig
from priorsr.methods.srdg.method import condition, enlarged, load_sr_prior, srdg_upscale
from priorsr.methods.srdg.objective import ScoreOptimisation
from priorsr.methods.train.loop import Batch, Optimisation, fit
from priorsr.methods.train.sr_sde import TUNED, SRRecipe, build, errors, metadata, pairs, task

RECIPE = SRRecipe(
    size=16,
    channels="luma",
    factors="2,4",
    width=8,
    mult="1,2",
    blocks=1,
    attention="8",
    sigma_max=5.0,
    batch=8,
)
QUICK = Optimisation(
    steps=24, lr=1e-2, final_lr=0.1, warmup=3, ema=0.7, validate_every=24, checkpoint_every=4
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("faces"), ramps(4))


def test_the_defaults_are_the_published_ones():
    recipe, published = SRRecipe(), ScoreOptimisation()
    assert recipe.config() == NCSNppConfig()
    assert (TUNED.lr, TUNED.warmup, TUNED.clip, TUNED.ema) == (
        published.lr,
        published.warmup,
        published.clip,
        published.ema,
    )
    assert TUNED.share_at(10_000) == TUNED.share_at(TUNED.steps - 1) == 1.0
    assert TUNED.share_at(2499) == 0.5
    assert (recipe.reductions(), recipe.flip, recipe.dropout) == ((8,), False, 0.0)


def test_conditions_are_those_of_inference():
    seen, prior = [], None
    clean, low = pairs(ramps(2), 4)
    network = build(RECIPE)
    network.register_forward_pre_hook(lambda _, given: seen.append(given[2]))
    from priorsr.methods.priors.ncsnpp import NCSNppPrior
    from priorsr.methods.srdg.method import SRDGSettings

    prior = NCSNppPrior(network.eval())
    srdg_upscale(prior, condition(clean, 4), 4, settings=SRDGSettings(steps=2, corrections=0))
    torch.testing.assert_close(seen[0], low)
    assert clean.max() <= 1


def test_the_loss_of_a_network_that_answers_zero_is_that_of_its_noise():
    """Half the squared norm of white noise, summed over 256 pixels, whatever the time."""
    work = task(RECIPE, build(RECIPE), ramps(8), ramps(4))
    silent = lambda x, sigma, low: torch.zeros_like(x)  # noqa: E731
    losses = [
        float(work.loss(silent, Batch(torch.Generator().manual_seed(i), False, torch.device("cpu"))))
        for i in range(20)
    ]
    assert sum(losses) / 20 == pytest.approx(128, rel=0.02)


def test_batches_draw_both_factors_and_all_times():
    work, low, told = task(RECIPE, build(RECIPE), ramps(8), ramps(4)), [], []

    def spy(x, sigma, y):
        told.append(sigma)
        low.append(y)
        return torch.zeros_like(x)

    for i in range(30):
        work.loss(spy, Batch(torch.Generator().manual_seed(i), False, torch.device("cpu")))
    sigmas = torch.cat(told).log()
    assert sigmas.min() > torch.tensor(0.0099).log()
    assert sigmas.max() < torch.tensor(5.001).log()
    assert float(sigmas.mean()) == pytest.approx(float(torch.tensor([0.01, 5.0]).log().mean()), abs=0.3)
    blocky = {tuple(pairs(ramps(8), f)[1].flatten(1).std(1).round(decimals=4).tolist()) for f in (2, 4)}
    assert len(blocky) == 2


def test_small_pictures_of_several_kernels_are_drawn_and_rounded():
    recipe, low = replace(RECIPE, factors="4", kernels="bilinear, bicubic", rounded=True), []
    work = task(recipe, build(recipe), ramps(8), ramps(4))
    for i in range(12):
        work.loss(
            lambda x, sigma, y: low.append(y) or torch.zeros_like(x),
            Batch(torch.Generator().manual_seed(i), False, torch.device("cpu")),
        )
    kinds = [pairs(ramps(8), 4, kernel, rounded=True)[1] for kernel in recipe.filters()]
    near = [[float((seen[:, None] - kind).abs().amax((2, 3, 4)).amin()) for kind in kinds] for seen in low]
    assert {row.index(min(row)) for row in near} == {0, 1}
    assert max(min(row) for row in near) < 1e-6
    small = condition(ramps(2) / 255, 4, "bicubic")
    rounded = pairs(ramps(2), 4, "bicubic", rounded=True)[1]
    torch.testing.assert_close(rounded, enlarged((small * 255).round() / 255, (16, 16)), rtol=0, atol=1e-6)


def test_an_unknown_kernel_is_said_before_anything_is_built():
    with pytest.raises(ValueError, match="no kernel 'cubic': give one or more of bilinear,bicubic"):
        build(replace(RECIPE, kernels="bilinear,cubic"))


@pytest.mark.slow
def test_training_lowers_the_error_and_resumes(tmp_path):
    images, judged = ramps(64), ramps(8)
    new = lambda: task(RECIPE, build(RECIPE, 1), images, judged)  # noqa: E731
    before = new().validate(build(RECIPE, 1))
    assert before["error"] == pytest.approx(1.0, rel=0.1)  # nothing learnt
    net = fit(new(), QUICK, tmp_path / "whole", progress=False)
    after = new().validate(net)
    assert after["error"] < 0.7 * before["error"]
    assert [k for k in after if "@" in k] == [f"error@{(i + 0.5) / 8:.3g}" for i in range(8)]
    assert read(tmp_path / "whole" / "samples.png").pixels.shape == (1, 1, 32, 192)
    assert min(read(tmp_path / "whole" / "error.png").pixels.shape[-2:]) > 100
    interrupted(new(), QUICK, tmp_path / "parts", 22)
    again = fit(new(), QUICK, tmp_path / "parts", resume=True, progress=False)
    for one, other in zip(net.state_dict().values(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_command_writes_what_restores_and_may_be_gone_on_from(tmp_path, folder, caplog):
    caplog.set_level("INFO")
    out, tuned = tmp_path / "sr.safetensors", tmp_path / "tuned.safetensors"
    own = ["--width", "8", "--mult", "1,2", "--blocks", "1", "--attention", "8", "--sigma-max", "5"]
    common = [
        "train",
        "sr-sde",
        "--data",
        str(folder),
        "--validation",
        str(folder),
        "--size",
        "16",
        "--channels",
        "luma",
        "--factors",
        "4",
    ]
    common += ["--batch", "2", "--device", "cpu"]
    assert cli.main([*common, *own, "--steps", "2", "--out", str(out)]) == 0
    prior = load_sr_prior(str(out))
    assert (prior.size, prior.channels, prior.multiple, prior.schedule.largest) == (16, 1, 2, 5.0)
    said = weights.read_metadata(out)
    assert (said["kind"], said["factors"]) == ("sr-sde", "4")
    assert json.loads(said["training"])["width"] == 8
    assert weights.read_state(out)[0]["all_modules.0.W"].dtype == torch.float32

    assert cli.main([*common, "--init", str(out), "--steps", "1", "--lr", "0", "--out", str(tuned)]) == 0
    for key, value in load_sr_prior(str(tuned)).network.state_dict().items():
        torch.testing.assert_close(value, prior.network.state_dict()[key])
    assert json.loads(weights.read_metadata(tuned)["settings"])["nf"] == 8
    assert (
        cli.main(
            [
                *common[:-1],
                "cpu",
                "--channels",
                "rgb",
                "--start",  # as --init was called
                str(out),
                "--out",
                str(tmp_path / "x.safetensors"),
            ]
        )
        == 2
    )
    assert "for 1 channels, the recipe for rgb" in caplog.text
    assert "--start is now --init" in caplog.text


def test_a_network_that_sees_blocks_learns_and_comes_back_from_its_file(tmp_path):
    recipe = replace(RECIPE, unshuffle=2, size=32, attention="16", mult="1,2")
    network = build(recipe)
    assert network.config.reduction == 4
    assert [type(m).__name__ for m in network.all_modules].count(
        "AttnBlockpp"
    ) == 3  # 16: maps of the first level
    work = task(recipe, network, ramps(32, 32), ramps(8, 32))
    before = work.validate(network)["error"]
    trained = fit(work, QUICK, tmp_path, progress=False)
    assert work.validate(trained)["error"] < 0.8 * before
    file = weights.save(trained, tmp_path / "blocks.safetensors", metadata(trained, recipe, QUICK))
    assert load_sr_prior(str(file)).network.config == network.config
    with pytest.raises(ValueError, match="8 channels, unshuffle 4 brings 16"):
        replace(RECIPE, unshuffle=4).config()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"factors": "3"}, "do not divide the size 16"),
        ({"factors": ""}, "do not divide"),
        ({"factors": "1"}, "do not divide"),
        ({"mult": "1,1,1,1,1,1"}, "no multiple of 32"),
        ({"mult": ""}, "gives no levels"),
        ({"width": 6}, "no positive multiple of 4"),
        ({"init": "nowhere"}, "no weights called nowhere"),
    ],
)
def test_recipes_that_cannot_work_are_refused(change, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        build(replace(RECIPE, **change))


def test_errors_do_not_depend_on_the_parts():
    work = build(RECIPE)
    judged = [pairs(ramps(20), 2)]
    from priorsr.methods.priors.ncsnpp import NCSNppPrior

    schedule = NCSNppPrior(work).schedule
    assert list(errors(work, judged, schedule)) == [(i + 0.5) / 8 for i in range(8)]
