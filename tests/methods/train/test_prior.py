from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import pytest
import torch
from trainings import weights_of

from priorsr.methods import weights
from priorsr.methods.cli import main as cli
from priorsr.methods.diffsr.prf import recoverable_field
from priorsr.methods.evaluate.calibrate import faithful_omega, limits, lost
from priorsr.methods.evaluate.diffsr_study import Sweep
from priorsr.methods.evaluate.prior import collapsed, restoration, step_distance
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.nets.srcnn import SRCNN
from priorsr.methods.priors.adm import ADMPrior
from priorsr.methods.priors.calibration import Calibration, midpoint_timesteps
from priorsr.methods.priors.load import PriorSettings, frame_of, load_prior
from priorsr.methods.priors.unconditional import samples
from priorsr.methods.train.loop import Optimisation, fit
from priorsr.methods.train.pairs import Crops
from priorsr.methods.train.prior import PriorRecipe, build, grid, metadata, scales_of, squares, task
from priorsr.samplers.schedule import DiscreteSchedule

change = lambda **values: dataclasses.replace(RECIPE, **values)  # noqa: E731
RECIPE = PriorRecipe(size=16, mult="1,2", attention="2", blocks=1, train_steps=100, batch=8)
COSINE = DiscreteSchedule.named("cosine")


def ramps(count, size=16):
    """Pictures of one kind: a brightness and a slope each."""
    generator = torch.Generator().manual_seed(0)
    base, slope = torch.rand(2, count, 1, 1, 1, generator=generator)
    return (
        ((base + slope * torch.linspace(-0.5, 0.5, size)).clamp(0, 1).expand(-1, 1, size, -1) * 255)
        .round()
        .to(torch.uint8)
    )


TINY = ["--size", "16", "--mult", "1,2", "--blocks", "1", "--attention", "2"]  # a network of seconds


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("faces")
    for i, x in enumerate(ramps(12)):
        write(Picture(x[None] / 255), place / f"{i:02}.png")
    return place


def test_pictures_become_squares_of_the_right_size_and_colour():
    wide = torch.rand(3, 20, 40)
    luma, rgb = squares([wide], 16, 1), squares([wide, wide[:1]], 16, 3)
    assert (luma.shape, rgb.shape, luma.dtype) == ((1, 1, 16, 16), (2, 3, 16, 16), torch.uint8)
    grey = torch.full((1, 16, 16), 100 / 255)
    assert (squares([grey], 16, 1) == 100).all()
    middle = torch.zeros(1, 16, 48)
    middle[..., 16:32] = 1
    assert (squares([middle], 16, 1) == 255).all()


@pytest.mark.parametrize("target", ["v", "eps"])
def test_training_lowers_the_error_and_writes_pictures(tmp_path, target):
    import dataclasses

    work = task(dataclasses.replace(RECIPE, target=target), ramps(64), ramps(16), seed=1)
    before = work.validate(work.network)["eps_mse"]
    fit(work, Optimisation(steps=40, lr=3e-3, warmup=5, ema=0.9, validate_every=20), tmp_path, progress=False)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["eps_mse"] < 0.7 * before
    assert read(tmp_path / "samples.png").pixels.shape == (1, 1, 64, 64)
    assert min(read(tmp_path / "curve.png").pixels.shape[-2:]) > 100


def test_the_loss_of_v_is_that_of_the_schedule():
    """A network that answers 0 has the mean square of its target as its loss: sigma^2 mean(x0^2) + alpha^2
    for v.
    """
    from priorsr.methods.train.loop import Batch

    images = torch.full((4, 1, 16, 16), 255, dtype=torch.uint8)
    work = task(RECIPE, images, images)
    silent = lambda x, t: torch.zeros_like(x)  # noqa: E731
    losses = [
        float(work.loss(silent, Batch(torch.Generator().manual_seed(i), False, torch.device("cpu"))))
        for i in range(40)
    ]
    assert sum(losses) / len(losses) == pytest.approx(1.0, abs=0.03)  # x0 = 1: alpha^2 + sigma^2


