"""Listing reads headers: what it costs, what it names, and containers and prefixes of published files."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import pytest
import torch
from pickle_attacks import legacy, state, tensor, text
from safetensors.torch import save_file
from sparse_files import sparse_safetensors, sparse_zip

from priorsr.methods import weights
from priorsr.methods.cli.main import main
from priorsr.methods.nets.sd_vae import VAE, VAEConfig
from priorsr.methods.nets.srcnn import SRCNN
from priorsr.methods.weights.load import describe

MANIFESTS = Path(__file__).parents[2] / "golden" / "cases" / "stablesr" / "manifests"
MiB = 1 << 20


def same(network, state):
    return all(torch.equal(v, state[k]) for k, v in network.state_dict().items())


@pytest.fixture
def bytes_read(monkeypatch):
    """Counts what is read from files, mapped or not, through the few calls that the readers use."""
    before = Path("/proc/self/io").read_text() if Path("/proc/self/io").exists() else ""

    def count():
        def of(text):
            return int(next(line for line in text.splitlines() if line.startswith("rchar")).split()[1])

        return of(Path("/proc/self/io").read_text()) - of(before) if before else 0

    return count


MANIFEST = json.loads((MANIFESTS / "stablesr_full_ckpt.json").read_text())


@pytest.mark.parametrize("make", [sparse_zip, sparse_safetensors])
def test_the_header_of_six_gigabytes_costs_little(tmp_path, make, bytes_read):
    suffix = ".ckpt" if make is sparse_zip else ".safetensors"
    path = make(tmp_path / f"stablesr_000117{suffix}", MANIFEST)
    assert path.stat().st_size > 5 << 30
    weights.list_file(weights.SHIPPED / "srcnn_x2.safetensors")  # imports are not what is measured
    start = bytes_read()
    tracemalloc.start()
    found = weights.list_file(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.entries) == len(MANIFEST)
    assert all(list(found.entries[key].shape) == shape for key, shape in MANIFEST.items())
    assert peak < 20 * MiB
    assert bytes_read() - start < 4 * MiB
    kept, _ = weights.read_state(path, lambda key: key == "betas")
    assert kept["betas"].shape == (1000,)
    assert bytes_read() - start < 8 * MiB


def test_legacy_headers_leave_their_numbers_alone(tmp_path, bytes_read):
    shapes = {"conv1.weight": (1 << 28,)}
    data = state({"conv1.weight": tensor("0", 1 << 28, (1 << 28,), (1,))}).removeprefix(b"\x80\x02")
    path = legacy(tmp_path / "a.pth", b"\x80\x02" + data)
    content = path.read_bytes().removesuffix(b"\x80\x02].") + b"\x80\x02]" + text("0") + b"a." + bytes(8)
    with path.open("wb") as file:
        file.write(content)
        file.truncate(len(content) + (4 << 28))
    assert path.stat().st_size > 1 << 30
    start = bytes_read()
    found = weights.list_file(path)
    assert {k: v.shape for k, v in found.entries.items()} == shapes
    assert bytes_read() - start < MiB


@pytest.mark.parametrize(
    ("manifest", "kind", "parts", "state"),
    [
        ("stablesr_full_ckpt", "stablesr", {"stablesr-layers", "sd-unet", "sd-vae", "sd-text"}, "ready"),
        ("stablesr_webui_stripped", "stablesr-layers", {"stablesr-layers"}, "ready"),
        ("stablesr_spade_only", "stablesr-layers", {"stablesr-layers"}, "lacks the encoder"),
        ("stablesr_struct_encoder_only", "stablesr-layers", {"stablesr-layers"}, "lacks the modulation"),
        ("vqgan_cfw_ckpt", "cfw", {"cfw", "sd-vae"}, "ready"),
        ("vqgan_cfw_fusion_only", "cfw", {"cfw"}, "ready"),
    ],
)
@pytest.mark.parametrize("make", [sparse_zip, sparse_safetensors])
def test_released_layouts_are_named(tmp_path, monkeypatch, capsys, make, manifest, kind, parts, state):
    suffix = ".ckpt" if make is sparse_zip else ".safetensors"
    make(tmp_path / f"{manifest}{suffix}", json.loads((MANIFESTS / f"{manifest}.json").read_text()))
    monkeypatch.setenv("PRIORSR_MODELS", str(tmp_path))
    assert main(["models", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)[0]
    assert (row["kind"], set(row["parts"]), row["dtype"]) == (kind, parts, "float32")
    assert state in row["state"]
    assert row["title"]
    assert row["use"]
    assert row["licence"].startswith("S-Lab License 1.0")


def test_models_survives_whatever_lies_in_a_folder(tmp_path, monkeypatch, capsys):
    (tmp_path / "empty.pth").touch()
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "link.pth").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "note.ckpt").write_bytes(b"PK\x03\x04 nineteen bytes")
    Path(os.fsdecode(bytes(tmp_path) + b"/name\xff.pt")).write_bytes(b"x")
    (tmp_path / "\u540d\u5b57.pt").write_bytes(b"x")
    weights.save(SRCNN(), tmp_path / "unknown.safetensors", {"settings": '{"unheard_of": 1}', "scale": "x"})
    keys = ("time_embed.0.weight", "input_blocks.0.0.weight", "output_blocks.0.0.in_layers.0.weight")
    told = {"settings": '{"unheard_of": 1}'}
    save_file({k: torch.zeros(2, 2) for k in keys}, tmp_path / "settings.safetensors", told)
    monkeypatch.setenv(
        "PRIORSR_MODELS", os.pathsep.join(map(str, (tmp_path, tmp_path / "missing", "/dev/null")))
    )
    assert main(["models", "--json"]) == 0
    rows = {r["name"]: r for r in json.loads(capsys.readouterr().out)}
    assert "empty" in rows["empty"]["state"]
    assert "unheard_of" in rows["settings"]["state"]
    assert "note.ckpt" in rows["note"]["state"]
    assert rows["unknown"]["state"] == "ready"
    assert main(["models"]) == 0
    shown = capsys.readouterr().out
    assert "StableSR" not in shown
    assert "Apache-2.0" in shown


# containers and prefixes


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.", "net.", "generator.", "module.model."]
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_prefixes_are_understood(tmp_path, prefix, suffix):
    wanted = SRCNN().state_dict()
    content = {prefix + k: v for k, v in wanted.items()}
    path = tmp_path / f"a{suffix}"
    torch.save(content, path) if suffix == ".pth" else save_file(content, path)
    assert same(weights.load(path, "srcnn").network, wanted)


@pytest.mark.parametrize(
    "name",
    ["net", "params-ema", "model_state_dict", "state_dict_ema", "generator", "ema", "params_ema", "params"],
)
def test_containers_are_understood(tmp_path, name):
    wanted = SRCNN().state_dict()
    torch.save({"epoch": 3, name: wanted, "optimizer": {"state": {}}}, tmp_path / "a.pth")
    assert same(weights.load(tmp_path / "a.pth").network, wanted)
    if name not in ("net", "generator"):
        save_file({f"{name}.{k}": v for k, v in wanted.items()}, tmp_path / "a.safetensors")
        assert same(weights.load(tmp_path / "a.safetensors").network, wanted)


def test_averages_are_taken_first_and_empty_ones_passed_over(tmp_path):
    plain, average = SRCNN().state_dict(), SRCNN().state_dict()
    torch.save({"model": plain, "ema": {"decay": 0.9, "state_dict": average}}, tmp_path / "a.pth")
    assert same(weights.load(tmp_path / "a.pth").network, average)
    torch.save({"model": plain, "ema": {"decay": 0.9, "shadow": [1]}}, tmp_path / "a.pth")
    assert same(weights.load(tmp_path / "a.pth").network, plain)


def test_torchs_averaged_model_and_lightning_modules_load(tmp_path):
    network = SRCNN()
    average = torch.optim.swa_utils.AveragedModel(network)
    torch.save(average.state_dict(), tmp_path / "a.pt")
    assert same(weights.load(tmp_path / "a.pt").network, network.state_dict())
    module = {f"model.{k}": v for k, v in network.state_dict().items()}
    torch.save({"state_dict": {**module, "loss.weight": torch.zeros(3)}, "epoch": 1}, tmp_path / "a.ckpt")
    assert same(weights.load(tmp_path / "a.ckpt").network, network.state_dict())


def test_an_unknown_file_is_told_by_its_outermost_keys(tmp_path):
    torch.save({"weights": {"a": torch.zeros(1)}, "step": 3}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt holds no network .*first keys: weights, step"):
        weights.load(tmp_path / "a.pt")


# layouts of autoencoders


def diffusers_vae(network: VAE) -> dict:
    """A released autoencoder as diffusers names it."""
    levels, result = len(network.config.channel_mult), {}
    names = {"block_1": "resnets.0", "block_2": "resnets.1", "attn_1": "attentions.0"}
    attention = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
    for key, value in network.state_dict().items():
        parts = key.split(".")
        if parts[1] == "mid":
            parts[1:3] = ["mid_block", names[parts[2]]]
            if "attentions.0" in parts:
                parts[3] = attention[parts[3]]
                value = value[:, :, 0, 0] if value.ndim == 4 else value
        elif parts[1] in ("down", "up"):
            level = parts[2] if parts[1] == "down" else str(levels - 1 - int(parts[2]))
            inner = {"block": "resnets", "downsample": "downsamplers.0", "upsample": "upsamplers.0"}[parts[3]]
            parts[1:4] = [f"{parts[1]}_blocks", level, inner]
        elif parts[1] == "norm_out":
            parts[1] = "conv_norm_out"
        result[".".join(parts).replace("nin_shortcut", "conv_shortcut")] = value.contiguous()
    return result


def test_autoencoders_load_in_both_layouts(tmp_path):
    network = VAE(VAEConfig(32, (1, 2), 1, 4))
    save_file(diffusers_vae(network), tmp_path / "diffusers.safetensors")
    save_file(network.state_dict(), tmp_path / "released.safetensors")
    for name in ("diffusers", "released"):
        assert same(weights.load(tmp_path / f"{name}.safetensors", "sd-vae").network, network.state_dict())
    names = ("encoder.conv_in.weight", "quant_conv.weight", "post_quant_conv.weight")
    save_file({k: torch.zeros(4, 4, 1, 1) for k in names}, tmp_path / "stump.safetensors")
    with pytest.raises(ValueError, match=r"stump\.safetensors is no complete Stable Diffusion autoencoder"):
        weights.load(tmp_path / "stump.safetensors", "sd-vae")
    assert "stump.safetensors" in describe(tmp_path / "stump.safetensors").problem
