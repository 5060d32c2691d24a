from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from fill import filled
from safetensors.torch import save_file
from stablesr_tiny import UNET, base_file, context, pictures, tiny
from trainings import step, weights_of

from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.nets.open_clip_text import OpenCLIPText
from priorsr.methods.nets.sd_unet import SDConfig, SDUNet
from priorsr.methods.nets.struct_encoder import RELEASED
from priorsr.methods.stablesr.autoencoder import SCALE
from priorsr.methods.stablesr.layers import StableSRLayers
from priorsr.methods.stablesr.levels import CHAIN
from priorsr.methods.stablesr.load import TEXT, load_layers
from priorsr.methods.train.loop import Optimisation, fit
from priorsr.methods.train.pairs import Crops, enlarged
from priorsr.methods.train.stablesr import task as stablesr
from priorsr.methods.train.stablesr.loss import Modulation, Noised, encoded
from priorsr.methods.train.stablesr.task import TUNED, StableSRRecipe, build, files, metadata, task
from priorsr.methods.weights import save

SIZES = {"size": 32, "width": 32, "mult": "1,2", "blocks": 1, "attention": "1", "features": 32}
TIMES = (100, 500, 900)
QUICK = Optimisation(
    steps=20, lr=2e-3, warmup=2, ema=0.8, final_lr=1.0, checkpoint_every=20, validate_every=20
)