def test_recipes_that_cannot_work_are_refused_before_any_work():
    with pytest.raises(ValueError, match="no multiple of 16"):
        PriorRecipe(size=24, mult="1,2,4,4").config()
    with pytest.raises(ValueError, match="no list of whole numbers"):
        PriorRecipe(mult="1,two").config()
    with pytest.raises(ValueError, match="multiple of 8"):
        PriorRecipe(width=36).config()
    with pytest.raises(ValueError, match=r"32 channels, unshuffle 4 brings 48.*--width 64"):
        PriorRecipe(channels="rgb", unshuffle=4, width=32).config()
    assert PriorRecipe(channels="rgb", unshuffle=4, width=64).config().stem_channels == 48
    with pytest.raises(ValueError, match="cannot be split into heads"):
        PriorRecipe(width=48, mult="1,1", attention="2").config()
    for crops in ("1,x", "2", "0", "-0.5"):
        with pytest.raises(ValueError, match=r"write 1,0\.75,0\.5"):
            scales_of(crops)


def test_a_training_goes_on_from_a_file_of_the_same_network_noise_and_target(tmp_path):
    network = build_adm(RECIPE.config())
    torch.nn.init.normal_(network.out[2].weight)
    file = str(tmp_path / "first.safetensors")
    weights.save(network, file, metadata(network, RECIPE, Optimisation(), ramps(4)))
    begun = build(change(init=file, dropout=0.1, size=32), seed=5)
    torch.testing.assert_close(weights_of(begun), weights_of(network), rtol=0, atol=0)
    for wrong, words in (
        ({"width": 64}, r"other settings \(model_channels 32\)"),
        ({"channels": "rgb"}, "in_channels 1, out_channels 1"),
        ({"target": "eps"}, r"other noise or target \(target v\)"),
        ({"train_steps": 50}, r"\(train_steps 100\)"),
    ):
        with pytest.raises(ValueError, match=words):
            build(change(init=file, **wrong))
    other = weights.save(SRCNN(), tmp_path / "other.safetensors", {"kind": "srcnn", "scale": 2})
    with pytest.raises(ValueError, match="holds SRCNN weights where adm weights are needed"):
        build(change(init=str(other)))
    with pytest.raises(FileNotFoundError, match="no weights called nowhere"):
        build(change(init="nowhere"))


def test_crops_are_cut_at_every_scale_from_large_enough_pictures(tmp_path, caplog):
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 40, 64)
    write(Picture(ramp), tmp_path / "ramp.png")
    write(Picture(ramp[..., :12, :]), tmp_path / "flat.png")
    crops = Crops.of([tmp_path], 16, flip=False, scales=(1.0, 0.5))
    assert "1 of 2 pictures are left out" in caplog.text
    rises = torch.stack([crops(seed) for seed in range(40)])[:, 0, 0].diff(dim=-1)[:, 4:-4].mean(-1)
    whole, half = (rises - 1 / 63).abs() < 1e-3, (rises - 2 / 63).abs() < 2e-3
    assert (whole | half).all()
    assert 8 < int(whole.sum()) < 32
    assert torch.equal(crops(3), Crops.of([tmp_path], 16, flip=False, scales=(1.0, 0.5))(3))
    assert crops.judged(3).shape == (3, 3, 16, 16)
    too_small = Crops.of([tmp_path], 16, scales=(0.25,))(0)  # 64 pixels are asked for, 40 are there
    assert too_small.shape == (3, 16, 16)


