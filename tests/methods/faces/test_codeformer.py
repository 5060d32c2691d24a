from __future__ import annotations

import json

import pytest
import torch

from priorsr.methods import weights
from priorsr.methods.faces.codeformer import CodeFormerRestorer, CodeFormerSettings, CodeFormerUpscaler
from priorsr.methods.faces.load import load_codeformer
from priorsr.methods.memory import peak_bytes
from priorsr.methods.nets.codeformer import CodeFormer, CodeFormerConfig
from priorsr.methods.nets.codeformer_vqgan import VQGAN, VQGANConfig
from priorsr.methods.nets.face_released import settings_text
from priorsr.methods.nets.mtcnn import MTCNN
from priorsr.methods.nets.parsenet import ParseNet
from priorsr.methods.nets.retinaface import RetinaFace

SMALL = VQGANConfig(32, 32, (1, 2), 1, (16,), 40, 16)
TINY = CodeFormerConfig(SMALL, 32, 4, 1, (16, 32))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = CodeFormer(TINY).eval()
    with torch.no_grad():
        network.quantize.embedding.weight.mul_(40)
    return network


@pytest.fixture
def faces():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("manifest", "make"),
    [
        ("codeformer", CodeFormer),
        ("codeformer_vqgan_code1024", VQGAN),
        ("detection_Resnet50_Final", lambda: RetinaFace("resnet50")),
        ("detection_mobilenet0.25_Final", lambda: RetinaFace("mobile0.25")),
        ("parsing_parsenet", ParseNet),
    ],
)
def test_keys_and_shapes_are_the_released_ones(root, manifest, make):
    released = json.loads((root / "tests/golden/cases/manifests" / f"{manifest}.json").read_text())
    with torch.device("meta"):
        network = make()
    assert {k: list(v.shape) for k, v in network.state_dict().items()} == released
    rebuilt = weights.network_of(None, {k: torch.empty(v, device="meta") for k, v in released.items()})
    assert {k: list(v.shape) for k, v in rebuilt.state_dict().items()} == released


def test_memory_and_seconds_are_told_before_a_run(network):
    upscaler = CodeFormerUpscaler(CodeFormerRestorer(network))
    plan = upscaler.predict((32, 32), 1.0)
    held = peak_bytes(lambda: network(torch.zeros(1, 3, 32, 32)), "cpu")
    assert held < plan.bytes < 3 * held  # attention is not fused where it is counted, which a tiny one shows
    assert plan.seconds > 0
    assert "1 network call, about" in plan.describe()


@torch.no_grad()
def test_w_moves_the_result_away_from_the_codes_alone(network, faces):
    x = faces * 2 - 1
    results = {w: network(x, w) for w in (0, 1e-6, 0.5, 1)}
    torch.testing.assert_close(results[0], results[1e-6], rtol=0, atol=1e-4)
    change = [(results[w] - results[0]).abs().mean() for w in (0.5, 1)]
    assert 0 < change[0] < change[1]
    latent, maps = network.encode(x, fused=False)
    assert maps == {}
    assert not torch.equal(network(x, 0, matched=False), results[0])
    logits = network.predict(latent)
    first = network.quantize.embedding.weight[logits[0, 0].argmax()]
    torch.testing.assert_close(network.lookup(logits)[0, :, 0, 0], first)


@torch.no_grad()
def test_faces_of_a_batch_do_not_touch_each_other(network, faces):
    restore = CodeFormerRestorer(network, CodeFormerSettings(w=0.7))
    together = restore(faces)
    assert together.shape == faces.shape
    assert 0 <= together.min() <= together.max() <= 1
    torch.testing.assert_close(together[1:], restore(faces[1:]), rtol=1e-4, atol=1e-5)


def test_half_precision_stays_near(network, faces):
    exact = CodeFormerRestorer(network)(faces)
    halved = CodeFormer(TINY).eval()
    halved.load_state_dict(network.state_dict())
    rough = CodeFormerRestorer(halved.bfloat16())(faces)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().median() < 0.02


def test_other_sizes_are_refused(network):
    with pytest.raises(ValueError, match="3 x 32 x 32, not"):
        network(torch.zeros(1, 3, 64, 64))
    with pytest.raises(ValueError, match="no map of side 8"):
        CodeFormer(CodeFormerConfig(SMALL, 32, 4, 1, (8,)))


def test_small_networks_come_back_from_files(network, tmp_path):
    path = weights.save(
        network, tmp_path / "cf.safetensors", {"kind": "codeformer", "settings": settings_text(TINY)}
    )
    found = weights.load(path, "codeformer")
    assert found.network.sizes == TINY
    assert load_codeformer(str(path), precision=torch.float16).network.feat_emb.weight.dtype == torch.float16
    assert load_codeformer(str(path), CodeFormerSettings(0.2)).size == 32
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in found.network.state_dict().items())
    path = weights.save(
        VQGAN(SMALL), tmp_path / "vq.safetensors", {"kind": "vqgan", "settings": settings_text(SMALL)}
    )
    assert weights.load(path, "vqgan").network.config == SMALL
    with pytest.raises(ValueError, match="CodeFormer stage I weights where codeformer weights are needed"):
        weights.load(path, "codeformer")


def test_released_containers_load(tmp_path):
    network = RetinaFace("mobile0.25")
    torch.save(
        {f"module.{k}": v for k, v in network.state_dict().items()},
        tmp_path / "detection_mobilenet0.25_Final.pth",
    )
    assert isinstance(
        weights.load(tmp_path / "detection_mobilenet0.25_Final.pth", "retinaface").network, RetinaFace
    )
    state = MTCNN().state_dict()
    del state["onet.conv1.bias"]
    torch.save({"params_ema": state}, tmp_path / "m.pth")
    with pytest.raises(ValueError, match=r"1 missing \(onet.conv1.bias\)"):
        weights.load(tmp_path / "m.pth")


def test_the_first_stage_learns(faces):
    torch.manual_seed(0)
    network = VQGAN(SMALL)
    reconstruction, quantised = network(faces * 2 - 1)
    (reconstruction.square().mean() + quantised.loss).backward()
    for part in (
        network.encoder.blocks[0].weight,
        network.quantize.embedding.weight,
        network.generator.blocks[0].weight,
    ):
        assert part.grad.abs().sum() > 0
    assert quantised.indices.shape == (2, 16, 16)
    assert 1 <= quantised.perplexity <= 40


@pytest.mark.gpu
def test_half_precision_on_a_gpu_stays_near(network, faces, tmp_path):
    path = weights.save(
        network, tmp_path / "cf.safetensors", {"kind": "codeformer", "settings": settings_text(TINY)}
    )
    fast = load_codeformer(str(path), device="cuda", precision=torch.float16)(faces.cuda())
    assert fast.is_cuda
    assert (fast.cpu() - CodeFormerRestorer(network)(faces)).abs().median() < 0.02
