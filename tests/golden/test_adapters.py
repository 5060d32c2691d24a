"""What adapters read of a case: times of one or of every picture, and names of weights in any form."""

from __future__ import annotations

import importlib
import json

import pytest
import torch
from fill import weight
from golden_cases import Case, by_sample, names_by
from safetensors.torch import save_file

from priorsr.methods.nets.densenet import DenseNet, DenseNetConfig

TINY = {"num_layers": [1, 1], "bn_size": 2, "growth_rate": 4, "image_size": 16, "num_classes": 3}
SDE = {"sigma_min": 0.01, "sigma_max": 348}
NAMES = {
    "": "Conv_0.weight",
    "srdg:": "srdg:Conv_0.weight",
    "<attr>/": "beard/Conv_0.weight",
    "{attr}.": "beard.Conv_0.weight",
    "net.<attr>.": "net.beard.Conv_0.weight",
    "'<attr>:' + key": "beard:Conv_0.weight",
    "'net/' + attr + '/' + key": "net/beard/Conv_0.weight",
    "f'{attr}-{key}'": "beard-Conv_0.weight",
    'key + "@<attr>"': "Conv_0.weight@beard",
}


@pytest.fixture(scope="module")
def srdg():
    return importlib.import_module("srdg_net_adapter")


@pytest.mark.parametrize("form", NAMES)
def test_weights_are_filled_by_any_form_of_name(tmp_path, srdg, form):
    assert names_by(form, attr="beard")("Conv_0.weight") == NAMES[form]
    network = DenseNet(DenseNetConfig(**{**TINY, "num_layers": (1, 1)}))
    manifest = {key: list(value.shape) for key, value in network.state_dict().items()}
    case = Case(tmp_path)
    (tmp_path / "case.json").write_text(json.dumps({"manifest": manifest, "skip": []}), encoding="utf-8")
    filled = srdg.densenet(case, {**TINY, "fill_key_prefix": form}, attribute="beard").state_dict()
    expected = weight(NAMES[form], filled["Conv_0.weight"].shape)
    torch.testing.assert_close(filled["Conv_0.weight"], expected, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(1,), (2,), (2, 1, 1, 1)])
def test_times_may_be_of_each_picture(shape):
    times, x = torch.arange(1.0, 1 + torch.Size(shape).numel()).view(shape), torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(by_sample(lambda t, x: t * x, times, x), times.view(-1, 1, 1, 1) * x)


def test_a_classifier_is_asked_at_the_time_of_each_picture(tmp_path, srdg):
    torch.manual_seed(0)
    network = DenseNet(DenseNetConfig(**{**TINY, "num_layers": (1, 1)})).eval().requires_grad_(False)
    image, noise, labels = torch.rand(2, 3, 16, 16), torch.randn(2, 3, 16, 16), torch.tensor([2, 0])
    both = srdg.judged(network, labels, image, noise, {**SDE, "times": [0.4, [0.1, 0.7]]})
    one = srdg.judged(network, labels[1:], image[1:], noise[1:], {**SDE, "times": [0.4, 0.7]})
    for name in ("logits_0", "grad_0", "logits_1", "grad_1"):
        torch.testing.assert_close(both[name][1:], one[name], rtol=1e-4, atol=1e-6)


def test_a_score_network_is_asked_at_the_time_of_each_picture(tmp_path, srdg, root):
    """A stored case, said once more of two pictures at its two times."""
    case = Case(root / "tests" / "golden" / "cases" / "srdg" / "ncsnpp_tiny")
    spec = json.loads(json.dumps(case.spec))
    y, t = case.inputs["y"], torch.cat([case.inputs["t_0"], case.inputs["t_1"]])
    spec["inputs"] = {name: {"stored": True} for name in ("y", "x_noise", "t_0")}
    spec["config"]["times"] = [t.tolist()]
    (tmp_path / "case.json").write_text(json.dumps(spec), encoding="utf-8")
    pairs = {name: case.inputs[name].repeat(2, 1, 1, 1) for name in ("y", "x_noise")}
    save_file({**pairs, "t_0": t}, tmp_path / "tensors.safetensors")
    found = srdg.srdg_ncsnpp(Case(tmp_path))
    assert found["score_0"].shape == (2, *y.shape[1:])
    for k in range(2):
        for name in ("sigma", "raw", "score"):
            expected = case.stored[f"{name}_{k}"]
            torch.testing.assert_close(found[f"{name}_0"][k : k + 1], expected, rtol=1e-3, atol=1e-4)
