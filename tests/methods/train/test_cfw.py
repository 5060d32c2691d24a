from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from stablesr_tiny import base_file, context, pictures, tiny
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from priorsr.methods.cli import main as cli
from priorsr.methods.metrics.backbones import missing
from priorsr.methods.metrics.perceptual import lpips, lpips_network
from priorsr.methods.nets.cfw import CFW
from priorsr.methods.stablesr.autoencoder import Autoencoder
from priorsr.methods.stablesr.load import load_cfw
from priorsr.methods.stablesr.method import StableSRSettings, restore
from priorsr.methods.train import perceptual
from priorsr.methods.train.adversary import Adversary
from priorsr.methods.train.loop import Batch, Optimisation, fit
from priorsr.methods.train.pairs import enlarged
from priorsr.methods.train.perceptual import Perceptual
from priorsr.methods.train.stablesr import cfw
from priorsr.methods.train.stablesr.cfw import CFWRecipe, build, files, metadata, synthesise, task
from priorsr.methods.train.stablesr.cfw_loss import Wrapping
from priorsr.methods.weights import save
from priorsr.samplers.noise import Noise

QUICK = Optimisation(
    steps=16, lr=3e-3, warmup=2, ema=0.8, final_lr=1.0, checkpoint_every=16, validate_every=16
)


@pytest.fixture(scope="module", autouse=True)
def hasty():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cfw, "JUDGED", 3)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cfw")
    pictures(folder / "data")
    base_file(folder / "base.safetensors")
    save_file({"context": context()}, folder / "empty.safetensors")
    save_file(tiny().layers.released_state(), folder / "layers.safetensors")
    return folder


@pytest.fixture(scope="module")
def recipe(place):
    files = {
        name: str(place / f"{file}.safetensors")
        for name, file in {"base": "base", "layers": "layers", "context": "empty"}.items()
    }
    sampled = {"size": 32, "pairs": 5, "sampling": 2, "part": 2, "latents": str(place / "latents")}
    return CFWRecipe(**files, **sampled, blocks=1, growth=8, batch=4, workers=2, perceptual=0.0, after=2)


@pytest.fixture(scope="module")
def latents(recipe, place):
    return sampled(recipe, place)


def sampled(recipe, place):
    return synthesise(recipe, QUICK, [place / "data"], [place / "data"], "cpu", progress=False)


def made(recipe, latents):
    return task(recipe, *build(recipe), *latents)


def step(seed=0):
    return Batch(torch.Generator().manual_seed(seed), False, torch.device("cpu"))


