from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from prior_trainings import RECIPE, ramps
from trainings import weights_of

from priorsr.methods import weights
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.nets.srcnn import SRCNN
from priorsr.methods.train.loop import Optimisation, fit
from priorsr.methods.train.pairs import Crops
from priorsr.methods.train.prior import PriorRecipe, build, metadata, scales_of, squares, task

change = lambda **values: dataclasses.replace(RECIPE, **values)  # noqa: E731


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