def test_train_calibrate_and_upscale_from_the_command_line(tmp_path, folder, caplog):
    caplog.set_level("INFO")
    out = tmp_path / "tiny.safetensors"
    common = [
        "--data",
        str(folder),
        "--validation",
        str(folder),
        "--out",
        str(out),
        "--steps",
        "4",
        "--batch",
        "4",
        "--device",
        "cpu",
    ]
    assert (
        cli.main(
            [
                "train",
                "prior",
                *common,
                "--size",
                "16",
                "--mult",
                "1,2",
                "--blocks",
                "1",
                "--attention",
                "2",
                "--ema",
                "0.5",
            ]
        )
        == 0
    )
    prior = load_prior(str(out))
    assert (prior.target, prior.size, prior.channels, prior.multiple) == ("v", 16, 1, 4)
    torch.testing.assert_close(prior.schedule.betas, COSINE.betas)
    assert sorted(prior.measured.errors) == midpoint_timesteps(1000, 25)
    assert weights.read_metadata(out)["kind"] == "prior"
    assert next(iter(weights.read_state(out)[0].values())).dtype == torch.float16

    upscale = [
        "upscale",
        str(folder / "00.png"),
        str(tmp_path / "larger.png"),
        "--method",
        "diffsr",
        "--prior",
        str(out),
        "--scale",
        "2.5",
    ]
    assert cli.main(upscale) == 0
    assert read(tmp_path / "larger.png").pixels.shape[-2:] == (40, 40)
    assert "noise level" in caplog.text
    assert cli.main(["calibrate", str(out), str(out), "--data", str(folder)]) == 2
    assert "exists" in caplog.text


