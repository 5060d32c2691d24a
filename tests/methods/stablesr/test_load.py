from __future__ import annotations

import os
import sys
import types

import pytest
import torch
from safetensors.torch import save_file
from stablesr_tiny import COARSE, tiny
from stablesr_tiny import UNET as UNET_CONFIG

from priorsr.methods.nets.sd_unet import SDConfig
from priorsr.methods.stablesr.layers import STRUCT, UNET
from priorsr.methods.stablesr.load import (
    AUTOENCODER,
    detected_target,
    load_cfw,
    load_layers,
    load_stablesr,
    load_unet,
    load_vae,
)
from priorsr.methods.weights.torch_file import list_torch

MODEL = tiny()
LAYERS = MODEL.layers.released_state()
BASE = {
    **{f"{UNET}{k}": v for k, v in MODEL.prior.network.state_dict().items()},
    **{f"{AUTOENCODER}{k}": v for k, v in MODEL.vae.state_dict().items()},
    "cond_stage_model.model.positional_embedding": torch.zeros(77, 8),
    "betas": torch.zeros(1000),
}
FUSION = {f"decoder.{k}": v for k, v in MODEL.cfw.state_dict().items()}
CFW_FILE = {
    **MODEL.vae.state_dict(),
    **FUSION,
    "loss.logvar": torch.zeros(()),
    "loss.discriminator.main.0.weight": torch.zeros(2, 2),
}
EMA = {
    "model_ema.diffusion_modelinput_blocks10spadeparam_free_normweight": torch.zeros(3),
    "model_ema.structcond_stage_model": torch.zeros(1),
}


def same(network, wanted):
    state = network.state_dict()
    return state.keys() == wanted.keys() and all(torch.equal(v, wanted[k]) for k, v in state.items())


@pytest.fixture
def trainer(monkeypatch):
    """A module as a training program pickles it."""
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")

    class ModelCheckpoint:
        def __init__(self):
            self.best = [1.5]

    ModelCheckpoint.__module__, ModelCheckpoint.__qualname__ = module.__name__, "ModelCheckpoint"
    module.ModelCheckpoint = ModelCheckpoint
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    return ModelCheckpoint


@pytest.fixture
def full(tmp_path, trainer, monkeypatch):
    """A full Lightning file, in a place where its classes cannot be imported."""
    path = tmp_path / "stablesr_000117.ckpt"
    content = {
        "state_dict": {**BASE, **LAYERS, **EMA},
        "global_step": 117,
        "callbacks": {trainer: {"best_model_score": torch.tensor(1.0), "self": trainer()}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}}],
    }
    torch.save(content, path)
    for name in [n for n in sys.modules if n.startswith("pytorch_lightning")]:
        monkeypatch.delitem(sys.modules, name)
    return str(path)


def test_everything_comes_out_of_a_full_training_file(full):
    layers = load_layers(full)
    assert same(layers.encoder, MODEL.layers.encoder.state_dict())
    assert same(layers.sft, MODEL.layers.sft.state_dict())
    unet = load_unet(full)
    assert unet.config == UNET_CONFIG
    assert same(unet, MODEL.prior.network.state_dict())
    assert same(load_vae(full), MODEL.vae.state_dict())
    layers.check(unet)
    whole = load_stablesr(full, target="v")
    assert (whole.prior.target, whole.cfw, whole.multiple) == ("v", None, 16)
    assert not any(
        p.requires_grad for network in (unet, layers.sft, layers.encoder) for p in network.parameters()
    )


def test_classes_of_training_programs_are_skipped_and_forgotten(full):
    before = set(torch.serialization.get_safe_globals())
    content = list_torch(full)
    assert content["global_step"] == 117
    assert set(torch.serialization.get_safe_globals()) == before
    assert "pytorch_lightning" not in sys.modules


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_extracted_layers_load_from_a_flat_file(tmp_path, suffix):
    path = tmp_path / f"webui_768v_139{suffix}"
    save_file(LAYERS, path) if suffix == ".safetensors" else torch.save(LAYERS, path)
    layers = load_layers(str(path))
    assert same(layers.sft, MODEL.layers.sft.state_dict())
    torch.testing.assert_close(layers.released_state(), LAYERS)


