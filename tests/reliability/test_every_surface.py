"""What is told before and after work is told by the library and by all that is built on it."""

from __future__ import annotations

import json
import logging
from functools import cache

import every_method
import pytest
import torch
from every_method import ABSENT, RUNS, prepared

import priorsr
from priorsr.methods import device
from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.images import Picture, write
from priorsr.methods.registry import methods

NAMES = [name for name in methods() if name not in ABSENT]
# what knows pictures of one size, and says so of others
ONE_SIZE = ("diffsr", "dpi", "srdg", "ddrm", "ddnm", "ilvr", "repaint", "dps", "edm-dps")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Each method with its networks, loaded once."""
    path = tmp_path_factory.mktemp("weights")
    every_method.make(path)
    return cache(lambda name: prepared(path, name))


@pytest.fixture
def small(tmp_path):
    """A face of 16 x 16 pixels in a file."""
    draw = torch.Generator().manual_seed(0)
    return write(Picture(torch.rand(1, 3, 16, 16, generator=draw)), tmp_path / "a.png")


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_has_a_seed(loaded, name):
    upscaler, low = loaded(name), every_method.pictures()[:3]
    for seeds in ([1], [1, 2], [1, 2, 3, 4], []):
        with pytest.raises(ValueError, match=f"3 pictures need 3 seeds, not {len(seeds)}"):
            upscaler(low, RUNS[name].scale, seeds)


@pytest.mark.parametrize("name", ONE_SIZE)
def test_another_size_than_the_priors_is_warned_of(loaded, name):
    plan = loaded(name).plan((9, 40), 4.0)
    assert any("160 x 36 is not one picture of" in text for text in plan.warnings)


def test_a_scale_that_a_network_was_not_trained_for(small, tmp_path, caplog):
    """The nearest one and a resize, said in Python, on the command line."""
    said = "trained for x4, 8, 16, not for x2: the picture is enlarged x4 and resized"
    heard: list[str] = []
    assert priorsr.upscale(small, "srdg", 2, steps=2, report=heard.append).pixels.shape[-1] == 32
    assert any(said in text for text in heard)
    with caplog.at_level(logging.WARNING, "priorsr"):
        priorsr.upscale(small, "srdg", 2, steps=2)
        assert said in caplog.text
        caplog.clear()
        words = ["upscale", "srdg", str(small), str(tmp_path / "o.png"), "--scale", "2", "--steps", "2"]
        assert cli.main(words) == 0
        assert said in caplog.text


@pytest.mark.parametrize("name", ["foo", "", "meta", "mps", "cuda:99", "cpu:1", "vulkan", "cuda:x"])
@pytest.mark.parametrize("command", ["upscale", "restore-faces"])
def test_devices_that_there_are_not(small, tmp_path, capsys, caplog, monkeypatch, name, command):
    monkeypatch.setattr(device, "_sees", lambda kind: kind == "cuda")
    words = [command, "srcnn", str(small), str(tmp_path / "o.png"), "--device", name, "--json"]
    assert cli.main(words) == 2
    assert len(caplog.records) == 1
    assert "device" in json.loads(capsys.readouterr().out)["error"]
    assert not (tmp_path / "o.png").exists()
