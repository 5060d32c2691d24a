from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from priorsr.methods import weights
from priorsr.methods.cli import main as cli
from priorsr.methods.degrade.faces import face_damage
from priorsr.methods.faces.load import load_codeformer
from priorsr.methods.imaging.images import Picture, write
from priorsr.methods.train import perceptual
from priorsr.methods.train.adversary import Adversary
from priorsr.methods.train.codeformer.loss import Reconstruction, Teacher
from priorsr.methods.train.codeformer.task import (
    CodeFormerRecipe,
    build,
    check,
    low_resolution_of,
    metadata,
    task,
)
from priorsr.methods.train.loop import Batch, Optimisation, fit

SIZES = {
    "size": 16,
    "width": 32,
    "mult": "1,1",
    "blocks": 1,
    "attention": "8",
    "codes": 16,
    "code_channels": 8,
}
TRANSFORMER = {"channels": 16, "heads": 2, "layers": 1, "fused": "8,16"}
RECIPE = CodeFormerRecipe(**SIZES, **TRANSFORMER, degradation="mild", batch=4, adversarial=0.0)
QUICK = Optimisation(
    steps=24, lr=2e-3, warmup=2, ema=0.8, final_lr=1.0, checkpoint_every=24, validate_every=12
)


def faces(count, size=16):
    """Pictures of one kind: a soft disc somewhere on a slope, in colours."""
    generator = torch.Generator().manual_seed(0)
    x, y, slope = torch.rand(3, count, 1, 1, 1, generator=generator)
    colour = torch.rand(count, 3, 1, 1, generator=generator)
    row, column = torch.linspace(0, 1, size).view(-1, 1), torch.linspace(0, 1, size)
    disc = torch.sigmoid(20 * (0.3 - ((row - x * 0.5 - 0.25) ** 2 + (column - y * 0.5 - 0.25) ** 2).sqrt()))
    return ((colour * disc + slope * 0.3 * column).clamp(0, 1) * 255).round().to(torch.uint8)


def made(recipe, images=None):
    images = faces(12) if images is None else images
    return task(recipe, build(recipe), images, images[:4])


def step(seed=0):
    return Batch(torch.Generator().manual_seed(seed), False, torch.device("cpu"))