def test_fusion_loads_with_and_without_its_autoencoder(tmp_path):
    whole, alone = tmp_path / "vqgan_cfw_00011.ckpt", tmp_path / "vqgan_cfw_00011_cfw_only.ckpt"
    torch.save({"state_dict": CFW_FILE}, whole)
    torch.save(FUSION, alone)
    for path in (whole, alone):
        assert same(load_cfw(str(path)), MODEL.cfw.state_dict())
    vae = load_vae(str(whole))
    assert vae.config == COARSE
    assert same(vae, MODEL.vae.state_dict())


ENCODER_ONLY = {k: v for k, v in LAYERS.items() if k.startswith(STRUCT)}
SPADE_ONLY = {k: v for k, v in LAYERS.items() if k.startswith(UNET)}
WITHOUT_ONE = {k: v for k, v in LAYERS.items() if k != f"{UNET}output_blocks.1.0.spade.mlp_beta.bias"}
WITHOUT_BLOCK = {
    k: v for k, v in LAYERS.items() if "middle_block.2.0" not in k and "middle_block.2.spade" not in k
}
RESHAPED = {**LAYERS, f"{STRUCT}fea_tran.1.out_layers.3.bias": torch.zeros(7)}
VAE_ONLY = dict(MODEL.vae.state_dict())


@pytest.mark.parametrize(
    ("load", "state", "message"),
    [
        (load_layers, BASE, "holds Stable Diffusion weights where stablesr-layers .*stablesr_000117.ckpt"),
        (load_layers, CFW_FILE, "holds StableSR CFW weights where stablesr-layers"),
        (load_layers, VAE_ONLY, "holds Stable Diffusion autoencoder weights where"),
        (
            load_layers,
            {"conv1.weight": torch.zeros(1)},
            "no network that PriorSR knows .first keys: state_dict, conv1.weight",
        ),
        (load_layers, EMA, "no network that PriorSR knows"),
        (load_layers, ENCODER_ONLY, r"lacks the modulation layers \(model"),
        (load_layers, SPADE_ONLY, r"lacks the encoder \(structcond"),
        (load_layers, WITHOUT_ONE, r"1 missing \(sft.output_blocks.1.0.spade.mlp_beta.bias"),
        (load_layers, WITHOUT_BLOCK, r"8 missing \(sft.middle_block.2.spade"),
        (load_layers, RESHAPED, r"1 misshapen \(encoder.fea_tran.1.out_layers.3.bias"),
        (load_cfw, LAYERS, "holds StableSR layer weights where cfw weights are needed"),
        (load_cfw, VAE_ONLY, "holds Stable Diffusion autoencoder weights where cfw .*vqgan_cfw_00011.ckpt"),
        (load_cfw, {k: v for k, v in FUSION.items() if "_2." not in k}, "fusion_layer_2.* is missing"),
        (load_vae, FUSION, "holds StableSR CFW weights where sd-vae"),
        (
            load_vae,
            {k: v for k, v in VAE_ONLY.items() if k != "decoder.conv_in.weight"},
            "1 missing .decoder.conv_in.weight",
        ),
        (load_unet, LAYERS, "holds StableSR layer weights where sd-unet"),
        (load_unet, {k: v for k, v in BASE.items() if k != f"{UNET}out.2.weight"}, "out.2.weight"),
    ],
)
def test_wrong_and_partial_files_are_named_and_refused(tmp_path, load, state, message):
    path = tmp_path / "given.ckpt"
    torch.save({"state_dict": state}, path)
    with pytest.raises(ValueError, match=message) as raised:
        load(str(path))
    assert str(path) in str(raised.value)


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_in_a_file_is_refused_and_never_runs(tmp_path):
    path, mark = tmp_path / "evil.ckpt", tmp_path / "mark"
    torch.save({"state_dict": LAYERS, "callbacks": Touch(str(mark))}, path)
    with pytest.raises(ValueError, match="pickled code"):
        load_layers(str(path))
    assert not mark.exists()


def test_a_damaged_file_is_named(full):
    with open(full, "r+b") as file:
        file.truncate(os.path.getsize(full) // 2)
    with pytest.raises(ValueError, match="damaged"):
        load_layers(full)
    with pytest.raises(FileNotFoundError):
        load_layers(full + "x")


def test_what_the_published_unets_predict_is_seen_in_their_weights():
    unet = torch.nn.Module()
    unet.config, bias = SDConfig(), torch.tensor([0.085, -0.085])
    unet.get_parameter = lambda name: {"output_blocks.11.1.transformer_blocks.0.norm1.bias": bias}[name]
    assert detected_target(unet) == "eps"
    bias *= 1.2
    assert detected_target(unet) == "v"
    assert detected_target(tiny().prior.network) == "", "only where that was measured"
