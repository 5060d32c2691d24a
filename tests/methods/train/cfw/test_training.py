"""Training of StableSR's feature wrapping: latents, files, resuming, the command and mistakes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from cfw_trainings import QUICK, made, sampled
from safetensors.torch import load_file, save_file
from stablesr_tiny import context, tiny
from trainings import step, weights_of

from priorsr.methods.cli import main as cli
from priorsr.methods.nets.cfw import CFW
from priorsr.methods.stablesr.load import load_cfw
from priorsr.methods.stablesr.method import StableSRSettings, restore
from priorsr.methods.train.loop import fit
from priorsr.methods.train.pairs import enlarged
from priorsr.methods.train.stablesr import cfw
from priorsr.methods.train.stablesr.cfw import CFWRecipe, build
from priorsr.samplers.noise import Noise


@pytest.mark.slow
def test_the_wrapped_decoder_comes_closer_to_the_truth(trained, place):
    (row,) = [json.loads(line) for line in (place / "run" / "log.jsonl").read_text().splitlines()]
    before = trained[3]
    assert row["psnr"] > before["psnr"] + 1
    assert row["psnr_plain"] == before["psnr_plain"]
    assert "lpips" not in row
    assert (place / "run" / "decoded.png").exists()


def test_the_autoencoder_stays_as_it_is(trained):
    job = trained[0]
    assert torch.equal(weights_of(job.network.vae.network), weights_of(tiny().vae))
    assert not any(p.grad is not None for p in job.network.vae.network.parameters())
    assert {key.split(".")[0] for key in job.network.state_dict()} == {"cfw", "adversary"}


def test_the_file_is_that_of_the_published_blocks(trained, recipe, latents):
    _, network, path, _ = trained
    assert load_file(path).keys() == {f"decoder.{key}" for key in tiny().cfw.state_dict()}
    assert torch.equal(weights_of(load_cfw(str(path))), weights_of(network.cfw))
    again = made(
        replace(recipe, init=str(path), growth=16), latents
    ).network.cfw  # the file decides the sizes
    assert torch.equal(weights_of(again), weights_of(network.cfw))


def test_a_resumed_run_repeats_an_uninterrupted_one(recipe, latents, tmp_path):
    short = replace(QUICK, steps=4, checkpoint_every=2, validate_every=4)
    whole = fit(made(recipe, latents), short, tmp_path / "whole", progress=False)
    fit(made(recipe, latents), replace(short, steps=2), tmp_path / "parts", progress=False)
    resumed = fit(made(recipe, latents), short, tmp_path / "parts", resume=True, progress=False)
    assert torch.equal(weights_of(resumed), weights_of(whole))


def test_latents_are_what_sampling_gives(recipe, latents):
    truth, low, latent = latents[0].read([1, 4])
    assert (truth.dtype, low[0].dtype, latent.dtype) == (torch.uint8, torch.uint8, torch.float32)
    assert [tuple(x.shape) for x in low] == [(3, 8, 8)] * 2
    settings = StableSRSettings(steps=2, tile=32, overlap=0, start="lr", fidelity=0.0)
    shown = enlarged(low, 32, recipe.enlargement)
    expected = restore(tiny(), shown, context(), settings, noise=Noise([1, 4])).latent
    torch.testing.assert_close(latent, expected, rtol=1e-4, atol=1e-4)


def test_what_is_there_is_not_made_again(recipe, latents, place, tmp_path, monkeypatch):
    copy = replace(recipe, latents=str(shutil.copytree(recipe.latents, tmp_path / "copy")))
    there = copy.folders()[0]
    first, kept = there.path(0).stat().st_mtime_ns, load_file(there.path(3))
    there.path(3).unlink()
    assert sampled(copy, place)[0].missing() == []
    assert there.path(0).stat().st_mtime_ns == first
    for name, value in load_file(there.path(3)).items():
        torch.testing.assert_close(value, kept[name], rtol=1e-4, atol=1e-4)  # alone in its batch this time
    monkeypatch.setattr(CFWRecipe, "opened", None)  # what is whole needs neither networks nor pictures
    assert sampled(copy, tmp_path / "nowhere")[0].count == 5
    with pytest.raises(ValueError, match=r"made with other settings \(sampling=2\)"):
        sampled(replace(copy, sampling=3), place)
    there.path(2).write_bytes(there.path(2).read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"0000002.safetensors.*Delete it"):
        there.read([2])


def test_an_interrupted_synthesis_keeps_what_it_has(recipe, place, tmp_path, monkeypatch):
    calls = []

    def interrupted(*arguments, sample=cfw.Sampler.__call__):
        calls.append(arguments)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return sample(*arguments)

    other = replace(recipe, latents=str(tmp_path))
    monkeypatch.setattr(cfw.Sampler, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sampled(other, place)
    assert other.folders()[0].missing() == [2, 3, 4]


def test_batches_depend_on_their_seed_alone(recipe, latents):
    job = made(replace(recipe, adversarial=0.0), latents)
    first, again, other = (job.loss(job.network, step(seed)).item() for seed in (1, 1, 2))
    assert first == again != other
    half = job.loss(job.network, replace(step(1), half=True))
    assert half.item() == pytest.approx(first, rel=0.05)


def test_the_command_trains(recipe, place, capsys):
    names = (
        "base",
        "layers",
        "context",
        "latents",
        "size",
        "pairs",
        "sampling",
        "blocks",
        "growth",
        "perceptual",
    )
    options = [f"--{name}={getattr(recipe, name)}" for name in names]
    few = ["--steps", "1", "--batch", "2", "--validate-every", "1", "--device", "cpu", "--json"]
    data = [
        "--data",
        str(place / "data"),
        "--validation",
        str(place / "data"),
        "--out",
        str(place / "command.safetensors"),
    ]
    options[3] = f"--latents={place / 'commanded'}"
    assert cli.main(["train", "cfw", *data, *options, *few]) == 0
    assert json.loads(capsys.readouterr().out)["psnr"] > 0
    assert load_cfw(str(place / "command.safetensors")).widths == {1: 32, 2: 64}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"base": ""}, "needs --base FILE"),
        ({"layers": ""}, "needs --layers FILE"),
        ({"latents": ""}, "needs --latents FOLDER"),
        ({"base": "{place}/layers.safetensors"}, "where sd-vae weights are needed"),
        ({"init": "{place}/base.safetensors"}, "where cfw weights are needed"),
        (
            {"init": "{place}/other.safetensors"},
            "CFW was made for an autoencoder with 64 channels at level 1",
        ),
    ],
)
def test_mistakes_are_told_before_sampling(recipe, place, change, words):
    other = CFW({1: 64, 2: 64}, 1, 8)
    save_file(
        {f"decoder.{key}": value for key, value in other.state_dict().items()}, place / "other.safetensors"
    )
    change = {k: v.format(place=place) for k, v in change.items()}
    with pytest.raises(ValueError, match=words):
        build(replace(recipe, **change))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layers": "{place}/base.safetensors"}, "where stablesr-layers weights are needed"),
        ({"size": 40}, "no multiple of 16"),
    ],
)
def test_mistakes_leave_no_folder_behind(recipe, place, tmp_path, change, words):
    change = {k: v.format(place=place) if isinstance(v, str) else v for k, v in change.items()}
    with pytest.raises(ValueError, match=words):
        sampled(replace(recipe, latents=str(tmp_path / "none"), **change), place)
    assert not (tmp_path / "none").exists()
