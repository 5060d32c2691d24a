from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fill import fill_, tensor
from hypothesis import given, settings
from hypothesis import strategies as st

from priorsr.methods.nets.adm_blocks import timestep_embedding
from priorsr.methods.nets.adm_config import (
    ADMConfig,
    attention_factors,
    classifier_from_flags,
    from_flags,
    level_mult,
)
from priorsr.methods.nets.adm_released import RELEASED, build_adm, infer_config

CASES = Path(__file__).resolve().parents[2] / "golden" / "cases"
MANIFESTS = {
    p.stem: p
    for folder in ("adm", "dpi")
    for p in sorted((CASES / folder / "manifests").glob("*.json"))
    if p.stem != "configs"
}
UNET = ADMConfig(
    image_size=16,
    model_channels=32,
    num_res_blocks=1,
    channel_mult=(1, 2),
    attention_factors=(2,),
    num_head_channels=16,
)
LABELLED = replace(UNET, num_classes=7)
SUPERRES = replace(UNET, superres=True, num_classes=7)
CLASSIFIER = replace(UNET, out_channels=5, pool="attention")
KINDS = {"unet": UNET, "labelled": LABELLED, "superres": SUPERRES, "classifier": CLASSIFIER}


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


def meta_state(config):
    with torch.device("meta"):
        return build_adm(config).state_dict()


def meta_shapes(config):
    return {k: list(v.shape) for k, v in meta_state(config).items()}


@pytest.mark.parametrize("name", MANIFESTS)
def test_released_files_fit_key_for_key(name):
    listed = json.loads(MANIFESTS[name].read_text(encoding="utf-8"))
    manifest = {
        key.removeprefix("module."): shape for key, shape in listed.items()
    }  # DataParallel's, which reading removes
    assert meta_shapes(RELEASED[name]) == manifest


@pytest.mark.parametrize("name", RELEASED)
def test_released_settings_are_read_from_their_shapes(name):
    assert infer_config(meta_state(RELEASED[name])) == RELEASED[name]


@pytest.mark.parametrize("system", ["adm", "dpi"])
def test_released_flags_give_the_released_settings(system):
    from adm_net_adapter import adm_config  # fills the register of golden adapters

    entries = json.loads((CASES / system / "manifests" / "configs.json").read_text(encoding="utf-8"))
    for name, entry in entries.items():
        config = adm_config(entry)
        assert meta_shapes(config) == meta_shapes(RELEASED[name])
        assert [config.heads(w, decoder) for w in config.widths[1:] for decoder in (False, True)] == [
            RELEASED[name].heads(w, decoder) for w in config.widths[1:] for decoder in (False, True)
        ]
        assert sum(torch.Size(s).numel() for s in meta_shapes(config).values()) == entry["parameters"]


@given(
    depth=st.integers(1, 3),
    mult=st.sampled_from([(1,), (1, 2), (1, 1, 2), (1, 2, 2), (1, 1, 2, 2)]),
    attention=st.sets(st.sampled_from([1, 2, 4, 8])),
    scale_shift=st.booleans(),
    layer=st.sampled_from(["block", "conv", "none"]),
    image=st.sampled_from(
        [
            (3, 3, False),
            (3, 6, False),
            (3, 6, True),
            (3, 3, True),
            (4, 8, False),
            (4, 4, False),
            (1, 1, False),
        ]
    ),
    classes=st.sampled_from([None, 10]),
)
@settings(max_examples=40, deadline=None)
def test_settings_of_any_unet_are_read_from_its_shapes(
    depth, mult, attention, scale_shift, layer, image, classes
):
    single = len(mult) == 1  # without a second level nothing shows how levels are joined
    config = ADMConfig(
        image_size=8 * 2 ** (len(mult) - 1),
        in_channels=image[0],
        out_channels=image[1],
        model_channels=32,
        num_res_blocks=depth,
        channel_mult=mult,
        attention_factors=tuple(sorted(a for a in attention if a < 2 ** len(mult))),
        num_classes=classes,
        num_heads=2,
        num_head_channels=None,
        scale_shift=scale_shift,
        resblock_updown=layer == "block" and not single,
        conv_resample=layer != "none" or single,
        superres=image[2],
    )
    assert infer_config(meta_state(config), num_heads=2) == config


@pytest.mark.parametrize("pool", ["attention", "adaptive", "spatial", "spatial_v2"])
def test_settings_of_classifiers_are_read_from_their_shapes(pool):
    config = classifier_from_flags(
        image_size=128, classifier_width=32, classifier_depth=3, classifier_pool=pool
    )
    config = replace(config, num_head_channels=32, out_channels=10)
    assert infer_config(meta_state(config), num_head_channels=32) == config


def test_what_shapes_leave_open_is_asked_for():
    open_ended = replace(CLASSIFIER, channel_mult=(1, 1, 1, 1), attention_factors=())
    with pytest.raises(ValueError, match="give num_res_blocks"):
        infer_config(meta_state(open_ended))
    assert infer_config(meta_state(open_ended), num_res_blocks=1, num_head_channels=16).num_res_blocks == 1
    assert infer_config(meta_state(UNET)).num_head_channels == 64
    assert infer_config(meta_state(RELEASED["64x64_diffusion"]), num_head_channels=32).new_attention_order
    assert infer_config(
        meta_state(replace(UNET, new_attention_order=True)), new_attention_order=True
    ).new_attention_order


def test_an_incomplete_file_is_named_as_such():
    state = meta_state(UNET)
    del state["out.2.weight"]
    with pytest.raises(ValueError, match=r"out\.2\.weight.*complete"):
        infer_config(state)


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


def test_flags_are_read_as_released():
    assert attention_factors(256, "32,16,8") == (8, 16, 32)
    assert attention_factors(64, 16) == (4,)
    assert attention_factors(64, "") == ()
    assert level_mult(512) == (0.5, 1, 1, 2, 2, 4, 4)
    assert level_mult(48, "1,0.5") == (1, 0.5)
    with pytest.raises(ValueError, match="give one"):
        level_mult(48)
    flags = from_flags(
        image_size=512,
        num_channels=192,
        num_res_blocks=2,
        attention_resolutions="32,16",
        superres=True,
        num_heads_upsample=2,
    )
    assert (flags.channel_mult, flags.attention_factors) == ((1, 1, 2, 2, 4, 4), (16, 32))
    assert (flags.heads(192), flags.heads(192, decoder=True)) == (4, 2)


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
