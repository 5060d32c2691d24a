"""Folders and files that diffusers and transformers write give the networks that the released files give.

The names are also built from our own tables the other way round, so that this holds without these programs.
"""

from __future__ import annotations

import json
import re

import pytest
import torch
from diffusers_folder import (
    PIXEL,
    PIXEL_CONFIG,
    as_unet_keys,
    backwards,
    clip_state,
    pixel_state,
    put,
    unet_state,
    vae_state,
)
from fill import filled
from open_clip_tiny import text_state
from safetensors.torch import save_file
from stablesr_tiny import COARSE, UNET, tiny

from priorsr.methods import weights
from priorsr.methods.cli import main as cli
from priorsr.methods.nets.adm_unet import ADMUNet
from priorsr.methods.nets.sd_unet import SDConfig, SDUNet
from priorsr.methods.priors.load import load_prior
from priorsr.methods.stablesr.load import TEXT, load_text, load_unet, load_vae
from priorsr.methods.stablesr.text import tokenise
from priorsr.methods.weights import diffusers_names as names


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """Stable Diffusion in diffusers' layout, the UNet in three parts."""
    folder, model = tmp_path_factory.mktemp("sd21"), tiny()
    unet = put(unet_state(model.prior.network), folder / "unet", {"_class_name": "X"}, parts=3)
    assert unet.name.endswith(".index.json")
    put(vae_state(model.vae), folder / "vae")
    put(clip_state(text_state(UNET.context_dim)), folder / "text_encoder", name="model.safetensors")
    (folder / "scheduler").mkdir()
    told = {"prediction_type": "v_prediction", "beta_schedule": "scaled_linear"}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(told), encoding="utf-8")
    (folder / "model_index.json").write_text("{}", encoding="utf-8")
    return folder


def test_names_are_those_that_diffusers_gives():
    unet = set(unet_state(SDUNet(SDConfig(model_channels=32, context_dim=32, num_head_channels=32))))
    assert {
        "conv_in.weight",
        "time_embedding.linear_2.bias",
        "down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_out.0.weight",
        "down_blocks.1.resnets.0.conv_shortcut.weight",
        "down_blocks.2.downsamplers.0.conv.weight",
        "down_blocks.3.resnets.1.time_emb_proj.weight",
        "mid_block.attentions.0.proj_in.weight",
        "mid_block.resnets.1.norm2.bias",
        "up_blocks.0.resnets.2.conv1.weight",
        "up_blocks.0.upsamplers.0.conv.weight",
        "up_blocks.1.upsamplers.0.conv.bias",
        "up_blocks.3.attentions.2.norm.weight",
        "conv_norm_out.weight",
        "conv_out.weight",
    } <= unet
    assert len(unet) == 686
    assert not any(key.startswith(("input", "output", "middle")) for key in unet)
    assert not any(key.startswith(("down_blocks.3.att", "up_blocks.0.att")) for key in unet)
    vae = set(vae_state(filled(type(tiny().vae)(COARSE))))
    assert {
        "encoder.mid_block.attentions.0.to_q.weight",
        "decoder.mid_block.attentions.0.group_norm.bias",
        "decoder.mid_block.attentions.0.to_out.0.weight",
        "encoder.down_blocks.2.downsamplers.0.conv.weight",
        "decoder.up_blocks.2.upsamplers.0.conv.weight",
        "decoder.up_blocks.3.resnets.1.norm1.weight",
        "encoder.conv_norm_out.weight",
        "quant_conv.weight",
    } <= vae
    assert not any(".down." in key or ".up." in key or ".mid." in key for key in vae)


def test_a_pipeline_folder_gives_all_networks(pipeline):
    model = tiny()
    found = weights.describe(pipeline)
    assert (found.kind.id, found.problem) == ("stable-diffusion", "")
    assert [part.id for part in found.parts] == ["sd-unet", "sd-vae", "sd-text"]
    same(load_unet(str(pipeline)), model.prior.network)
    same(load_vae(str(pipeline)), model.vae)
    state = text_state(UNET.context_dim)
    save_file({f"{TEXT[0]}{k}": v for k, v in state.items()}, pipeline.parent / "text.safetensors")
    twin = load_text(str(pipeline.parent / "text.safetensors"))
    same(load_text(str(pipeline)), twin)
    assert twin(tokenise("")).shape == (1, 77, UNET.context_dim)
    assert weights.list_file(pipeline).metadata == {"target": "v"}


