"""Half precision: chosen by device, applied while weights are read, and close to float32 in every method."""

from copy import deepcopy

import every_method
import pytest
import torch
from every_method import ABSENT, RUNS, made, prepared
from safetensors.torch import save_file
from stablesr_tiny import context, tiny

import priorsr
from priorsr.methods import precision, weights
from priorsr.methods.nets.adm_blocks import GroupNorm32
from priorsr.methods.nets.ncsnpp import NCSNpp
from priorsr.methods.nets.srcnn import SRCNN
from priorsr.methods.precision import cast, loaded_in, precision_of
from priorsr.methods.registry import method_named
from priorsr.methods.stablesr.autoencoder import Autoencoder
from priorsr.methods.stablesr.method import StableSRSettings
from priorsr.methods.stablesr.upscaler import StableSRUpscaler
from priorsr.methods.weights.load import fill

SMALL = {  # settings of a few network calls: processors without half precision take long for them
    "srcnn": {},
    "clean": {},
    "diffsr": {"steps": 2},
    "dpi": {"steps": 4},
    "srdg": {"steps": 3, "h": 0.0},
    "dps": {"respacing": "4"},
}
FILES = {"dps": {"prior": "face64"}}


def low(size=24, batch=1):
    rows, columns = torch.meshgrid(torch.linspace(0, 3, size), torch.linspace(0, 3, size), indexing="ij")
    planes = [(f * rows + columns).sin() * 0.4 + 0.5 for f in (1.0, 1.5, 2.0)]
    return torch.stack(planes)[None].expand(batch, -1, -1, -1).contiguous()


def test_auto_takes_what_the_device_is_fast_at(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    assert precision_of("auto", cpu) == torch.float32
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert precision_of("auto", cpu) == torch.bfloat16
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "avx512_core_amx")
    assert precision_of("auto", cpu) == torch.bfloat16
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")
    assert precision_of("auto", cpu) == torch.float32
    assert precision_of("auto", torch.device("mps")) == torch.float16
    assert precision_of("fp16", cpu) == torch.float16
    with pytest.raises(ValueError, match="choose one of auto, fp32, bf16, fp16"):
        precision_of("half", cpu)


def test_files_keep_their_precision_while_they_are_read(tmp_path):
    path = tmp_path / "half.safetensors"
    network = SRCNN()
    save_file({k: v.half() for k, v in network.state_dict().items()}, path, {"kind": "srcnn", "scale": "2"})
    with loaded_in(torch.float16):
        found = weights.load(path).network
    assert found.conv1.weight.dtype == torch.float16
    assert found.conv3.weight.dtype == torch.float32  # which keeps it
    assert weights.load(path).network.conv1.weight.dtype == torch.float32


def test_half_files_are_taken_as_they_are_mapped():
    network = torch.nn.Linear(8, 8)
    state = {k: v.detach().half() for k, v in network.state_dict().items()}
    with loaded_in(torch.float16):
        filled = fill(network, state, "it")
    assert filled.weight.data_ptr() == state["weight"].data_ptr()


def test_frequencies_of_noise_embeddings_stay_float32():
    found = weights.load(weights.locate("srdg_face64")).network
    assert isinstance(found, NCSNpp)
    kept = found.all_modules[0].W.clone()
    assert torch.equal(cast(found, torch.bfloat16).all_modules[0].W, kept)
    assert found.all_modules[1].weight.dtype == torch.bfloat16


def test_networks_are_moved_and_cast_in_one_call():
    model = deepcopy(tiny())
    assert model.to("meta", torch.bfloat16) is model
    modules = [module for network in model.networks for module in network.modules()]
    kept = {id(p) for m in modules if precision.keeps_float32(m) for p in m.parameters()}
    for network in model.networks:
        for parameter in network.parameters():
            assert parameter.device.type == "meta"
            assert parameter.dtype == torch.bfloat16 or id(parameter) in kept
    loaded = priorsr.load("srcnn", device="cpu", precision="fp32").to("cpu", "bf16")
    assert loaded.upscaler.networks[0].conv1.weight.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="no precision 'half'"):
        loaded.to("cpu", "half")


def test_group_norm_sums_in_float32():
    # a mean of 300 with deviations of 0.25: sums of squares in half precision would overflow or lose them
    x = 300 + torch.randn(1, 32, 16, 16, generator=torch.Generator().manual_seed(0)) / 4
    norm = GroupNorm32(32)
    for dtype in (torch.float16, torch.bfloat16):
        given = x.to(dtype)
        expected = norm.float()(given.float())
        close = norm.to(dtype)(given).float()
        assert (close - expected).abs().max() < 0.04


@pytest.mark.parametrize(("name", "limit"), [("fp16", 0.5), ("bf16", 1.5)])
@pytest.mark.parametrize("method", SMALL)
def test_half_precision_is_close_to_float32_in_every_method(method, name, limit):
    found = method_named(method)
    dtype = precision.PRECISIONS[name]
    exact, half = (
        found.prepare(FILES.get(method, {}), values=SMALL[method], precision=p)(
            low(12), found.scales.default, [3]
        )
        for p in (torch.float32, dtype)
    )
    assert half.dtype == torch.float32
    assert 255 * (half - exact).abs().mean() < limit


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights")
    every_method.make(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RUNS if name not in ABSENT])
def test_every_method_runs_in_half_precision(folder, name):
    """Processors that multiply in it take it by default."""
    done = made(prepared(folder, name, torch.bfloat16), name, slice(0, 1))
    assert done.dtype == torch.float32
    assert done.std() > 0.01


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float16, 0.5), (torch.bfloat16, 1.5)])
def test_half_precision_is_close_to_float32_in_stablesr(dtype, limit):
    settings = StableSRSettings(steps=4, tile=64, overlap=32, vae_tile=0, color="none")
    model = deepcopy(tiny())  # which others use
    exact = StableSRUpscaler(model, context(), settings)(low(16), 4.0, [1])
    for network in (model.prior.network, model.layers.encoder, model.layers.sft, model.vae, model.cfw):
        cast(network, dtype)
    half = StableSRUpscaler(model, context(), settings)(low(16), 4.0, [1])
    assert 255 * (half - exact).abs().mean() < limit


def test_an_autoencoder_that_overflows_is_repeated_in_float32(caplog):
    vae = deepcopy(tiny().vae)  # which others use
    vae.post_quant_conv.weight.data *= 20
    exact = Autoencoder(vae).decode(torch.full((1, 4, 4, 4), 5e3))
    cast(vae, torch.float16)
    again = Autoencoder(vae).decode(torch.full((1, 4, 4, 4), 5e3))
    assert "again in float32" in caplog.text
    assert torch.isfinite(again).all()
    assert (again - exact).abs().mean() < 0.05 * exact.abs().mean() + 0.05
    assert vae.post_quant_conv.weight.dtype == torch.float16
