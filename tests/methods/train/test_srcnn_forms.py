"""SRCNN's smaller kernels and its three-channel form: trained, resumed, written and read again."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from trainings import interrupted, weights_of

from priorsr.methods import weights
from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import modcrop, resize, size_of
from priorsr.methods.metrics.fidelity import psnr
from priorsr.methods.train.loop import Optimisation, fit
from priorsr.methods.train.srcnn import Patches, finish, task

QUICK = Optimisation(steps=12, lr=1e-3, muon=0.01, warmup=2, checkpoint_every=4, validate_every=12, ema=0.9)


def patches(**values):
    return Patches(size=24, batch=2, **values)


@pytest.mark.parametrize(("kernels", "reach"), [("9-1-5", 6), ("9-3-5", 7), ("9-5-5", 8)])
@pytest.mark.parametrize("channels", ["luma", "rgb"])
def test_forms_have_the_papers_sizes_and_begin_at_bicubic(photo, kernels, reach, channels):
    """Dong et al., TPAMI 2016: 9-1-5 has 8,032 weights, 9-3-5 24,416 and 9-5-5 57,184, biases aside."""
    recipe = patches(kernels=kernels, channels=channels)
    network = finish(task(2, [photo[0]], [photo[0]], recipe, seed=1).network, recipe)
    assert network.reach == reach
    count = sum(p.numel() for p in network.parameters() if p.ndim > 1)
    of_luma = {"9-1-5": 8_032, "9-3-5": 24_416, "9-5-5": 57_184}[kernels]
    assert count == of_luma + (0 if channels == "luma" else 2 * (81 * 64 + 25 * 32))
    with torch.no_grad():
        for layer, colours in ((network.conv1, recipe.network().conv1.in_channels),):
            layer.weight[colours:] = 0  # nothing but the path that passes pictures through
            layer.bias[colours:] = 0
        network.conv2.bias.zero_()
        x = torch.rand(1, network.conv1.in_channels, 40, 40)
        passed = network(x)[..., 8:-8, 8:-8]
    torch.testing.assert_close(passed, x[..., 8:-8, 8:-8], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kernels", "channels"), [("9-1-5", "luma"), ("9-1-5", "rgb")])
def test_training_resumes_bit_by_bit_and_its_file_restores(tmp_path, photo, kernels, channels):
    recipe, pictures = patches(kernels=kernels, channels=channels), [photo[0], photo[0].flip(2)]
    new = lambda: task(2, pictures, pictures[:1], recipe, 3)  # noqa: E731
    network = fit(new(), QUICK, tmp_path / "whole", progress=False)
    interrupted(new(), QUICK, tmp_path / "parts", 9)
    again = fit(new(), QUICK, tmp_path / "parts", resume=True, progress=False)
    assert torch.equal(weights_of(network), weights_of(again))
    file = weights.save(network, tmp_path / "own.safetensors", {"kind": "srcnn", "scale": 2})
    begun = task(2, pictures, pictures, dataclasses.replace(recipe, init=str(file)))
    torch.testing.assert_close(
        weights_of(finish(begun.network, recipe)), weights_of(network), rtol=0, atol=1e-5
    )
    with pytest.raises(ValueError, match="other sizes"):
        task(2, pictures, pictures, dataclasses.replace(recipe, kernels="9-5-5", init=str(file)))


def test_the_command_trains_three_channels_that_upscale_reads(tmp_path, photo):
    folder = tmp_path / "pictures"
    folder.mkdir()
    write(Picture(photo), folder / "a.png")
    out, low = tmp_path / "rgb_x2.safetensors", tmp_path / "low.png"
    data = ["--data", str(folder), "--validation", str(folder), "--out", str(out)]
    form = ["--kernels", "9-1-5", "--channels", "rgb", "--size", "24", "--batch", "2"]
    assert cli.main(["train", "srcnn", *data, *form, "--steps", "30", "--warmup", "2", "--ema", "0.9"]) == 0
    said = weights.read_metadata(out)
    assert (said["kernels"], said["channels"], said["scale"]) == ("9-1-5", "rgb", "2")
    high = modcrop(photo, 2)
    write(Picture(resize(high, tuple(n // 2 for n in size_of(high)), border="mirror").clamp(0, 1)), low)
    assert cli.main(["upscale", "srcnn", str(low), str(tmp_path / "high.png"), "--weights", str(out)]) == 0
    found = read(tmp_path / "high.png").pixels
    enlarged = resize(read(low).pixels, size_of(high)).clamp(0, 1)
    assert float(psnr(found, high)) > float(psnr(enlarged, high)) - 1
    assert float(said["psnr"]) == pytest.approx(float(psnr(found, high)), abs=2)