def weights_of(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def rows(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The three stages one after another: their files, and their logs."""
    place, files, logs = tmp_path_factory.mktemp("stages"), {}, {}
    for stage in ("codebook", "prediction", "fusion"):
        recipe = replace(
            RECIPE,
            stage=stage,
            **{
                k: str(files[v])
                for k, v in {"codebook": "codebook", "start": "prediction"}.items()
                if v in files
            },
        )
        network = fit(made(recipe), QUICK, place / stage, progress=False)
        files[stage] = weights.save(network, place / f"{stage}.safetensors", metadata(network, recipe, QUICK))
        logs[stage] = rows(place / stage)
    return files, logs


def test_every_stage_learns_and_leaves_a_file_for_the_next(trained):
    files, logs = trained
    for stage, (early, late) in logs.items():
        assert late["loss"] < 0.97 * early["loss"], stage
    assert logs["codebook"][1]["psnr"] > logs["codebook"][0]["psnr"]
    assert logs["codebook"][1]["codes"] >= 1
    assert logs["prediction"][1]["right"] > 1 / 16
    restorer = load_codeformer(str(files["fusion"]))
    assert restorer.size == 16
    assert restorer(torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))).shape == (
        2,
        3,
        16,
        16,
    )
    assert weights.load(files["codebook"]).kind == "vqgan"


def test_later_stages_keep_what_they_must(trained):
    first, second, third = (
        weights.load(trained[0][stage]).network for stage in ("codebook", "prediction", "fusion")
    )
    for part in ("quantize", "generator"):
        for later in (second, third):
            assert torch.equal(weights_of(getattr(first, part)), weights_of(getattr(later, part)))
    assert not torch.equal(weights_of(first.encoder), weights_of(second.encoder))
    assert not torch.equal(weights_of(second.fuse_convs_dict), weights_of(third.fuse_convs_dict))


def test_every_stage_goes_on_from_its_own_file(trained):
    files = trained[0]
    for stage in files:
        recipe = replace(RECIPE, stage=stage, codebook=str(files["codebook"]), init=str(files[stage]))
        assert torch.equal(weights_of(build(recipe)), weights_of(weights.load(files[stage]).network)), stage
    with pytest.raises(ValueError, match=r"other settings \(codes 16\)"):
        build(replace(RECIPE, codes=8, init=str(files["codebook"])))


def test_a_resumed_run_repeats_an_uninterrupted_one(trained, tmp_path):
    recipe = replace(
        RECIPE, stage="fusion", codebook=str(trained[0]["codebook"]), start=str(trained[0]["prediction"])
    )
    recipe = replace(recipe, adversarial=0.8, after=1)
    short = replace(QUICK, steps=4, checkpoint_every=2, validate_every=4)
    whole = fit(made(recipe), short, tmp_path / "whole", progress=False)
    fit(made(recipe), replace(short, steps=2), tmp_path / "parts", progress=False)
    resumed = fit(made(recipe), short, tmp_path / "parts", resume=True, progress=False)
    torch.testing.assert_close(weights_of(resumed), weights_of(whole), rtol=0, atol=1e-6)
    assert (tmp_path / "parts" / "faces.png").exists()


def test_each_side_of_the_game_learns_from_its_own_term():
    torch.manual_seed(0)
    game = Adversary(0.8, 1, 16)
    source = torch.rand(2, 3, 16, 16).requires_grad_()
    picture, true = source * 1.0, torch.rand(2, 3, 16, 16)
    others = (picture - true).abs().mean()
    game(picture, true, others).backward(retain_graph=True)
    assert source.grad is None  # it does not count yet
    judged = [p.grad.clone() for p in game.judge.parameters()]
    assert all(g.abs().sum() > 0 for g in judged)
    game.zero_grad()
    game(picture, true, others).backward(retain_graph=True)
    for before, p in zip(judged, game.judge.parameters(), strict=True):
        torch.testing.assert_close(p.grad, before)
    pull = torch.autograd.grad(others, source)[0].norm()
    assert source.grad.norm() == pytest.approx(0.8 * pull.item(), rel=1e-2)
    assert Adversary(0.0, 0, 16)(picture, true, others) == 0


def test_the_losses_are_those_of_the_paper(trained, monkeypatch):
    network = build(RECIPE)
    x = faces(4).float() / 127.5 - 1
    answer, quantised = network(x)
    expected = (answer - x).abs().mean() + quantised.loss
    assert Reconstruction(network, 0.0)(x, x).item() == pytest.approx(expected.item())
    monkeypatch.setattr(perceptual, "missing", lambda metric: None)
    monkeypatch.setattr(perceptual, "lpips_network", lambda: torch.nn.PairwiseDistance(p=1))
    seen = torch.nn.PairwiseDistance(p=1)(network(x)[0], x).mean()
    assert Reconstruction(network, 0.0, perceptual=0.5)(x, x).item() == pytest.approx(
        (expected + 0.5 * seen).item()
    )
    other = replace(RECIPE, stage="prediction", codebook=str(trained[0]["codebook"]))
    learner = made(other).network
    latent = learner.network.encode(x, fused=False)[0]
    indices, kept = Teacher(weights.load(trained[0]["codebook"]).network).codes(x)
    logits = learner.network.predict(latent).log_softmax(2)
    entropy = -logits.gather(2, indices[..., None]).mean()
    assert learner(x, x).item() == pytest.approx(
        (0.5 * entropy + (latent - kept).square().mean()).item(), rel=1e-5
    )
    assert not any(key.startswith("teacher") for key in learner.state_dict())


def test_batches_depend_on_their_seed_alone(trained):
    job = made(replace(RECIPE, stage="prediction", codebook=str(trained[0]["codebook"])))
    first, again, other = (job.loss(job.network, step(seed)).item() for seed in (1, 1, 2))
    assert first == again != other
    damaged = low_resolution_of(faces(3), face_damage("mix", 64), [1, 2, 3])
    assert damaged.shape == (3, 3, 16, 16)
    assert damaged.min() >= -1
    assert damaged.max() <= 1


def test_the_command_trains(tmp_path, capsys):
    for i, x in enumerate(faces(5)):
        write(Picture(x[None] / 255), tmp_path / "faces" / f"{i}.png")
    options = [f"--{k.replace('_', '-')}={v}" for k, v in SIZES.items()]
    few = ["--steps", "2", "--batch", "2", "--validate-every", "2", "--json"]
    data = [
        "--data",
        str(tmp_path / "faces"),
        "--validation",
        str(tmp_path / "faces"),
        "--out",
        str(tmp_path / "vqgan.safetensors"),
    ]
    assert cli.main(["train", "codeformer", *data, *options, *few]) == 0
    assert json.loads(capsys.readouterr().out)["psnr"] > 0
    assert weights.load(tmp_path / "vqgan.safetensors").network.config.codes == 16


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stage": "prediction"}, "needs --codebook"),
        ({"stage": "fusion", "codebook": "{codebook}"}, "needs --start"),
        (
            {"stage": "prediction", "codebook": "srcnn_x2"},
            "holds SRCNN weights where vqgan weights are needed",
        ),
        ({"stage": "prediction", "codebook": "{codebook}", "heads": 3}, "3 heads do not divide"),
        ({"size": 17}, "must halve 1 times"),
        ({"width": 40}, "multiple of 32"),
    ],
)
def test_mistakes_are_told_before_training(trained, change, words):
    change = {k: v.format(**trained[0]) if isinstance(v, str) else v for k, v in change.items()}
    with pytest.raises(ValueError, match=words):
        build(replace(RECIPE, **change))


def test_pictures_and_optimisers_that_do_not_fit():
    with pytest.raises(ValueError, match="RGB pictures of 16 pixels"):
        made(RECIPE, faces(2, 32))
    with pytest.raises(ValueError, match=r"train with --muon 0"):
        check(replace(RECIPE, stage="fusion"), replace(QUICK, muon=0.01))