def test_every_part_loads_by_its_file_its_index_and_its_folder(pipeline, monkeypatch):
    model = tiny()
    index = "unet/diffusion_pytorch_model.safetensors.index.json"
    for path in ("unet", index):
        same(load_unet(str(pipeline / path)), model.prior.network)
    for path in ("vae", "vae/diffusion_pytorch_model.safetensors"):
        same(load_vae(str(pipeline / path)), model.vae)
    for path in ("text_encoder", "text_encoder/model.safetensors"):
        assert load_text(str(pipeline / path)).ln_final.weight.shape == (UNET.context_dim,)
    monkeypatch.setenv("PRIORSR_MODELS", str(pipeline.parent))
    same(load_unet(pipeline.name), model.prior.network)
    assert pipeline in weights.installed()


def test_models_lists_and_checks_folders(pipeline, monkeypatch, capsys):
    monkeypatch.setenv("PRIORSR_MODELS", str(pipeline.parent))
    assert cli.main(["models", "--json"]) == 0
    row = next(r for r in json.loads(capsys.readouterr().out) if r["name"] == pipeline.name)
    assert (row["kind"], row["state"]) == ("stable-diffusion", "ready")
    assert cli.main(["models", "check", str(pipeline), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)[0]
    assert (row["kind"], row["complete"], row["sha256"]) == ("Stable Diffusion", "yes", "")


def test_a_unet_without_prefix_or_with_the_hosts_loads(tmp_path):
    state = tiny().prior.network.state_dict()
    for i, prefix in enumerate(("", "diffusion_model.", "model.diffusion_model.")):
        save_file({f"{prefix}{k}": v for k, v in state.items()}, tmp_path / f"{i}.safetensors")
        same(load_unet(str(tmp_path / f"{i}.safetensors")), tiny().prior.network)


def test_a_unet_of_stable_diffusion_1_loads_with_its_heads(tmp_path):
    config = SDConfig(
        model_channels=32,
        channel_mult=(1, 2),
        num_res_blocks=1,
        attention_factors=(1,),
        context_dim=768,
        num_heads=8,
        num_head_channels=None,
    )
    network = filled(SDUNet(config))
    state = {
        k: v[..., None, None] if k.endswith(("proj_in.weight", "1.proj_out.weight")) else v
        for k, v in network.state_dict().items()
    }
    save_file(state, tmp_path / "sd1.safetensors")
    save_file(backwards(state, names.unet_table(as_unet_keys(config))), tmp_path / "diffusers.safetensors")
    for name in ("sd1", "diffusers"):
        found = load_unet(str(tmp_path / f"{name}.safetensors"))
        assert found.config == config
        same(found, network)


FP8 = torch.float8_e4m3fn


@pytest.mark.parametrize("end", ["scale_weight", "weight_scale"])
def test_fp8_numbers_are_multiplied_by_the_scales_beside_them(tmp_path, end):
    network = tiny().prior.network
    state, expected = {"scaled_fp8": torch.zeros(2).to(FP8)}, {}
    for key, value in network.state_dict().items():
        if value.ndim < 2:
            state[key] = expected[key] = value
            continue
        scale = value.abs().amax() / 400
        if value.ndim == 2:  # one for each row
            scale = value.abs().amax(1, keepdim=True) / 400
        state[key] = (value / scale.reshape(-1, *[1] * (value.ndim - 1))).to(FP8)
        state[key.removesuffix("weight") + end] = scale
        expected[key] = state[key].float() * scale
    state["out.2.scale_input"] = torch.ones(())
    save_file({f"model.diffusion_model.{k}": v for k, v in state.items()}, tmp_path / "fp8.safetensors")
    found = load_unet(str(tmp_path / "fp8.safetensors")).state_dict()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=0)
    close = [(found[k] - v).abs().max() / v.abs().max() for k, v in network.state_dict().items()]
    assert 0.001 < max(close) < 0.07, "fp8 has three bits"


def test_a_pixel_prior_of_diffusers_is_an_adm_prior(tmp_path):
    network = filled(ADMUNet(PIXEL))
    put(pixel_state(network), tmp_path / "ddpm", PIXEL_CONFIG)
    told = {"beta_schedule": "linear", "beta_start": 2e-4, "beta_end": 0.04, "num_train_timesteps": 500}
    (tmp_path / "ddpm" / "scheduler_config.json").write_text(json.dumps(told), encoding="utf-8")
    for path in (tmp_path / "ddpm", tmp_path / "ddpm" / "diffusion_pytorch_model.safetensors"):
        prior = load_prior(str(path))
        assert prior.network.config == PIXEL
        same(prior.network, network)
        assert (len(prior.schedule.table), prior.target, prior.size) == (500, "eps", 16)
    (tmp_path / "ddpm" / "config.json").unlink()
    with pytest.raises(ValueError, match=r"UNet2DModel of diffusers without its config\.json"):
        load_prior(str(tmp_path / "ddpm" / "diffusion_pytorch_model.safetensors"))


