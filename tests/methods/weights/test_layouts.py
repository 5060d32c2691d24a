"""Every layout that people have, told by its header alone: the released files, and those of other authors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers_folder import PIXEL, PIXEL_CONFIG, clip_state, pixel_state, unet_state, vae_state
from sparse_files import sparse_safetensors, sparse_zip
from torch import nn

from priorsr.methods import weights
from priorsr.methods.nets.adm_unet import ADMUNet
from priorsr.methods.nets.sd_unet import SDConfig, SDUNet
from priorsr.methods.nets.sd_vae import VAE, VAEConfig
from priorsr.methods.weights import layouts
from priorsr.methods.weights.construct import without_numbers

CASES = Path(__file__).parents[2] / "golden" / "cases"
SD1 = SDConfig(context_dim=768, num_heads=8, num_head_channels=None)
DIFFUSERS = "diffusion_pytorch_model.safetensors"
MANIFESTS = {
    "stablesr_000117.ckpt": ("stablesr/manifests/stablesr_full_ckpt", "stablesr"),
    "webui_768v_139.ckpt": ("stablesr/manifests/stablesr_webui_stripped", "stablesr-layers"),
    "vqgan_cfw_00011.ckpt": ("stablesr/manifests/vqgan_cfw_ckpt", "cfw"),
    "codeformer.pth": ("manifests/codeformer", "codeformer"),
    "vqgan_code1024.pth": ("manifests/codeformer_vqgan_code1024", "vqgan"),
    "detection_Resnet50_Final.pth": ("manifests/detection_Resnet50_Final", "retinaface"),
    "parsing_parsenet.pth": ("manifests/parsing_parsenet", "parsenet"),
    "ffhq_10m.pt": ("adm/manifests/ffhq_10m", "adm"),
    "256x256_diffusion_uncond.pt": ("adm/manifests/256x256_diffusion_uncond", "adm"),
    "64_256_upsampler.pt": ("adm/manifests/64_256_upsampler", "adm"),
    "256x256_classifier.pt": ("adm/manifests/256x256_classifier", "adm-classifier"),
}


def manifest(name):
    return json.loads((CASES / f"{name}.json").read_text(encoding="utf-8"))


def shapes(state):
    return {key: list(value.shape) for key, value in state.items()}


def full():
    return manifest(MANIFESTS["stablesr_000117.ckpt"][0])


def base():
    return {k: v for k, v in full().items() if not layouts.is_layer(k)}


def unet(config=SDConfig(), prefix=""):
    with torch.device("meta"):
        return {f"{prefix}{k}": v for k, v in SDUNet(config).state_dict().items()}


def sd1():
    ends = (".1.proj_in.weight", ".1.proj_out.weight")
    return {k: [*v.shape, 1, 1] if k.endswith(ends) else list(v.shape) for k, v in unet(SD1).items()}


def foreign_unet():
    with torch.device("meta"):
        return shapes(unet_state(SDUNet(SDConfig())))


def foreign_vae():
    with torch.device("meta"):
        return shapes(vae_state(VAE(VAEConfig())))


def foreign_text():
    text = layouts.below(full(), layouts.TEXT[0])
    return shapes(clip_state({k: torch.empty(v, device="meta") for k, v in text.items()}))


def one(shapes_of):
    return lambda path: sparse_safetensors(path, shapes_of())


def component(shapes_of, config=None, name=DIFFUSERS):
    """A folder as save_pretrained leaves it."""

    def write(path):
        path.mkdir(parents=True)
        (path / "config.json").write_text(json.dumps(config or {}), encoding="utf-8")
        sparse_safetensors(path / name, shapes_of())
        return path

    return write


def pipeline(path):
    for part, shapes_of in (("unet", foreign_unet), ("vae", foreign_vae)):
        component(shapes_of)(path / part)
    component(foreign_text, name="model.safetensors")(path / "text_encoder")
    (path / "model_index.json").write_text("{}", encoding="utf-8")
    return path


def shards(path):
    """A UNet in two files and the index of both."""
    path.mkdir()
    every, places = foreign_unet(), {}
    for i in range(2):
        name = f"part-{i}.safetensors"
        some = dict(list(every.items())[i::2])
        sparse_safetensors(path / name, some)
        places |= dict.fromkeys(some, name)
    index = path / f"{DIFFUSERS}.index.json"
    index.write_text(json.dumps({"weight_map": places}), encoding="utf-8")
    return index


def averaged(path):
    """A Lightning module's network below the name that the module gives it."""
    return sparse_zip(path, {f"model.{k}": v for k, v in manifest("manifests/srcnn_955").items()})


def pixel():
    with torch.device("meta"):
        return shapes(pixel_state(ADMUNet(PIXEL)))


RELEASED = {
    name: (lambda path, file=file: sparse_zip(path, manifest(file)), kind)
    for name, (file, kind) in MANIFESTS.items()
} | {"v2-1_512-ema-pruned.safetensors": (one(base), "stable-diffusion")}
FOREIGN = {
    "unet_bare.safetensors": (one(lambda: shapes(unet())), "sd-unet"),
    "unet_host.safetensors": (one(lambda: shapes(unet(prefix="diffusion_model."))), "sd-unet"),
    "unet_sd1.safetensors": (one(sd1), "sd-unet"),
    "unet_diffusers.safetensors": (one(foreign_unet), "sd-unet"),
    "vae_diffusers.safetensors": (one(foreign_vae), "sd-vae"),
    "text_transformers.safetensors": (one(foreign_text), "sd-text"),
    "sharded": (shards, "sd-unet"),
    "pipeline": (pipeline, "stable-diffusion"),
    "ddpm": (component(pixel, PIXEL_CONFIG), "adm"),
    "lightning.ckpt": (averaged, "srcnn"),
}


@pytest.mark.parametrize("name", [*RELEASED, *FOREIGN])
def test_a_layout_is_told_by_its_header(tmp_path, monkeypatch, name):
    write, kind = {**RELEASED, **FOREIGN}[name]
    path = write(tmp_path / name)
    monkeypatch.setattr(weights.Listing, "read", lambda *arguments: pytest.fail("numbers are read"))
    found = weights.describe(path)
    assert found.kind.id == kind
    assert found.problem == ""


def test_there_are_twelve_released_and_ten_foreign_ones():
    assert (len(RELEASED), len(FOREIGN)) == (12, 10)


def test_networks_are_not_filled_when_they_are_only_looked_at():
    """torch.nn.init hands tensors on by their names, which is half of the time of building a network."""
    with torch.device("meta"):
        tensor = torch.empty(2, 2)
    with without_numbers():
        assert nn.init.kaiming_uniform_(tensor, mode="nothing that would be taken") is tensor
        assert nn.init.uniform_(tensor, 1.0, 0.0) is tensor
        filled = nn.init.ones_(torch.empty(2))
    assert torch.equal(filled, torch.ones(2)), "what has numbers gets them"
    with pytest.raises(ValueError, match="Mode"):
        nn.init.kaiming_uniform_(tensor, mode="nothing that would be taken")
