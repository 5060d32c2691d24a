"""The score network and the attribute classifier of SRDG: released layouts, sizes, and what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fill import filled, tensor

from priorsr.methods.nets.densenet import DenseNet, DenseNetConfig
from priorsr.methods.nets.ncsnpp import NCSNpp, NCSNppConfig
from priorsr.methods.nets.srdg_released import flax_modules, infer_densenet, infer_ncsnpp
from priorsr.methods.precision import cast

MANIFESTS = Path(__file__).resolve().parents[2] / "golden" / "cases" / "srdg" / "manifests"
SMALL = NCSNppConfig(16, 3, 8, (1, 2), 1, (8,))
JUDGE = DenseNetConfig(16, (2, 1), 4)


def manifest(name):
    return json.loads((MANIFESTS / f"{name}.json").read_text())


def shapes(network):
    return {k: list(v.shape) for k, v in network.state_dict().items()}


@pytest.fixture(scope="module")
def released():
    with torch.device("meta"):
        return NCSNpp()


@pytest.fixture(scope="module")
def network():
    return filled(NCSNpp(SMALL), "sigmas")


@pytest.fixture(scope="module")
def judge():
    return filled(DenseNet(JUDGE))


def test_released_score_network(released):
    assert shapes(released) == manifest("ncsnpp_sr_128_torch")
    assert list(released.state_dict()) == list(
        manifest("ncsnpp_sr_128_torch")
    )  # the average is stored by order
    assert (
        sum(p.numel() for p in released.parameters()) == 65_540_995 - 128
    )  # the frequencies are not trained
    assert len(list(released.parameters())) == 620


def test_released_classifier():
    with torch.device("meta"):
        network = DenseNet()
    assert shapes(network) == manifest("classifier_128_torch_names")
    assert sum(v.numel() for v in network.state_dict().values()) == 759_298


def test_flax_names_are_the_documented_ones(released):
    ours = {v: k for k, v in flax_modules(released).items()}
    for key, path in manifest("ncsnpp_sr_128_torch_to_flax").items():
        head = ".".join(key.split(".")[:2])
        assert path.split("/")[0] == ours[head]


@pytest.mark.parametrize(
    "config",
    [
        NCSNppConfig(),
        SMALL,
        NCSNppConfig(64, 3, 8, (1, 1, 2, 2), 3, (16,)),
        NCSNppConfig(32, 1, 12, (1, 2, 1), 2, (16, 8)),
        NCSNppConfig(8, 3, 4, (1, 2, 3), 1, ()),
    ],
    ids=lambda c: f"{c.image_size}-{len(c.ch_mult)}",
)
def test_sizes_are_read_from_keys_and_shapes(config):
    with torch.device("meta"):
        state = NCSNpp(config).state_dict()
        state["sigmas"] = torch.empty(0)
    state["sigmas"] = config.sigmas.float()
    found = infer_ncsnpp(state)
    if config.attn_resolutions:  # the picture's size is not in the file: attention is put at 16 pixels
        factor = 16 / config.attn_resolutions[0]
        config = replace(
            config,
            image_size=int(config.image_size * factor),
            attn_resolutions=tuple(int(r * factor) for r in config.attn_resolutions),
        )
    assert found == config
    with torch.device("meta"):
        assert shapes(NCSNpp(found)) == {k: list(v.shape) for k, v in state.items()}


@pytest.mark.parametrize(
    "config",
    [DenseNetConfig(), JUDGE, DenseNetConfig(24, (3, 1, 2), 8, 3, 5)],
    ids=lambda c: str(c.image_size),
)
def test_classifier_sizes_are_read_from_shapes(config):
    with torch.device("meta"):
        assert infer_densenet(DenseNet(config).state_dict()) == config


@torch.no_grad()
def test_a_picture_alone_equals_the_picture_in_a_batch(network, judge):
    x, y, sigma = tensor("x", (3, 3, 16, 16)), tensor("y", (3, 3, 16, 16)), torch.tensor([0.1, 2.0, 40.0])
    torch.testing.assert_close(
        network(x, sigma, y)[1:2], network(x[1:2], sigma[1:2], y[1:2]), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(judge(x, sigma)[1:2], judge(x[1:2], sigma[1:2]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_score_network_takes_any_multiple_and_uses_all_that_it_is_told(network):
    x, y, sigma = tensor("x", (1, 3, 12, 18)), tensor("y", (1, 3, 12, 18)), torch.tensor([1.0])
    out = network(x, sigma, y)
    assert out.shape == x.shape
    for changed in (network(x, sigma, y + 0.1), network(x, sigma * 2, y), network(x + 0.1, sigma, y)):
        assert (changed - out).abs().max() > 1e-3


def test_a_new_network_answers_zero_and_keeps_its_frequencies_in_half_precision():
    network = NCSNpp(SMALL).eval()
    x, sigma = tensor("x", (1, 3, 16, 16)), torch.tensor([0.5])
    assert not network(x, sigma, x).detach().any()
    half = cast(filled(NCSNpp(SMALL), "sigmas"), torch.bfloat16)
    assert half.all_modules[0].W.dtype == torch.float32
    out = half(x, sigma, x)
    assert out.dtype == torch.float32
    assert (out - filled(NCSNpp(SMALL), "sigmas")(x, sigma, x)).abs().max() < 0.2


def test_flat_pictures_have_a_gradient(judge):
    x = torch.full((1, 3, 16, 16), 0.5).requires_grad_()
    (gradient,) = torch.autograd.grad(judge.log_prob(x, torch.tensor([0.1]), torch.tensor([1])).sum(), x)
    assert torch.isfinite(gradient).all()


def test_classifiers_can_be_trained(judge):
    network = DenseNet(JUDGE).train()
    before = network.BatchNorm_0.running_mean.clone()
    network(tensor("x", (4, 3, 16, 16)), torch.ones(4)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    assert not torch.equal(before, network.BatchNorm_0.running_mean)
    network.load_state_dict(judge.state_dict())  # a plain dict loads strictly


@pytest.mark.parametrize(
    ("shape", "sigmas", "condition", "words"),
    [
        ((1, 4, 16, 16), 1, (1, 4, 16, 16), "shape B 3 H W"),
        ((1, 3, 15, 16), 1, (1, 3, 15, 16), "multiples of 2"),
        ((1, 3, 16, 16), 1, (1, 3, 8, 8), "enlarge it"),
        ((2, 3, 16, 16), 1, (2, 3, 16, 16), "2 pictures need as many noise levels"),
    ],
)
def test_score_network_refuses_misfits(network, shape, sigmas, condition, words):
    with pytest.raises(ValueError, match=words):
        network(torch.zeros(shape), torch.ones(sigmas), torch.zeros(condition))


@pytest.mark.parametrize("shape", [(1, 3, 17, 16), (1, 1, 16, 16), (3, 16, 16)])
def test_classifier_refuses_other_pictures(judge, shape):
    with pytest.raises(ValueError, match="RGB pictures B 3 16 16 only"):
        judge(torch.zeros(shape), torch.ones(1))


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="nf 6"):
        NCSNppConfig(nf=6)
    with pytest.raises(ValueError, match="image_size 20"):
        DenseNetConfig(20)