def weights_of(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.fixture(scope="module")
def trained(recipe, latents, place):
    job = made(recipe, latents)
    before = job.validate(job.network)
    network = fit(job, QUICK, place / "run", progress=False)
    ((out, part, said),) = files(network, metadata(recipe, QUICK), place / "cfw.safetensors")
    return job, network, save(part, out, said), before


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


class Distance(nn.Module):
    """In place of LPIPS: the distance of blurred pictures."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(3.0))

    def forward(self, a, b):
        return self.scale * nn.functional.avg_pool2d(a - b, 4).square().mean((1, 2, 3), keepdim=True)


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_the_loss_is_distance_perception_and_a_fixed_share_of_the_game(distance, monkeypatch):
    monkeypatch.setattr(perceptual, "missing", lambda metric: None)
    monkeypatch.setattr(perceptual, "lpips_network", Distance)
    torch.manual_seed(0)
    model, game = tiny(), Adversary(0.025, 1, 32, balanced=False)
    generator = torch.Generator().manual_seed(1)
    latent, low, truth = (
        torch.randn(2, *size, generator=generator) / 2 for size in ((4, 4, 4), (3, 32, 32), (3, 32, 32))
    )
    blocks = CFW({1: 32, 2: 64}, blocks=1, growth=8)
    net = Wrapping(blocks, model.vae, distance, Perceptual(0.5), game)
    made = Autoencoder(model.vae, blocks).decode(latent, low, 1.0).detach()
    errors = made - truth
    others = (errors.abs().mean() if distance == "l1" else errors.square().mean()) + 0.5 * Distance()(
        made, truth
    ).mean()
    judged = [game.judge(x).detach() for x in (truth, made)]
    hinge = (1 - judged[0]).relu().mean() + (1 + judged[1]).relu().mean()
    assert net(latent, low, truth).item() == pytest.approx(
        (others + hinge).item(), rel=1e-5
    )  # the game does not count yet
    total = net(latent, low, truth)
    assert total.item() == pytest.approx((others + hinge - 0.025 * judged[1].mean()).item(), rel=1e-5)
    total.backward()
    assert all(p.grad.abs().sum() > 0 for p in blocks.parameters())
    assert not any(key.startswith("perceptual") for key in net.state_dict())


def test_the_game_s_share_of_the_gradient_is_fixed():
    torch.manual_seed(0)
    game = Adversary(0.025, 0, 32, balanced=False)
    made, truth = torch.rand(1, 3, 32, 32).requires_grad_(), torch.rand(1, 3, 32, 32)
    game(made, truth, 1e6 * made.sum()).backward()
    (push,) = torch.autograd.grad(-game.judge(made).mean(), made)
    torch.testing.assert_close(made.grad, 0.025 * push)


def test_without_its_weights_the_perceptual_term_is_left_out_aloud(recipe, latents, monkeypatch, caplog):
    monkeypatch.setattr(perceptual, "missing", lambda metric: f"{metric} needs its weights")
    job = made(replace(recipe, perceptual=1.0), latents)
    assert "the perceptual term is left out: lpips-vgg needs its weights" in caplog.text
    assert (
        job.network.perceptual.network,
        job.identity["lpips"],
        metadata(replace(recipe, perceptual=1.0), QUICK)["lpips"],
    ) == (None, False, False)
    monkeypatch.setattr(perceptual, "missing", lambda metric: None)
    monkeypatch.setattr(perceptual, "lpips_network", Distance)
    job = made(replace(recipe, perceptual=1.0), latents)
    assert job.identity["lpips"]
    assert job.validate(job.network)["lpips"] > 0


@pytest.mark.skipif(missing("lpips-vgg") is not None, reason="the weights of LPIPS are not installed")
def test_lpips_to_learn_from_is_lpips():
    a, b = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    shown = (2 * a - 1).requires_grad_()
    found = lpips_network()(shown, 2 * b - 1)
    torch.testing.assert_close(found.flatten(), lpips(a, b))
    found.sum().backward()
    assert shown.grad.abs().sum() > 0


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


def test_both_sides_are_clipped_by_their_own_gradients(recipe, latents, tmp_path):
    """As released: however steep the judge's loss, what makes pictures learns at its own pace."""
    work = made(replace(recipe, adversarial=0.025, after=0), latents)
    maker, judge = work.apart(work.network)
    assert {id(p) for p in judge} == {id(p) for p in work.network.adversary.parameters()}
    assert {id(p) for p in maker} == {id(p) for p in work.network.cfw.parameters()}
    seen = {}

    def loss(network, batch):
        part = [sum((p * (1000 if side is judge else 0.01)).sum() for p in side) for side in (maker, judge)]
        return sum(part)

    def watch(optimizer, arguments, keywords):
        for name, side in (("maker", maker), ("judge", judge)):
            seen[name] = torch.stack([p.grad.norm() for p in side]).norm()

    hook = register_optimizer_step_pre_hook(watch)
    try:
        settings = replace(QUICK, steps=1, clip=0.5, validate_every=5, checkpoint_every=5)
        fit(replace(work, loss=loss, validate=lambda net: {}, show=lambda net, run: None), settings, tmp_path)
    finally:
        hook.remove()
    count = sum(p.numel() for p in maker)
    assert float(seen["judge"]) == pytest.approx(0.5, rel=1e-3)
    assert float(seen["maker"]) == pytest.approx(min(0.5, 0.01 * count**0.5), rel=1e-3)
