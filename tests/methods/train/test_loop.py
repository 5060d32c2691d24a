from __future__ import annotations

import dataclasses
import json
import zipfile

import pytest
import torch
from trainings import weights_of

from priorsr.methods.imaging.images import Picture, write
from priorsr.methods.train.datasets import read_pictures
from priorsr.methods.train.loop import Optimisation, fit
from priorsr.methods.train.srcnn import Patches, finish, task

PATCHES = Patches(size=24, batch=2)
QUICK = Optimisation(steps=12, lr=1e-3, muon=0.01, warmup=2, checkpoint_every=4, validate_every=6, seed=3)


@pytest.fixture
def pictures(photo):
    return [photo[0], photo[0].flip(2)]


def make(pictures, seed=3):
    return task(2, pictures, pictures[:1], PATCHES, seed)


class Killed(Exception):
    pass


def killed_after(work, steps):
    """The same task, whose loss raises after some steps as a killed process would stop."""
    count = 0

    def loss(network, batch):
        nonlocal count
        count += 1
        if count > steps:
            raise Killed
        return work.loss(network, batch)

    return dataclasses.replace(work, loss=loss)


def test_training_begins_at_bicubic_and_improves_on_it(tmp_path, pictures):
    work = make(pictures)
    start = work.validate(finish(work.network))["psnr"]
    bicubic = work.validate(finish(make(pictures, seed=9).network))["psnr"]
    assert start == pytest.approx(bicubic, abs=3)
    fit(work, dataclasses.replace(QUICK, steps=60, ema=0.9), tmp_path / "run", progress=False)
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == list(range(6, 61, 6))
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["psnr"] > start


def test_a_killed_run_resumes_to_the_same_weights(tmp_path, pictures):
    whole = fit(make(pictures), QUICK, tmp_path / "whole", progress=False)
    with pytest.raises(Killed):
        fit(killed_after(make(pictures), 9), QUICK, tmp_path / "cut", progress=False)
    resumed = fit(make(pictures), QUICK, tmp_path / "cut", resume=True, progress=False)
    assert torch.equal(weights_of(whole), weights_of(resumed))


def test_the_seed_decides(tmp_path, pictures):
    a, b, c = (
        weights_of(
            fit(make(pictures, seed), dataclasses.replace(QUICK, seed=seed), tmp_path / name, progress=False)
        )
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_a_checkpoint_is_neither_overwritten_nor_mixed(tmp_path, pictures):
    fit(make(pictures), QUICK, tmp_path, progress=False)
    with pytest.raises(FileExistsError, match="--resume"):
        fit(make(pictures), QUICK, tmp_path, progress=False)
    with pytest.raises(ValueError, match=r"other settings \(lr=0.001"):
        fit(make(pictures), dataclasses.replace(QUICK, lr=0.5), tmp_path, resume=True, progress=False)


def test_a_diverging_loss_stops_the_run_with_advice(tmp_path, pictures):
    work = make(pictures)
    broken = dataclasses.replace(work, loss=lambda n, b: work.loss(n, b) * float("nan"))
    with pytest.raises(FloatingPointError, match="lower --lr"):
        fit(broken, QUICK, tmp_path, progress=False)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_muon_moves_the_weights_it_shares(tmp_path, pictures, layout):
    work = make(pictures)
    work.network.to(memory_format=layout)
    before = work.network.conv2.weight.detach().clone()
    fit(work, dataclasses.replace(QUICK, steps=3), tmp_path, progress=False)
    assert not torch.equal(before, work.network.conv2.weight)
    assert torch.equal(
        before[0], work.network.conv2.weight[0].detach()
    )  # the path that passes luma through stays


def test_finish_folds_the_centre_into_the_biases(pictures):
    network = make(pictures).network
    with torch.no_grad():
        network.conv3.weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
        x = torch.rand(1, 1, 40, 40)
        torch.testing.assert_close(
            finish(network)(x)[..., 8:-8, 8:-8], network(x - 0.5) + 0.5, atol=1e-5, rtol=0
        )


def test_pictures_come_from_folders_and_archives(tmp_path, photo):
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    write(Picture(photo), tmp_path / "folder" / "b.png")
    write(Picture(photo[:, :1]), tmp_path / "folder" / "deep" / "a.png")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "folder" / "b.png", "x/b.png")
    found = read_pictures([tmp_path / "folder", tmp_path / "a.zip"])
    assert [tuple(p.shape) for p in found] == [(3, 53, 71), (1, 53, 71), (3, 53, 71)]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no picture"):
        read_pictures([tmp_path / "empty"])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_pictures([tmp_path / "nowhere"])


def test_images_too_small_for_a_patch_are_refused(pictures):
    with pytest.raises(ValueError, match="at least 112 pixels"):
        task(2, pictures, pictures)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"precision": "fp8"}, {"lr": -1}, {"ema": 2.0}])
def test_bad_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Optimisation(**wrong)
