from __future__ import annotations

import dataclasses
import json
import zipfile

import pytest
import torch
from trainings import weights_of

from priorsr.methods import weights
from priorsr.methods.imaging.datasets import read_pictures
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.train.checkpoint import read_checkpoint
from priorsr.methods.train.curve import plot
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
    with pytest.raises(ValueError, match=r"other settings \(ema=0.999"):
        fit(make(pictures), dataclasses.replace(QUICK, ema=0.5), tmp_path, resume=True, progress=False)


def broken_after(work, steps, factor):
    """The same task, whose loss is multiplied by `factor` after some steps."""
    count = 0

    def loss(network, batch):
        nonlocal count
        count += 1
        return work.loss(network, batch) * (factor if count > steps else 1)

    return dataclasses.replace(work, loss=loss)


def test_resuming_nothing_says_so(tmp_path, pictures, caplog):
    short = dataclasses.replace(QUICK, steps=2)
    fit(make(pictures), short, tmp_path, resume=True, progress=False)
    assert f"no checkpoint in {tmp_path} to go on from" in caplog.text
    caplog.clear()
    fit(make(pictures), short, tmp_path, resume=True, progress=False)
    assert "no checkpoint" not in caplog.text


def test_a_diverging_loss_keeps_the_last_good_checkpoint(tmp_path, pictures):
    with pytest.raises(FloatingPointError, match="begin again in an empty run folder"):
        fit(broken_after(make(pictures), 0, float("nan")), QUICK, tmp_path / "at once", progress=False)
    assert not (tmp_path / "at once" / "checkpoint.pt").exists()

    run = tmp_path / "later"
    with pytest.raises(FloatingPointError, match=r"lower --lr .* --resume, which goes on from step 4"):
        fit(broken_after(make(pictures), 6, float("nan")), QUICK, run, progress=False)
    assert read_checkpoint(run / "checkpoint.pt")["step"] == 4
    slower = dataclasses.replace(QUICK, lr=1e-4, precision="bf16")  # what the advice says may change
    assert weights_of(fit(make(pictures), slower, run, resume=True, progress=False)).isfinite().all()


def test_weights_that_blew_up_are_not_kept_though_the_loss_was_finite(tmp_path, pictures):
    work = make(pictures)

    def loss(network, batch):
        value = work.loss(network, batch)
        for p in network.parameters():  # after the loss was computed
            p.register_hook(lambda g: g * float("inf"))
        return value

    with pytest.raises(FloatingPointError, match="no longer finite at step 1"):
        fit(
            dataclasses.replace(work, loss=loss),
            dataclasses.replace(QUICK, checkpoint_every=1, clip=0.5),
            tmp_path,
            progress=False,
        )
    assert not (tmp_path / "checkpoint.pt").exists()


def test_half_a_line_in_the_log_and_what_cannot_be_drawn_end_nothing(tmp_path, pictures, caplog):
    def show(network, run):
        raise OSError("no room")

    work = dataclasses.replace(make(pictures), show=show)
    (tmp_path / "log.jsonl").write_text(
        '{"step": 2, "loss": 1, "psnr": 20}\n{"step": 4, "lo', encoding="utf-8"
    )
    (tmp_path / "curve.png").mkdir()  # which no picture can replace
    fit(work, QUICK, tmp_path, progress=False)
    lines = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in (lines[0], *lines[2:])] == [2, 6, 12]
    assert "no pictures this time: no room" in caplog.text
    assert "no curve this time" in caplog.text
    (tmp_path / "curve.png").rmdir()
    plot(tmp_path / "log.jsonl", tmp_path / "curve.png")
    assert min(read(tmp_path / "curve.png").pixels.shape[-2:]) > 100


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", {"step": 3}, {"a": torch.zeros(1)}, [1]])
def test_damaged_checkpoints_are_one_sentence(tmp_path, pictures, content):
    path = tmp_path / "checkpoint.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(
        ValueError, match=r"checkpoint.pt is damaged or no checkpoint .* begin again"
    ) as caught:
        fit(make(pictures), QUICK, tmp_path, resume=True, progress=False)
    assert "weights_only" not in str(caught.value)


def test_a_checkpoint_of_another_network_and_a_full_disk_are_one_sentence(tmp_path, pictures, monkeypatch):
    fit(make(pictures), dataclasses.replace(QUICK, muon=0.0), tmp_path / "adam", progress=False)
    state = read_checkpoint(tmp_path / "adam" / "checkpoint.pt")
    state["network"].popitem()
    torch.save(state, tmp_path / "adam" / "checkpoint.pt")
    with pytest.raises(ValueError, match="of another network"):
        fit(
            make(pictures),
            dataclasses.replace(QUICK, muon=0.0),
            tmp_path / "adam",
            resume=True,
            progress=False,
        )

    def full(content, path):
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"cannot be written at step 4 \(the disk may be full\): make room"):
        fit(make(pictures), QUICK, tmp_path / "full", progress=False)
    assert list((tmp_path / "full").glob("*.part")) == []


def test_srcnn_goes_on_from_a_file(tmp_path, pictures):
    work = make(pictures)
    with torch.no_grad():
        work.network.conv2.weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    file = weights.save(finish(work.network), tmp_path / "first.safetensors", {"kind": "srcnn", "scale": 2})
    again = task(2, pictures, pictures[:1], dataclasses.replace(PATCHES, init=str(file)))
    torch.testing.assert_close(weights_of(again.network), weights_of(work.network), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="is for x2: give --scale 2"):
        task(3, pictures, pictures[:1], dataclasses.replace(PATCHES, init=str(file)))


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