@pytest.fixture(scope="module", autouse=True)
def hasty():
    """Fewer pictures, noise levels and sampling steps to judge by."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stablesr, "JUDGED", 6)
        patch.setattr(stablesr, "TIMES", TIMES)
        patch.setattr(stablesr, "DRAFT", replace(stablesr.DRAFT, steps=2))
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stablesr")
    pictures(folder / "data")
    base_file(folder / "base.safetensors")
    save_file({"context": context()[0]}, folder / "empty.safetensors")
    return folder


@pytest.fixture(scope="module")
def recipe(place):
    return StableSRRecipe(
        **SIZES,
        base=str(place / "base.safetensors"),
        context=str(place / "empty.safetensors"),
        batch=4,
        part=4,
        workers=2,
    )


def made(recipe, place):
    drawn = recipe.drawn_from([place / "data"])
    return task(recipe, *build(recipe), drawn, drawn)


def rows(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(recipe, place):
    """A finished run: the task, its network and its file."""
    job = made(recipe, place)
    before = job.validate(job.network)["error"]
    network = fit(job, QUICK, place / "run", progress=False)
    (out, part, said), *_ = files(network, metadata(recipe, QUICK, network), place / "layers.safetensors")
    return job, network, save(part, out, said), before


@pytest.mark.slow
def test_the_error_falls(trained, place):
    (row,) = rows(place / "run")
    assert row["error"] < 0.9 * trained[3]
    assert sum(row[f"error@{t}"] for t in TIMES) / len(TIMES) == pytest.approx(row["error"])
    assert read(place / "run" / "restored.png").pixels.shape[-2:] == (4 * 32, 3 * 32)


def test_stable_diffusion_stays_as_it_is(trained):
    job = trained[0]
    assert torch.equal(weights_of(job.network.unet.network), weights_of(tiny().prior.network))
    assert not any(p.grad is not None for p in job.network.unet.network.parameters())
    assert not any(key.startswith(("unet", "vae")) for key in job.network.state_dict())


def test_the_file_is_that_of_the_published_layers(trained):
    _, network, path, _ = trained
    layers = load_layers(str(path))
    assert layers.released_state().keys() == tiny().layers.released_state().keys()
    for name, value in StableSRLayers(network.encoder, network.sft).released_state().items():
        assert torch.equal(value, layers.released_state()[name])


@pytest.mark.parametrize("left_out", [{"time": False}, {"sft": False}, {"time": False, "sft": False}])
def test_layers_without_time_or_modulation_are_trained_written_and_read(recipe, place, tmp_path, left_out):
    job = made(replace(recipe, **left_out), place)
    before = {name: p.detach().clone() for name, p in job.network.named_parameters()}
    network = fit(job, replace(QUICK, steps=2, validate_every=2), tmp_path / "run", progress=False)
    moved = [name for name, p in network.named_parameters() if not torch.equal(p, before[name])]
    assert {name.split(".")[0] for name in moved} == {"encoder", "sft"}
    (out, part, said), *_ = files(
        network, metadata(replace(recipe, **left_out), QUICK, network), tmp_path / "layers.safetensors"
    )
    layers = load_layers(str(save(part, out, said)))
    assert (layers.encoder.timed, layers.sft.modulates) == (
        left_out.get("time", True),
        left_out.get("sft", True),
    )
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    early, late = (layers.encoder(latent, torch.tensor([t]))[0] for t in (10.0, 900.0))
    assert torch.equal(early, late) == (not layers.encoder.timed)
    assert not any("time_embed" in key for key in layers.encoder.state_dict()) or layers.encoder.timed
    for name, value in StableSRLayers(network.encoder, network.sft).released_state().items():
        assert torch.equal(value, layers.released_state()[name])


def test_training_goes_on_from_a_file(trained, recipe, place):
    _, network, path, _ = trained
    again = made(replace(recipe, init=str(path), mult="9"), place).network  # the file decides the sizes
    assert torch.equal(weights_of(again), weights_of(network))
    assert all(p.requires_grad for p in again.parameters())


def test_a_resumed_run_repeats_an_uninterrupted_one(recipe, place, tmp_path):
    short = replace(QUICK, steps=4, checkpoint_every=2, validate_every=4)
    whole = fit(made(recipe, place), short, tmp_path / "whole", progress=False)
    fit(made(recipe, place), replace(short, steps=2), tmp_path / "parts", progress=False)
    resumed = fit(made(recipe, place), short, tmp_path / "parts", resume=True, progress=False)
    assert torch.equal(weights_of(resumed), weights_of(whole))


def test_parts_change_memory_and_nothing_else(recipe, place):
    whole, parts = (made(replace(recipe, part=part), place) for part in (4, 3))
    for job in (whole, parts):
        job.loss(job.network, step()).backward()
    for a, b in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("target", ["eps", "v"])
def test_the_loss_is_the_error_of_the_modulated_network(target):
    model = tiny()
    z0, lr, eps = (torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(i)) for i in range(3))
    t = torch.tensor([0, 700])
    batch = Noised.of(z0, t, lr, context(), eps, target)
    level = CHAIN.table[700]
    torch.testing.assert_close(batch.x[1], level.alpha * z0[1] + level.sigma * eps[1])
    wanted = eps if target == "eps" else level.alpha * eps - level.sigma * z0
    torch.testing.assert_close(batch.target[1], wanted[1])
    features = model.layers.encoder(lr, t.float())
    with model.layers.sft.modulating(model.prior.network, features):
        answer = model.prior.network(batch.x, t.float(), context().expand(2, -1, -1))
    errors = Modulation(model.layers, model.prior.network, 2)(*batch)
    model.layers.encoder.requires_grad_(False)
    model.layers.sft.requires_grad_(False)
    torch.testing.assert_close(errors, (answer - batch.target).square().mean((1, 2, 3)))


def test_latents_are_samples_of_the_scaled_posterior():
    vae = tiny().vae
    truth, low = (
        torch.full((3, 3, 32, 32), 200, dtype=torch.uint8),
        torch.full((3, 3, 8, 8), 90, dtype=torch.uint8),
    )
    z0, lr = encoded(vae, truth, low, [5, 6, 5], 2)
    torch.testing.assert_close(z0[0], z0[2])
    assert not torch.allclose(z0[0], z0[1])
    for latent, picture in ((z0, truth / 127.5 - 1), (lr, enlarged(low, 32))):
        mean, log_variance = vae.encode(picture).chunk(2, 1)
        drawn = (latent / SCALE - mean) / torch.exp(0.5 * log_variance)
        assert drawn.std() == pytest.approx(1, abs=0.2)


def test_pairs_depend_on_their_seeds_alone(recipe, place):
    pairs = recipe.drawn_from([place / "data"])
    truth, low = pairs([1, 2, 3])
    again, alone = pairs([3]), replace(pairs, workers=1)([3])
    assert truth.shape == (3, 3, 32, 32)
    assert low.shape == (3, 3, 8, 8)
    for x, y, z in zip((truth, low), again, alone, strict=True):
        assert x.dtype == torch.uint8
        assert torch.equal(x[2:], y)
        assert torch.equal(x[2:], z)
    assert not torch.equal(truth[0], truth[1])
    in_order = pairs(range(5), in_order=True)[0]
    assert len({x.float().mean().item() for x in in_order}) == 5


def test_crops_are_squares_of_large_enough_pictures(tmp_path, caplog):
    for name, (height, width) in {"wide": (40, 90), "small": (20, 90), "grey": (64, 33)}.items():
        x = torch.rand(
            1, 1 if name == "grey" else 3, height, width, generator=torch.Generator().manual_seed(height)
        )
        write(Picture((x * 255).round() / 255), tmp_path / f"{name}.png")
    crops = Crops.of([tmp_path], 32)
    assert [path.stem for path in crops.files] == ["grey", "wide"]
    assert "1 of 3 pictures are left out" in caplog.text
    square, wide = crops(0, index=0), read(tmp_path / "wide.png").pixels[0]
    assert square.shape == (3, 32, 32)
    assert torch.equal(square[0], square[1])
    windows = wide.unfold(1, 32, 1).unfold(2, 32, 1).permute(1, 2, 0, 3, 4)
    plain = replace(crops, flip=False)
    places = [(windows == plain(seed, index=1)).flatten(2).all(2).nonzero().tolist() for seed in range(8)]
    assert all(len(found) == 1 for found in places)
    assert len({tuple(found[0]) for found in places}) > 4
    assert {torch.equal(crops(seed, 1), plain(seed, 1)) for seed in range(8)} == {True, False}
    with pytest.raises(ValueError, match="none of the 3 pictures"):
        Crops.of([tmp_path], 128)


def test_without_a_file_the_prompt_is_the_base_s_own(recipe, place, tmp_path):
    text = filled(OpenCLIPText(UNET.context_dim))
    base_file(tmp_path / "full.safetensors", {f"{TEXT[0]}{k}": v for k, v in text.state_dict().items()})
    _, tokens = build(replace(recipe, base=str(tmp_path / "full.safetensors"), context=""))
    assert tokens.shape == (1, 77, UNET.context_dim)
    with pytest.raises(ValueError, match="where sd-text weights are needed"):
        build(replace(recipe, context=""))


def test_the_command_trains(place, capsys):
    options = [f"--{k}={v}" for k, v in SIZES.items()]
    few = [
        "--steps",
        "1",
        "--batch",
        "2",
        "--part",
        "1",
        "--validate-every",
        "1",
        "--device",
        "cpu",
        "--json",
    ]
    inputs = ["--base", str(place / "base.safetensors"), "--context", str(place / "empty.safetensors")]
    data = [
        "--data",
        str(place / "data"),
        "--validation",
        str(place / "data"),
        "--out",
        str(place / "command.safetensors"),
    ]
    assert cli.main(["train", "stablesr", *data, *inputs, *options, *few]) == 0
    assert json.loads(capsys.readouterr().out)["error"] > 0
    assert load_layers(str(place / "command.safetensors")).encoder.config.model_channels == 32


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"base": ""}, "needs --base FILE"),
        ({"base": "{place}/empty.safetensors"}, "choose a file such as v2-1_512"),
        ({"init": "{place}/base.safetensors"}, "where stablesr-layers weights are needed"),
        ({"context": "{place}/base.safetensors"}, "holds no tensor called context"),
        ({"context": "{place}/wide.safetensors"}, "prompts of 24 channels, .*wide.safetensors gives 9"),
        ({"size": 40}, "size 40 is no multiple of 16"),
        ({"mult": "1,1,2"}, "gives 3 levels, the UNet has 2"),
        ({"mult": "1,x"}, "no list of whole numbers"),
        ({"width": 40}, "multiple of 32"),
    ],
)
def test_mistakes_are_told_before_training(recipe, place, change, words):
    save_file({"context": torch.zeros(5, 9)}, place / "wide.safetensors")
    change = {k: v.format(place=place) if isinstance(v, str) else v for k, v in change.items()}
    with pytest.raises(ValueError, match=words):
        build(replace(recipe, **change))


def test_the_defaults_are_the_released_sizes():
    assert StableSRRecipe().config() == RELEASED
    with torch.device("meta"):
        layers = StableSRRecipe().layers_for(SDUNet(SDConfig()))
    millions = [sum(p.numel() for p in part.parameters()) / 1e6 for part in (layers.encoder, layers.sft)]
    assert millions == pytest.approx([52.49, 53.02], abs=0.005)
    assert (TUNED.lr, StableSRRecipe().batch, StableSRRecipe().size) == (5e-5, 192, 512)


def test_half_precision_comes_close(recipe, place):
    job = made(recipe, place)
    exact, half = (job.loss(job.network, replace(step(), half=half)) for half in (False, True))
    half.backward()
    assert half.item() == pytest.approx(exact.item(), rel=0.05)
    assert all(p.grad.isfinite().all() for p in job.network.parameters())
