"""The examples of docs/extend.md work as they stand."""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import priorsr
from priorsr.methods import registry
from priorsr.methods.cli.main import main
from priorsr.methods.degrade import steps
from priorsr.methods.graph.standin import installed
from priorsr.methods.metrics import fidelity
from priorsr.methods.priors import load
from priorsr.methods.weights import kinds
from priorsr.samplers.guidance.measurement import MeasurementGuidance
from priorsr.samplers.karras import Euler
from priorsr.samplers.run import run

TITLES = ("A method", "A kind of prior", "An operator", "A metric", "A degradation", "A node")


@pytest.fixture
def example(root, monkeypatch):
    """A function that runs the example below a heading and gives its names."""
    text = (root / "docs" / "extend.md").read_text(encoding="utf-8")

    def run_it(title: str, module: str = "extended") -> dict:
        (code,) = re.findall(r"```python\n(.*?)```", text.split(f"\n## {title}\n")[1].split("\n## ")[0], re.S)
        made = ModuleType(module)
        made.__package__ = module.rpartition(".")[0]
        monkeypatch.setitem(sys.modules, module, made)
        code = compile(code, f"docs/extend.md, {title}", "exec", dont_inherit=True)
        exec(code, made.__dict__)  # noqa: S102 (our own text)
        return vars(made)

    return run_it


def test_each_example_is_tested(root):
    assert (
        tuple(re.findall(r"^## (.+)", (root / "docs" / "extend.md").read_text(encoding="utf-8"), re.M))
        == TITLES
    )


def test_the_method_is_a_subcommand_and_a_name_in_python(example, monkeypatch, tmp_path):
    method = example("A method")["METHOD"]
    point = EntryPoint("crisp", "my_package:METHOD", registry.GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda self: method)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    registry.methods.cache_clear()
    try:
        Image.effect_noise((24, 16), 60).save(tmp_path / "in.png")
        out = tmp_path / "out.png"
        assert main(["upscale", "crisp", str(tmp_path / "in.png"), str(out), "--amount", "1"]) == 0
        assert Image.open(out).size == (96, 64)
        low = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25
        crisp, plain = (priorsr.upscale(low, "crisp", 2, amount=amount) for amount in (1.0, 0.0))
        torch.testing.assert_close(plain, priorsr.upscale(low, "bicubic", 2))
        assert priorsr.compare(priorsr.degrade(crisp, "bicubic", 2), low)[0]["psnr"] > (
            priorsr.compare(priorsr.degrade(plain, "bicubic", 2), low)[0]["psnr"] + 1
        )
    finally:
        registry.methods.cache_clear()


@pytest.fixture
def as_before(monkeypatch):
    """The tables that an example adds a line to, given back."""
    monkeypatch.setattr(kinds, "KINDS", [*kinds.KINDS])
    monkeypatch.setattr(load, "PRIORS", {**load.PRIORS})
    tables = [kinds.BY_ID, fidelity.METRICS, steps.STEPS]
    kept = [dict(table) for table in tables]
    yield
    for table, before in zip(tables, kept, strict=True):
        table.clear()
        table.update(before)


def test_methods_take_the_prior(example, as_before, tmp_path):
    example("A kind of prior")
    mean = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.5
    save_file({"mean": mean}, tmp_path / "mine.safetensors")
    low = torch.nn.functional.avg_pool2d((mean[None] + 1) / 2, 2)
    options = {"prior": str(tmp_path / "mine.safetensors"), "operator": "average"}
    found = priorsr.upscale(low, "ddrm", 2, **options)
    assert (
        (found[0] * 2 - 1 - mean).abs().mean()
        < 0.1
        < (priorsr.upscale(low, "bicubic", 2)[0] * 2 - 1 - mean).abs().mean()
    )


def test_the_operator_is_linear_and_guides(example, as_before):
    operator = example("An operator")["Scratches"]((16, 16), period=4)
    noise = torch.Generator().manual_seed(0)
    x, y = (torch.randn(1, 3, 16, 16, generator=noise) for _ in range(2))
    torch.testing.assert_close((operator(x) * y).sum(), (x * operator.adjoint(y)).sum())
    names = example("A kind of prior")
    prior = names["GaussianPrior"](names["Mean"]((3, 16, 16)))
    truth = torch.full((1, 3, 16, 16), 0.2)
    hook = MeasurementGuidance(operator, operator(truth), scale=0.5)
    run(prior, x, prior.spaced_levels("10"), Euler(), hooks=[hook])
    assert hook.residuals[-1] < hook.residuals[0]


def test_the_metric_is_shown(example, as_before, tmp_path, capsys):
    example("A metric")
    Image.new("L", (16, 16), 100).save(tmp_path / "a.png")
    other = Image.new("L", (16, 16), 100)
    other.putpixel((3, 4), 90)
    other.save(tmp_path / "b.png")
    assert main(["compare", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert abs(row["worst"] - 10) < 1e-3


def test_the_degradation_is_drawn_written_and_read_again(example, as_before, tmp_path):
    recipe = example("A degradation")["OLD_LENS"]
    white = torch.ones(1, 3, 32, 32)
    damaged = priorsr.degrade(white, recipe, seed=1)
    assert damaged[0, 0, 0, 0] < 0.85 < 0.95 < damaged[0, 0, 16, 16]
    path = tmp_path / "recipe.json"
    path.write_text(recipe.draw(1).to_json(), encoding="utf-8")
    assert json.loads(path.read_text())["steps"][0]["step"] == "Vignette"
    torch.testing.assert_close(priorsr.degrade(white, str(path), seed=7), damaged)


def test_the_node_runs_on_the_stand_in(example, tmp_path):
    (tmp_path / "priorsr").mkdir()
    with installed(tmp_path, "priorsr.nodes"):
        node = example("A node", "priorsr.nodes.pixelate")["Pixelate"]
        image = torch.rand(2, 16, 24, 4, generator=torch.Generator().manual_seed(0))
        (done,) = node.execute(image, 8).args
        assert node.GET_SCHEMA().node_id == "PriorSRPixelate"
    assert done.shape == image.shape
    assert done[0, :8, :8, 0].std() < 1e-6
    torch.testing.assert_close(done[..., 3], image[..., 3])
