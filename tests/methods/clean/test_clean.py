"""The blind cleaner on whole pictures, in pieces, as a method, and its weight files."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from priorsr.methods import weights
from priorsr.methods.clean.method import CleanSettings, clean, load_cleaner
from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.color import grey
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import resize
from priorsr.methods.nets.cleaner import Cleaner, CleanerConfig
from priorsr.methods.registry import method_named

CONFIG = CleanerConfig(8, 1, 1)


@pytest.fixture(scope="module")
def network():
    """With answers that are seen: every convolution has weights."""
    torch.manual_seed(0)
    net = Cleaner(CONFIG).eval().requires_grad_(False)
    for tail in net.tails.values():
        tail.weight.normal_(0, 0.05)
    return net


@pytest.fixture(scope="module")
def file(tmp_path_factory, network):
    said = {"kind": "cleaner", "settings": json.dumps(dataclasses.asdict(CONFIG))}
    return weights.save(network, tmp_path_factory.mktemp("weights") / "own.safetensors", said)


def noise(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def test_a_new_network_changes_nothing(photo):
    net = Cleaner(CONFIG).eval()
    torch.testing.assert_close(clean(net, photo, 1, (53, 71)), photo, rtol=0, atol=1e-6)
    enlarged = resize(photo, (106, 142)).clamp(0, 1)
    torch.testing.assert_close(clean(net, photo, 2, (106, 142)), enlarged, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [1, 2])
def test_pieces_change_nothing(network, scale):
    x, size = noise(2, 3, 150, 133), (150 * scale, 133 * scale)
    steps = []
    whole = clean(network, x, scale, size, CleanSettings(tile=0))
    pieces = clean(network, x, scale, size, CleanSettings(tile=64), lambda: steps.append(1))
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-5)
    assert len(steps) == 2 * 3 * 3
    assert (whole - (x if scale == 1 else resize(x, size))).abs().mean() > 0.01


def test_what_a_result_depends_on_lies_within_reach(network):
    x = noise(1, 3, 160, 160).requires_grad_(True)
    for scale in (1, 2):
        middle = network(x, scale)[..., 80 * scale : 84 * scale, 80 * scale : 84 * scale]
        (gradient,) = torch.autograd.grad(middle.sum(), x)
        rows = gradient.abs().sum((0, 1, 3)).nonzero()[:, 0]
        assert 0 < 80 - int(rows.min()) <= CONFIG.reach
        assert 0 < int(rows.max()) - 83 <= CONFIG.reach


def test_strength_and_grey_pictures(network, photo):
    none, half, full = (clean(network, photo, 1, (53, 71), CleanSettings(s)) for s in (0.0, 0.5, 1.0))
    torch.testing.assert_close(none, photo, rtol=0, atol=1e-6)
    inside = (full > 0) & (full < 1)
    torch.testing.assert_close(half[inside], ((none + full) / 2)[inside], rtol=0, atol=1e-5)
    plain = grey(photo)
    coloured = clean(network, plain.expand(-1, 3, -1, -1), 1, (53, 71))
    lone = clean(network, plain, 1, (53, 71))
    assert lone.shape == (1, 1, 53, 71)
    inside = ((coloured > 0) & (coloured < 1)).all(1, keepdim=True)
    torch.testing.assert_close(lone[inside], grey(coloured)[inside], rtol=0, atol=1e-5)


def test_scales_between_go_through_the_larger_one(network):
    upscaler = method_named("clean").prepare({"weights": "clean"}) if weights.shipped("cleaner") else None
    x = noise(1, 3, 40, 52)
    between = clean(network, x, 1.5, (60, 78))
    torch.testing.assert_close(
        between, resize(clean(network, x, 2, (80, 104)), (60, 78)).clamp(0, 1), rtol=0, atol=1e-6
    )
    if upscaler:
        assert upscaler(x, 3.0).shape == (1, 3, 120, 156)


def test_the_command_takes_a_file_of_ones_own(tmp_path, file, photo):
    write(Picture(photo), tmp_path / "in.png")
    run = ["upscale", "clean", str(tmp_path / "in.png"), str(tmp_path / "out.png"), "--weights", str(file)]
    assert cli.main([*run, "--scale", "2", "--device", "cpu", "--precision", "fp32"]) == 0
    made = read(tmp_path / "out.png").pixels
    expected = clean(load_cleaner(str(file)), read(tmp_path / "in.png").pixels, 2, (106, 142))
    torch.testing.assert_close(made, expected, rtol=0, atol=0.5 / 255 + 1e-6)


def test_files_are_recognised_and_bad_ones_refused(tmp_path, file, network):
    assert weights.load(file).kind == "cleaner"
    assert load_cleaner(str(file)).config == CONFIG
    bare = weights.save(network, tmp_path / "bare.safetensors", {})
    with pytest.raises(ValueError, match=r"bare\.safetensors"):  # of the default sizes, which these are not
        load_cleaner(str(bare))
    with pytest.raises(ValueError, match="holds SRCNN weights where cleaner weights are needed"):
        load_cleaner("srcnn_x2")
    for wrong, words in (({"strength": 2.0}, "strength"), ({"tile": 32}, "at least 64")):
        with pytest.raises(ValueError, match=words):
            CleanSettings(**wrong)
