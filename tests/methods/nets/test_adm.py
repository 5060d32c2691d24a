"""ADM networks: batches, gradients, precision, sizes, and calls that do not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from adm_tiny import CLASSIFIER, KINDS, LABELLED, SUPERRES, UNET
from fill import fill_, tensor
from hypothesis import given, settings
from hypothesis import strategies as st

from priorsr.methods.nets.adm_blocks import timestep_embedding
from priorsr.methods.nets.adm_released import build_adm


def filled(config):
    network = build_adm(config).eval()
    fill_(network)
    return network


def inputs(config, batch=2, side=16):
    """x, t and the conditions that the network needs."""
    conditions = {}
    if config.num_classes:
        conditions["label"] = torch.arange(batch) % config.num_classes
    if config.superres:
        conditions["low_res"] = tensor("low", (batch, 3, side // 4, side // 4))
    return tensor("x", (batch, 3, side, side)), torch.linspace(0, 999, batch), conditions


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_alone_equals_the_sample_in_a_batch(kind):
    network, (x, t, conditions) = filled(KINDS[kind]), inputs(KINDS[kind], 3)
    with torch.no_grad():
        whole = network(x, t, **conditions)
        for i in range(3):
            alone = network(x[i : i + 1], t[i : i + 1], **{k: v[i : i + 1] for k, v in conditions.items()})
            torch.testing.assert_close(whole[i : i + 1], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_image_and_every_weight(kind):
    network, (x, t, conditions) = filled(KINDS[kind]), inputs(KINDS[kind])
    network(x.requires_grad_(), t, **conditions).square().sum().backward()
    gradients = {"x": x.grad, **{name: p.grad for name, p in network.named_parameters()}}
    assert [
        name for name, g in gradients.items() if g is None or not g.isfinite().all() or not g.abs().sum()
    ] == []


def test_gradients_do_not_need_trainable_weights():
    network, (x, t, _) = filled(CLASSIFIER).requires_grad_(False), inputs(CLASSIFIER)
    (gradient,) = torch.autograd.grad(network.log_prob(x.requires_grad_(), t, torch.tensor([0, 4])).sum(), x)
    assert gradient.abs().sum() > 0


def test_log_prob_is_a_distribution_over_the_classes():
    network, (x, t, _) = filled(CLASSIFIER), inputs(CLASSIFIER)
    total = sum(network.log_prob(x, t, torch.full((2,), k)).exp() for k in range(5))
    torch.testing.assert_close(total, torch.ones(2))


@given(st.integers(2, 6), st.integers(1, 6), st.booleans(), st.booleans())
@settings(max_examples=8, deadline=None)
def test_sides_of_any_multiple_work(rows, columns, updown, conv):
    network = filled(replace(UNET, resblock_updown=updown, conv_resample=conv))
    shape = (1, 3, 2 * rows, 2 * columns)
    with torch.no_grad():
        assert network(tensor("x", shape), torch.zeros(1)).shape == (1, 6, *shape[2:])


def test_a_new_unet_answers_zero():
    assert not build_adm(UNET)(*inputs(UNET)[:2]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_attention_and_the_number_of_heads_matter(kind):
    config = KINDS[kind]
    x, t, conditions = inputs(config)
    with torch.no_grad():
        answers = [
            filled(c)(x, t, **conditions)
            for c in (config, replace(config, new_attention_order=True), replace(config, num_head_channels=8))
        ]
    assert all(not torch.allclose(answers[0], other, atol=1e-4) for other in answers[1:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["weights", "convolutions", "autocast"])
def test_half_precision_answers_in_the_precision_of_the_image(kind, how):
    network, (x, t, conditions) = filled(KINDS[kind]), inputs(KINDS[kind])
    with torch.no_grad():
        exact = network(x, t, **conditions)
        if how == "weights":
            network.to(torch.bfloat16)
        elif how == "convolutions":  # what the released code does
            parts = [*network.input_blocks, network.middle_block, *getattr(network, "output_blocks", [])]
            for module in (m for part in parts for m in part.modules()):
                if isinstance(module, (torch.nn.Conv1d, torch.nn.Conv2d)):
                    module.to(torch.bfloat16)
        with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
            rough = network(x, t, **conditions)
    assert rough.dtype == torch.float32
    assert (rough - exact).norm() < 0.03 * exact.norm()


def test_time_embedding_is_cosines_then_sines_of_fractional_times():
    emb = timestep_embedding(torch.tensor([0.0, 1.5]), 64)
    torch.testing.assert_close(emb[0], torch.cat([torch.ones(32), torch.zeros(32)]))
    torch.testing.assert_close(emb[1, [0, 32]], torch.tensor([1.5]).cos().new_tensor([0.0707372, 0.9974950]))


X, T, Y = torch.zeros(2, 3, 16, 16), torch.zeros(2), torch.zeros(2, dtype=torch.long)
BAD_CALLS = {
    "missing label": (LABELLED, (X, T), "class-conditional: give a label"),
    "surplus label": (UNET, (X, T, Y), "leave the label out"),
    "label too high": (LABELLED, (X, T, Y + 7), r"outside 0\.\.6"),
    "label negative": (LABELLED, (X, T, Y - 1), r"outside 0\.\.6"),
    "label not integer": (LABELLED, (X, T, Y.float()), "2 integers"),
    "one label for two": (LABELLED, (X, T, Y[:1]), "one for each sample"),
    "grey image": (UNET, (X[:, :1], T), "convert the image"),
    "one time for two": (UNET, (X, T[:1]), "one step for each sample"),
    "odd sides": (UNET, (X[..., :15], T), "multiples of 2"),
    "no low_res": (SUPERRES, (X, T, Y), "needs low_res"),
    "low_res of another batch": (SUPERRES, (X, T, Y, X[:1]), "one image for each sample"),
    "size of the attention pool": (CLASSIFIER, (X[..., :8], T), "16 x 16"),
    "grey image to classify": (CLASSIFIER, (X[:, :1], T), "convert the image"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_wrong_inputs_say_the_cure(name):
    config, arguments, words = BAD_CALLS[name]
    with pytest.raises(ValueError, match=words):
        filled(config)(*arguments)


def test_a_class_that_the_classifier_lacks_is_named():
    with pytest.raises(ValueError, match=r"outside 0\.\.4"):
        filled(CLASSIFIER).log_prob(X, T, Y + 5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_channels": 48}, "multiple of 32"),
        ({"channel_mult": ()}, "multiple of 32"),
        ({"pool": "mean"}, "not one of attention"),
        ({"pool": "adaptive", "superres": True}, "neither low_res nor a label"),
        ({"pool": "attention", "num_head_channels": None}, "num_head_channels"),
        ({"num_head_channels": 48}, "cannot be split"),
        ({"num_head_channels": None, "num_heads": 3}, "cannot be split"),
    ],
)
def test_wrong_settings_say_the_cure(changes, words):
    with pytest.raises(ValueError, match=words):
        build_adm(replace(UNET, **changes))