@pytest.mark.parametrize(
    ("changes", "told", "words"),
    [
        ({"down_block_types": ["SkipDownBlock2D"]}, {}, "SkipDownBlock2D, which no prior here has"),
        ({"act_fn": "mish"}, {}, "act_fn mish"),
        ({"resnet_time_scale_shift": "scale_shift"}, {}, "scale_shift, which no prior here has"),
        ({"block_out_channels": "many"}, {}, "ddpm"),
        ({"sample_size": 10**9}, {}, "image_size is no number up to"),
        ({"layers_per_block": 2}, {}, "missing"),
        ({}, {"beta_schedule": "sigmoid"}, "sigmoid betas"),
        ({}, {"prediction_type": "noise"}, "predicts noise"),
        ({}, {"num_train_timesteps": 800}, "800 linear betas from 0.0001 to 0.02"),
        ({}, {"num_train_timesteps": "many"}, "ddpm"),
    ],
)
def test_other_pixel_networks_are_refused_by_name(tmp_path, changes, told, words):
    put(pixel_state(filled(ADMUNet(PIXEL))), tmp_path / "ddpm", {**PIXEL_CONFIG, **changes})
    (tmp_path / "ddpm" / "scheduler_config.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(ValueError, match=words) as raised:
        load_prior(str(tmp_path / "ddpm"))
    assert str(tmp_path / "ddpm") in str(raised.value)


def broken(pipeline, tmp_path, what):
    """A folder or file that lacks or has something, and what is said of it."""
    unet = unet_state(tiny().prior.network)
    index = put(unet, tmp_path / "unet", parts=2)
    part = tmp_path / "unet" / "diffusion_pytorch_model-00002-of-00002.safetensors"
    if what == "lost part":
        part.unlink()
    elif what == "changed part":
        save_file({"a": torch.zeros(1)}, part)
    elif what == "cut part":
        part.write_bytes(part.read_bytes()[:-9])
    elif what == "outside":
        index.write_text(json.dumps({"weight_map": {"a": "../x.safetensors"}}), encoding="utf-8")
    elif what == "no map":
        index.write_text("[1]", encoding="utf-8")
    elif what == "two models":
        index.unlink()
        return tmp_path / "unet"
    elif what == "empty":
        (tmp_path / "none").mkdir()
        return tmp_path / "none"
    elif what == "scale alone":
        save_file({"a.scale_weight": torch.ones(()), "scaled_fp8": torch.ones(1)}, tmp_path / "a.safetensors")
        return tmp_path / "a.safetensors"
    elif what == "bitsandbytes":
        save_file({"a.weight": torch.ones(1), "a.weight.absmax": torch.ones(1)}, tmp_path / "a.safetensors")
        return tmp_path / "a.safetensors"
    elif what == "gguf":
        (tmp_path / "a.gguf").write_bytes(b"GGUF" + bytes(20))
        return tmp_path / "a.gguf"
    elif what == "small text":
        state = {
            k: v for k, v in clip_state(text_state(16)).items() if not re.search(r"layers\.(1[2-9]|2\d)\.", k)
        }
        return put(state, tmp_path / "text")
    return index


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("lost part", r"its part diffusion_pytorch_model-00002-of-00002.safetensors is missing \(2 belong"),
        ("changed part", r"its part .*00002-of-00002.safetensors lacks .*fetch that again"),
        ("cut part", "end after the file"),
        ("outside", "no weight files beside it"),
        ("no map", "no list of names and values"),
        ("two models", "holds several models .*: name one of them"),
        ("empty", "no weight file in the folder"),
        ("scale alone", "holds the scale a.scale_weight without its weight"),
        ("bitsandbytes", "quantised in the format of bitsandbytes"),
        ("gguf", "GGUF file, whose numbers are quantised: choose a safetensors file"),
        ("small text", "its text encoder has 12 blocks, and Stable Diffusion 2.1's has 23"),
    ],
)
def test_broken_and_quantised_files_are_one_sentence(pipeline, tmp_path, what, words):
    path = broken(pipeline, tmp_path, what)
    with pytest.raises((ValueError, FileNotFoundError), match=words) as raised:
        weights.load(weights.locate(str(path)))
    assert str(tmp_path) in str(raised.value)
