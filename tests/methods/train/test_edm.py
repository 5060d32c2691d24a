"""Training of EDM priors: the published loss and recipe, resuming, a file that EDM-DPS restores with."""

from __future__ import annotations

import json
import math
import re
import shlex

import pytest
import torch
from trainings import interrupted, weights_of, written

from priorsr.methods import weights
from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.nets.edm_precond import build_edm
from priorsr.methods.priors.load import load_prior
from priorsr.methods.train.augment import AXES, augmented
from priorsr.methods.train.edm import TUNED, UNCLIPPED, EDMRecipe, build, edm_loss, task
from priorsr.methods.train.loop import Batch, Optimisation, fit
from priorsr.samplers.noise import Noise

SIZES = {"size": 16, "width": 16, "mult": "1,1", "blocks": 1, "attention": "8", "batch": 8}
TINY = [part for k, v in SIZES.items() for part in (f"--{k}", str(v))]
QUICK = Optimisation(steps=20, lr=6e-3, warmup=5, ema=0.8, validate_every=20, checkpoint_every=10)


def ramps(count, channels=3):
    base, slope = torch.rand(2, count, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    x = (base + slope * torch.linspace(-0.5, 0.5, 16)).clamp(0, 1).expand(-1, channels, 16, -1)
    return (x * 255).round().to(torch.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("pictures"), ramps(6))


def test_the_recipe_is_the_papers():
    """Karras et al. 2022, tables 1 and 7: the networks for faces of 64 pixels, their size, noise and
    rates.
    """
    paper = EDMRecipe()
    assert (paper.noise_mean, paper.noise_std, paper.sigma_data) == (-1.2, 1.2, 0.5)
    assert (paper.dropout, paper.augment, paper.batch) == (0.05, 0.15, 256)
    assert (TUNED.lr, TUNED.final_lr, TUNED.clip) == (2e-4, 1.0, UNCLIPPED)
    assert 256 * TUNED.steps == 200_000_000
    assert 256 * TUNED.warmup == pytest.approx(10_000_000, rel=1e-4)
    assert TUNED.ema ** (500_000 / 256) == pytest.approx(0.5, rel=0.02)
    for net, millions in (("ddpmpp", 61.8), ("ncsnpp", 62.8)):
        with torch.device("meta"):
            network = build_edm(EDMRecipe(net=net).network())
        assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


def test_the_loss_weighs_every_level_the_same():
    """A raw network of zeros answers c_skip x: the weighted error is then known, and 1 for pictures as
    wide as sigma_data.
    """
    draw = torch.Generator().manual_seed(99)
    x0 = torch.randn(3, 1, 64, 64, generator=draw) * 0.5
    silent = lambda x, sigma, augment_labels: 0.25 / (sigma.view(-1, 1, 1, 1) ** 2 + 0.25) * x  # noqa: E731
    for sigma in (0.01, 0.3, 5.0):
        noise = Noise(range(3))(x0.shape)
        found = edm_loss(silent, x0, torch.full((3,), sigma), noise, None, 0.5)
        assert found.shape == (3,)
        assert found.tolist() == pytest.approx([1.0] * 3, abs=0.1)


def test_levels_are_lognormal():
    recipe = EDMRecipe(**{**SIZES, "batch": 4096}, augment=0.0)
    seen = []

    def net(x, sigma, augment_labels):
        seen.append(sigma.log())
        return x

    images = ramps(4)
    work = task(recipe, images, images, 0, build(recipe))
    work.loss(net, Batch(torch.Generator().manual_seed(1), False, torch.device("cpu")))
    assert float(seen[0].mean()) == pytest.approx(-1.2, abs=0.06)
    assert float(seen[0].std()) == pytest.approx(1.2, abs=0.05)


def test_what_is_done_to_pictures_is_told():
    x = torch.rand(64, 1, 16, 16) * 2 - 1
    same, labels = augmented(x, 0.0, torch.Generator().manual_seed(0))
    assert torch.equal(same, x)
    assert labels.shape == (64, len(AXES))
    assert not labels.any()
    done, labels = augmented(x, 0.15, torch.Generator().manual_seed(0))
    kept = ~(labels != 0).any(1)
    assert 8 < int(kept.sum()) < 56
    assert torch.equal(done[kept], x[kept])
    mirrored = (labels[:, 0] == 1) & (labels[:, 1:] == 0).all(1)
    many, told = augmented(x.repeat(20, 1, 1, 1), 0.15, torch.Generator().manual_seed(0))
    mirrored = (told[:, 0] == 1) & (told[:, 1:] == 0).all(1)
    assert mirrored.any()
    torch.testing.assert_close(many[mirrored], x.repeat(20, 1, 1, 1)[mirrored].flip(3), rtol=0, atol=1e-4)
    moved = (told[:, 7:] != 0).all(1) & (told[:, :7] == 0).all(1)
    spot = torch.full((len(told), 1, 64, 64), -1.0)
    spot[..., 31:33, 31:33] = 1
    where = augmented(spot, 0.15, torch.Generator().manual_seed(0))[0] + 1
    along = torch.arange(64) - 31.5
    right = (where.sum((1, 2)) * along).sum(1) / where.sum((1, 2, 3))
    inside = moved & (told[:, 7:].abs() < 2).all(1)
    assert inside.any()
    torch.testing.assert_close(right[inside], told[inside, 7] * 8, rtol=0, atol=0.3)


@pytest.mark.parametrize("net", ["ddpmpp", "ncsnpp"])
def test_training_lowers_the_error_and_resumes_bit_by_bit(tmp_path, net):
    recipe, images = EDMRecipe(**SIZES, net=net, dropout=0.0), ramps(64)
    new = lambda: task(recipe, images, images[:8], 1, build(recipe, 1))  # noqa: E731
    before = new().validate(build(recipe, 1))["eps_mse"]
    network = fit(new(), QUICK, tmp_path / "whole", progress=False)
    rows = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["eps_mse"] < 0.8 * before
    assert read(tmp_path / "whole" / "samples.png").pixels.shape == (1, 3, 64, 64)
    interrupted(new(), QUICK, tmp_path / "parts", 13)
    again = fit(new(), QUICK, tmp_path / "parts", resume=True, progress=False)
    assert torch.equal(weights_of(network), weights_of(again))


def test_the_command_writes_a_prior_that_restores_and_may_be_gone_on_from(tmp_path, folder):
    out = tmp_path / "edm.safetensors"
    data = ["--data", str(folder), "--validation", str(folder)]
    first = ["train", "edm", *data, "--out", str(out), *TINY, "--net", "ncsnpp", "--steps", "3"]
    assert cli.main(first) == 0
    prior = load_prior(str(out))
    assert (prior.size, prior.channels, prior.measured is not None) == (16, 3, True)
    assert math.isfinite(prior.measured.error(500))
    small = tmp_path / "small.png"
    write(Picture(ramps(1)[..., ::2, ::2] / 255), small)
    larger = tmp_path / "larger.png"
    dps = ["upscale", "edm-dps", str(small), str(larger), "--prior", str(out), "--steps", "2", "--scale", "2"]
    assert cli.main(dps) == 0
    assert read(larger).pixels.shape == (1, 3, 16, 16)
    begun = build(EDMRecipe(**SIZES, net="ncsnpp", init=str(out)), seed=5)
    expected = weights.load(out).network
    assert torch.equal(weights_of(begun), weights_of(expected))
    with pytest.raises(ValueError, match="network of other sizes: repeat the settings"):
        build(EDMRecipe(**SIZES, net="ddpmpp", init=str(out)))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"mult": "0"}, "gives no levels"),
        ({"size": 18, "mult": "1,2,2"}, "no multiple of 4"),
        ({"width": 34}, "choose a --width such as 32, 64 or 128"),
        ({"width": 48, "mult": "1,2"}, "maps of 144 channels"),
    ],
)
def test_sizes_that_cannot_work_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        EDMRecipe(**{**SIZES, **wrong}).network()


@pytest.mark.slow
def test_the_small_recipe_of_the_page_runs_as_printed(root, tmp_path, folder, monkeypatch):
    """With two steps in place of two thousand, and on these pictures."""
    page = (root / "docs" / "visionrefine.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"### A small prior in ten minutes\n\n```\n(.*?)```", page, re.S)
    train, restore = block.replace("\\\n", " ").strip().split("\n")
    monkeypatch.chdir(tmp_path)
    write(Picture(ramps(1, 1)[..., ::2, ::2] / 255), tmp_path / "small.png")
    places = {"FACES": str(folder), "OTHERS": str(folder), "IN": "small.png", "OUT": "large.png"}
    for line, fewer in ((train, ["--steps", "2"]), (restore, ["--steps", "2"])):
        words = [places.get(word, word) for word in shlex.split(line)[1:]]
        assert cli.main([*words, *fewer]) == 0
    assert read(tmp_path / "large.png").pixels.shape == (1, 1, 16, 16)
