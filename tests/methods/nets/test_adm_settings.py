"""ADM files fit key for key, and their settings are read from flags and shapes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from adm_tiny import CLASSIFIER, UNET
from hypothesis import given, settings
from hypothesis import strategies as st

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