@pytest.mark.slow
def test_a_checkpoint_is_exported_as_it_is(tmp_path, folder, caplog):
    small = [
        *TINY,
        "--batch",
        "2",
        "--lr",
        "1e-2",
    ]
    where = ["--data", str(folder), "--validation", str(folder), "--device", "cpu", "--crops", "1,0.5"]
    command = ["train", "prior", *where, *small, "--ema", "0.5", "--run", str(tmp_path / "run")]
    assert cli.main([*command, "--export", "--out", str(tmp_path / "x.safetensors")]) == 2
    assert "holds no checkpoint to export" in caplog.text
    assert cli.main([*command, "--steps", "3", "--out", str(tmp_path / "whole.safetensors")]) == 0
    before = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "0.png").write_bytes((folder / "00.png").read_bytes())
    command += ["--data", str(tmp_path / "few")]
    assert cli.main([*command, "--steps", "99", "--export", "--out", str(tmp_path / "now.safetensors")]) == 0
    framed = tmp_path / "framed.safetensors"
    assert cli.main([*command, "--frame", "tight", "--export", "--out", str(framed)]) == 0
    assert (frame_of(str(framed)), frame_of(str(tmp_path / "now.safetensors"))) == ("tight", "ffhq")
    whole, now = (weights.read_state(tmp_path / f"{n}.safetensors")[0] for n in ("whole", "now"))
    assert all(torch.equal(whole[key], now[key]) for key in whole)
    assert json.loads(weights.read_metadata(tmp_path / "now.safetensors")["training"])["steps"] == 3
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == before


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path, folder):
    """Under torchrun: one file, one log, and a checkpoint that a single process does not take for its own."""
    out = tmp_path / "two.safetensors"
    small = [
        *TINY,
        "--steps",
        "2",
        "--batch",
        "4",
        "--device",
        "cpu",
    ]
    command = [
        "train",
        "prior",
        "--data",
        str(folder),
        "--validation",
        str(folder),
        "--out",
        str(out),
        *small,
    ]
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "-m",
        "priorsr.methods.cli.main",
    ]
    done = subprocess.run(
        [*torchrun, *command, "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count(str(out)) == 1
    assert len((tmp_path / "two-run" / "log.jsonl").read_text().splitlines()) == 1
    assert load_prior(str(out)).size == 16
    assert cli.main([*command, "--resume", "--overwrite"]) == 2


@pytest.mark.slow
def test_a_run_may_be_resumed_with_more_steps(tmp_path):
    short = Optimisation(steps=4, warmup=2, checkpoint_every=2, validate_every=4)
    fit(task(RECIPE, ramps(8), ramps(8)), short, tmp_path, progress=False)
    import dataclasses

    fit(
        task(RECIPE, ramps(8), ramps(8)),
        dataclasses.replace(short, steps=6),
        tmp_path,
        resume=True,
        progress=False,
    )
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [4, 6]


def test_samples_do_not_depend_on_their_number():
    torch.manual_seed(0)
    prior = ADMPrior(build_adm(RECIPE.config()).eval(), COSINE, "v")
    torch.testing.assert_close(samples(prior, 3, 4)[:1], samples(prior, 1, 4), rtol=0, atol=1e-5)
    assert grid(torch.rand(5, 1, 8, 8)).shape == (1, 1, 24, 16)


@pytest.mark.slow
def test_a_prior_is_judged_by_what_it_restores_and_draws():
    prior = ADMPrior(build_adm(RECIPE.config()).eval(), COSINE, "v", Calibration(errors_of(0.2)))
    truth = ramps(2).float() / 255
    rows = restoration(prior, truth, [2])
    assert [(r["scale"], r["method"]) for r in rows] == [(2, "bicubic"), (2, "one sample"), (2, "mean of 4")]
    assert rows[0]["psnr"] > 25  # ramps survive reduction
    apart = step_distance(prior, truth, 2, 2, 3)
    assert apart.keys() == {"restored", "sampled"}
    assert apart["sampled"] > 0
    faces = torch.rand(4, 1, 8, 8) * 0.5 + 0.25
    odd = torch.cat([torch.zeros(1, 1, 8, 8), faces[:1], torch.ones(1, 1, 8, 8), faces[:1] * 0.1 + 0.4])
    assert collapsed(odd) == [0, 2, 3]


def errors_of(std):
    return {
        i: lv.alpha**2 * std**2 / (lv.alpha**2 * std**2 + lv.sigma**2) for i, lv in enumerate(COSINE.table)
    }


def test_limits_put_the_field_where_the_paper_found_it():
    distances = {2.0: 0.003, 4.0: 0.012, 8.0: 0.031}
    measured = limits(COSINE.table, errors_of(0.2), distances)
    fields = [recoverable_field(COSINE.table, measured, d) for d in distances.values()]
    assert fields[0].inside.sum() > fields[1].inside.sum() > 0
    assert fields[1].inside[399]
    assert fields[2].empty
    with pytest.raises(ValueError, match="no limits give"):
        limits(COSINE.table, errors_of(0.2), {2.0: 0.02, 4.0: 0.02, 8.0: 0.02})


def test_what_is_lost_grows_with_the_scale():
    truth = torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    assert 0 < lost(truth, 2.0) < lost(truth, 4.0) < lost(truth, 8.0)


def test_the_faithful_omega_meets_the_measured_optimum():
    truth = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    prior = type("P", (), {})

    from priorsr.methods.nets.adm_config import ADMConfig

    with torch.device("meta"):
        network = build_adm(
            ADMConfig(
                in_channels=1, out_channels=1, model_channels=32, channel_mult=(1,), num_head_channels=32
            )
        )
    prior = ADMPrior(network, COSINE, "v", Calibration(errors_of(0.2)))
    peaks = [
        Sweep(s, {lv: {"psnr": -abs(lv - best)} for lv in range(5, 60, 5)}, {})
        for s, best in ((2.0, 20), (4.0, 20))
    ]
    low, high = (
        faithful_omega(prior, truth, [Sweep(p.scale, _peak(best), {}) for p in peaks]) for best in (45, 10)
    )
    assert low > high > 0


def _peak(best):
    return {level: {"psnr": -abs(level - best)} for level in range(5, 60, 5)}


def test_what_a_file_says_wins_over_guesses_and_what_is_asked_over_both(tmp_path, folder):
    out = tmp_path / "p.safetensors"
    arguments = [
        "--data",
        str(folder),
        "--validation",
        str(folder),
        "--out",
        str(out),
        "--steps",
        "1",
        "--batch",
        "2",
        "--size",
        "16",
        "--mult",
        "1",
    ]
    assert (
        cli.main(
            ["train", "prior", *arguments, "--train-steps", "50", "--schedule", "linear", "--target", "eps"]
        )
        == 0
    )
    prior, asked = load_prior(str(out)), load_prior(str(out), PriorSettings("cosine", 20, "x0"))
    assert (len(prior.schedule.betas), prior.target) == (50, "eps")
    assert (len(asked.schedule.betas), asked.target) == (20, "x0")
