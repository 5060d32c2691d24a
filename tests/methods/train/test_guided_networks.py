"""Training of ADM's upsampler and of the classifier that guides it: losses, resuming, files that upscale."""

from __future__ import annotations

import math

import pytest
import torch
from trainings import interrupted, weights_of

from priorsr.methods import weights
from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.nets.adm_released import RELEASED, build_adm
from priorsr.methods.train.labels import Labelled
from priorsr.methods.train.loop import Optimisation, fit
from priorsr.methods.train.noise_classifier import NoiseClassifierRecipe
from priorsr.methods.train.noise_classifier import build as build_classifier
from priorsr.methods.train.noise_classifier import task as classifier_task
from priorsr.methods.train.upsampler import UpsamplerRecipe, build, reduced, task
from priorsr.methods.train.variance import Variational, log_chance
from priorsr.samplers.schedule import DiscreteSchedule

COMMON = {"size": 16, "width": 32, "mult": "1,1", "blocks": 1, "attention": "2", "groups": 8, "batch": 8}
CLASSES = "light=dark:0,bright:1"
QUICK = Optimisation(
    steps=10, lr=5e-3, warmup=2, ema=0.5, validate_every=10, checkpoint_every=5, final_lr=1.0
)


def flags(values):
    return [part for k, v in values.items() for part in (f"--{k.replace('_', '-')}", str(v))]


