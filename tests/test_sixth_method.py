"""What it takes to add a method, and a kind of prior: one value each, registered by one line."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from seventh_method import registered
from torch import nn

from priorsr.methods import registry
from priorsr.methods.cli.main import main
from priorsr.methods.priors import load
from priorsr.methods.weights import Kind, kinds
from priorsr.samplers.denoiser import from_x0
from priorsr.samplers.schedule import DiscreteSchedule


@pytest.fixture
def seventh():
    with registered():
        yield


@pytest.fixture
def small(tmp_path):
    Image.new("RGB", (4, 3), (100, 50, 200)).save(tmp_path / "in.png")
    return tmp_path / "in.png"


@pytest.mark.parametrize("name", ["ddrm", "blocks"])
def test_it_is_a_subcommand_with_its_own_options(seventh, small, tmp_path, capsys, name):
    assert main(["upscale", name, str(small), str(tmp_path / "out.png"), "--scale", "2"]) == 0
    with Image.open(tmp_path / "out.png") as done:
        assert done.size == (8, 6)
    for command in ("upscale", "restore-faces"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert name in capsys.readouterr().out  # the table of methods
        with pytest.raises(SystemExit):
            main([command, name, "--help"])
        text = capsys.readouterr().out
        assert ("--brightness" in text) == (name == "blocks")
        assert ("--eta-b" in text) == (name == "ddrm")


def test_it_is_compared_with_others(seventh, tmp_path, capsys):
    (tmp_path / "set").mkdir()
    Image.effect_noise((48, 48), 60).save(tmp_path / "set" / "a.png")
    asked = ["evaluate", "methods", str(tmp_path / "set"), "--scale", "2", "--json", "--methods"]
    assert main([*asked, "bicubic", "blocks", "ddrm"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in rows] == ["bicubic", "blocks", "ddrm"]
    assert all(5 < row["psnr"] < 60 for row in rows)


def test_a_name_that_is_taken_is_refused(monkeypatch):
    monkeypatch.setattr(registry, "BUILT_IN", ("bicubic:METHOD", "srdg.upscaler:METHOD"))
    monkeypatch.setattr("seventh_method.METHOD", registry.method_named("bicubic"))
    with registered(), pytest.raises(ValueError, match="its name is taken"):
        registry.methods()


class FlatNetwork(nn.Module):
    """Knows one picture."""

    def __init__(self, shape):
        super().__init__()
        self.picture = nn.Parameter(torch.zeros(shape))

    def forward(self, x, t):
        return x * 0 + self.picture


@dataclass
class FlatPrior:
    """Whose every picture is that of its file."""

    network: nn.Module
    measured: object = None
    multiple: int = 1
    span: tuple[float, float] = (-1.0, 1.0)

    @property
    def channels(self):
        return self.network.picture.shape[0]

    @property
    def size(self):
        return self.network.picture.shape[-1]

    def noise_levels(self):
        return DiscreteSchedule.named("linear").table

    def spaced_levels(self, rule):
        return DiscreteSchedule.named("linear").respace(rule).levels()

    def __call__(self, x, level, cond=None):
        return from_x0(x, level, self.network(x, None))


FLAT = Kind(
    "flat",
    "flat prior",
    "a test",
    "none",
    lambda state, metadata: "picture" in state,
    lambda state, metadata: FlatNetwork(tuple(state["picture"].shape)),
)


def test_a_kind_of_prior_is_registered_once_and_serves_methods(tmp_path, monkeypatch):
    monkeypatch.setattr(kinds, "KINDS", [*kinds.KINDS])
    monkeypatch.setattr(load, "PRIORS", {**load.PRIORS})
    before = dict(kinds.BY_ID)
    try:
        load.add_prior(FLAT, lambda found, settings: FlatPrior(found.network))
        picture = torch.rand(3, 16, 16) - 0.5
        save_file({"picture": picture}, tmp_path / "flat.safetensors")
        files = {"prior": str(tmp_path / "flat.safetensors")}
        low = nn.functional.avg_pool2d((picture[None] + 1) / 2, 2)
        for name, values in (
            ("ddrm", {"operator": "average"}),
            ("diffsr", {"level": 50.0, "consistency": 0.0}),
        ):
            done = registry.method_named(name).prepare(files, values=values)(low, 2.0)
            torch.testing.assert_close(done[0] * 2 - 1, picture, rtol=0, atol=1e-2)
        with pytest.raises(ValueError, match="another id"):
            load.add_prior(FLAT, lambda found, settings: FlatPrior(found.network))
    finally:
        kinds.BY_ID.clear()
        kinds.BY_ID.update(before)