def pictures(count=32):
    """Dark and bright ones with some structure, uint8, and their classes."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    x = 0.2 + 0.5 * labels.view(-1, 1, 1, 1) + 0.25 * torch.rand(count, 3, 16, 16, generator=draw)
    return (x * 255).round().to(torch.uint8), labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("pictures")
    images, labels = pictures(6)
    for i, x in enumerate(images):
        write(Picture(x[None] / 255), place / f"{i}.png")
    rows = "".join(f"{i}.png,{int(k)}\n" for i, k in enumerate(labels))
    (place.parent / "labels.csv").write_text("file,light\n" + rows)
    return place, place.parent / "labels.csv"


def test_the_defaults_are_the_released_networks():
    thousand = "a=" + ",".join(f"c{i}" for i in range(1000))
    for found, name in (
        (UpsamplerRecipe(attributes=thousand).config(), "64_256_upsampler"),
        (NoiseClassifierRecipe(attributes=thousand).config(), "256x256_classifier"),
    ):
        with torch.device("meta"):
            own, released = (build_adm(config) for config in (found, RELEASED[name]))
        shapes = [{k: tuple(v.shape) for k, v in net.state_dict().items()} for net in (own, released)]
        assert shapes[0] == shapes[1]
        assert found == RELEASED[name]


def test_the_bound_is_that_of_gaussians():
    """The true noise and the posterior's own variance leave nothing of the bound; another variance leaves the
    divergence of two Gaussians, in bits.
    """
    schedule = DiscreteSchedule.named("linear", 100)
    hybrid, draw = Variational(schedule), torch.Generator().manual_seed(0)
    x0 = torch.rand(4, 3, 8, 8, generator=draw) * 2 - 1
    eps, t = torch.randn(4, 3, 8, 8, generator=draw), torch.tensor([1, 10, 50, 99])
    xt = hybrid.noised(x0, eps, t)
    zero = hybrid.bound(eps, torch.zeros_like(eps), x0, xt, t)
    assert zero.tolist() == pytest.approx([0.0] * 4, abs=1e-4)
    wide = hybrid.bound(eps, torch.ones_like(eps), x0, xt, t)
    for i, step in enumerate(t.tolist()):
        own = torch.distributions.Normal(0.0, schedule.posterior_variance[step].sqrt())
        other = torch.distributions.Normal(0.0, schedule.betas[step].sqrt())
        expected = float(torch.distributions.kl_divergence(own, other)) / math.log(2)
        assert float(wide[i]) == pytest.approx(expected, rel=1e-3, abs=1e-4)
    answer = torch.cat([eps, -torch.ones_like(eps)], 1)
    assert float(hybrid.loss(answer, x0, xt, eps, t)) == pytest.approx(0.0, abs=1e-5)
    assert float(hybrid.loss(eps * 0, x0, xt, eps, t)) == pytest.approx(float(eps.square().mean()))


def test_the_chances_of_all_levels_sum_to_one():
    levels = (torch.arange(256) / 127.5 - 1).double()
    for mean, variance in ((0.1, 1e-4), (-1.0, 1e-2), (0.7, 1.0)):
        chances = log_chance(levels, torch.tensor(mean), torch.tensor(variance).log()).exp()
        assert float(chances.sum()) == pytest.approx(1.0, abs=1e-5)


def test_the_variance_learns_and_the_noise_is_not_disturbed_by_it():
    hybrid = Variational(DiscreteSchedule.named("linear", 100))
    x0, eps, t = torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4), torch.tensor([5, 50])
    answer = torch.zeros(2, 2, 4, 4, requires_grad=True)
    hybrid.loss(answer, x0, hybrid.noised(x0, eps, t), eps, t).backward()
    assert answer.grad[:, 1].abs().min() > 0
    plain = torch.zeros(2, 1, 4, 4, requires_grad=True)
    hybrid.loss(plain, x0, hybrid.noised(x0, eps, t), eps, t).backward()
    torch.testing.assert_close(answer.grad[:, :1], plain.grad)


def test_the_small_picture_is_the_mean_of_blocks():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert reduced(x).tolist() == [[[[7.5]]]]


@pytest.mark.slow
def test_an_upsampler_learns_and_resumes_bit_by_bit(tmp_path):
    recipe = UpsamplerRecipe(**COMMON, heads=2, attributes=CLASSES, train_steps=50)
    images, labels = pictures()
    data = Labelled(images, {"light": labels})
    new = lambda: task(recipe, build(recipe, 1), data, data)  # noqa: E731
    before = new().validate(build(recipe, 1))["eps_mse"]
    network = fit(new(), QUICK, tmp_path / "whole", progress=False)
    assert new().validate(network)["eps_mse"] < 0.9 * before
    assert read(tmp_path / "whole" / "samples.png").pixels.shape == (1, 3, 64, 48)
    interrupted(new(), QUICK, tmp_path / "parts", 7)
    again = fit(new(), QUICK, tmp_path / "parts", resume=True, progress=False)
    assert torch.equal(weights_of(network), weights_of(again))


def test_a_classifier_learns_and_resumes_bit_by_bit(tmp_path):
    recipe = NoiseClassifierRecipe(**COMMON, head_channels=32, attributes=CLASSES, train_steps=50)
    images, labels = pictures()
    data = Labelled(images, {"light": labels})
    new = lambda: classifier_task(recipe, build_classifier(recipe, 1), data, data)  # noqa: E731
    network = fit(new(), QUICK, tmp_path / "whole", progress=False)
    figures = new().validate(network)
    assert figures["accuracy"] > 0.7
    assert figures["accuracy@0.07"] == 1.0
    interrupted(new(), QUICK, tmp_path / "parts", 7)
    again = fit(new(), QUICK, tmp_path / "parts", resume=True, progress=False)
    assert torch.equal(weights_of(network), weights_of(again))


def test_the_commands_write_what_guided_super_resolution_takes(tmp_path, folder):
    place, table = folder
    up, judge = tmp_path / "up.safetensors", tmp_path / "judge.safetensors"
    data = ["--data", str(place), "--validation", str(place), "--labels", str(table), "--attributes", CLASSES]
    tiny = [*flags(COMMON), "--train-steps", "50", "--steps", "2"]
    assert cli.main(["train", "upsampler", *data, *tiny, "--heads", "2", "--out", str(up)]) == 0
    args = ["train", "noise-classifier", *data, *tiny, "--head-channels", "32", "--out", str(judge)]
    assert cli.main(args) == 0
    assert weights.read_metadata(up)["classes"] == weights.read_metadata(judge)["classes"] == "dark,bright"
    write(Picture(torch.rand(1, 3, 4, 4)), tmp_path / "small.png")
    guided = ["upscale", "guided", str(tmp_path / "small.png"), str(tmp_path / "large.png"), "--label", "1"]
    files = ["--prior", str(up), "--classifier", str(judge)]
    assert cli.main([*guided, *files, "--respacing", "5", "--scale", "4"]) == 0
    assert read(tmp_path / "large.png").pixels.shape == (1, 3, 16, 16)
    plain, mine = tmp_path / "plain.safetensors", ["--size", "16", "--learned", "--no-learned"]
    alone = ["train", "upsampler", *data[:4], *tiny, *mine, "--heads", "2", "--out", str(plain)]
    assert cli.main(alone) == 0
    unled = [*guided[:4], "--prior", str(plain), "--respacing", "5", "--scale", "4", "--overwrite"]
    assert cli.main(unled) == 0
    begun = build(UpsamplerRecipe(**COMMON, heads=2, attributes=CLASSES, init=str(up)))
    assert torch.equal(weights_of(begun), weights_of(weights.load(up).network))
    again = NoiseClassifierRecipe(**COMMON, head_channels=32, attributes=CLASSES, init=str(judge))
    assert torch.equal(weights_of(build_classifier(again)), weights_of(weights.load(judge).network))
    with pytest.raises(ValueError, match="other settings"):
        build(UpsamplerRecipe(**COMMON, heads=2, init=str(up)))


def test_recipes_that_cannot_work_are_refused(folder):
    with pytest.raises(ValueError, match="name 2 attributes"):
        UpsamplerRecipe(attributes="a=b,c; d=e,f").config()
    with pytest.raises(ValueError, match="needs --attributes"):
        NoiseClassifierRecipe(**COMMON).config()
    with pytest.raises(ValueError, match="no multiple of 4"):
        UpsamplerRecipe(**{**COMMON, "size": 18}, heads=2).config()
    place, table = folder
    data = ["--data", str(place), "--validation", str(place), "--out", "nowhere.safetensors"]
    assert cli.main(["train", "upsampler", *data, "--labels", str(table)]) == 2
