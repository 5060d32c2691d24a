from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from dpi_runs import CONFIG, CRT, FEW, picture, tiny_corrector, tiny_prior
from fill import filled

from priorsr.methods import weights
from priorsr.methods.dpi.corrector import TiledCorrector, load_corrector
from priorsr.methods.dpi.masks import sparse
from priorsr.methods.dpi.method import dpi_upscale
from priorsr.methods.imaging.canvas import TileSettings
from priorsr.methods.nets.adm_released import RELEASED as NETWORKS
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.nets.corrector import SMALL, CorrectorUNet

MANIFEST = Path(__file__).resolve().parents[2] / "golden" / "cases" / "dpi" / "manifests" / "corrector.json"


@pytest.fixture(scope="module")
def prior():
    return tiny_prior()


@pytest.fixture(scope="module")
def corrector():
    return tiny_corrector()


def test_tiles_start_on_the_grid_whatever_their_batch(prior, corrector):
    low = torch.rand(1, 3, 10, 13, generator=torch.Generator().manual_seed(0))
    shown = []
    watching = lambda x, t, y_T: shown.append(bool(y_T[..., ::2, ::2].all())) or corrector(x, t, y_T)  # noqa: E731
    tiled = TiledCorrector(watching, 16, 6, 3)
    y_T = sparse(picture(1, 3, 10, 13) + 3, 2)
    assert tiled(y_T, 5.0, y_T).shape == y_T.shape
    assert len(shown) > 1
    assert all(shown)
    few = dataclasses.replace(FEW, respacing="3")
    one, many = (dpi_upscale(prior, corrector, low, 2, few, TileSettings(16, 7, batch)) for batch in (1, 3))
    torch.testing.assert_close(one, many, atol=1e-4, rtol=0)


def test_the_published_corrector_has_the_published_keys():
    listed = json.loads(MANIFEST.read_text(encoding="utf-8"))
    with torch.device("meta"):
        state = CorrectorUNet(NETWORKS["corrector"]).state_dict()
    assert {k: list(v.shape) for k, v in state.items()} == {
        k.removeprefix("module."): v for k, v in listed.items()
    }
    assert sum(v.numel() for v in state.values()) == 5_867_427


@pytest.mark.parametrize("unshuffle", [1, 2])
def test_the_initial_condition_is_injected_without_weights(unshuffle):
    network = filled(CorrectorUNet(dataclasses.replace(CRT, unshuffle=unshuffle)))
    x, t, base = picture(2, 3, 16, 16), torch.tensor([3.0, 700.0]), picture(2, 3, 8, 8, seed=1)
    y_T = sparse(base, 2)
    plain = build_adm(dataclasses.replace(CRT, unshuffle=unshuffle)).eval()
    plain.load_state_dict(network.state_dict())
    torch.testing.assert_close(network(x, t, torch.zeros_like(x)), plain(x, t))
    biased = plain.stem(x) + 0.1 * (base if unshuffle == 2 else y_T).mean(1, keepdim=True)
    torch.testing.assert_close(network(x, t, y_T), plain.body(biased, plain.embed(t)) + y_T)
    with pytest.raises(ValueError, match="must agree"):
        network(x, t, y_T[:1])


def test_the_small_corrector_fits_a_luma_prior():
    network = CorrectorUNet(SMALL)
    x = picture(1, 1, 64, 64)
    assert network(x, torch.zeros(1), x).shape == x.shape
    assert sum(p.numel() for p in network.parameters()) < 1.1e6
    for wrong in ({"out_channels": 2}, {"num_classes": 3}):
        with pytest.raises(ValueError, match="corrector"):
            CorrectorUNet(dataclasses.replace(SMALL, **wrong))


def test_corrector_files_come_back(tmp_path, corrector, prior):
    state = {f"module.{k}": v for k, v in corrector.network.state_dict().items()}
    own = {
        "kind": "corrector",
        "settings": json.dumps(dataclasses.asdict(CRT)),
        "k": 4,
        "scale": 16,
        "ema": 0.999,
    }
    weights.save(corrector.network, tmp_path / "own.safetensors", own)
    torch.save(state, tmp_path / "Corrector8.pt")
    torch.save(state, tmp_path / "ema_0.9999_100000.pt")
    expected = {"own.safetensors": (4, 16), "Corrector8.pt": (2, 8), "ema_0.9999_100000.pt": (2, None)}
    x = picture(1, 3, 16, 16)
    for name, (k, scale) in expected.items():
        loaded = load_corrector(str(tmp_path / name))
        assert (loaded.k, loaded.scale, loaded.channels) == (k, scale, 3)
        torch.testing.assert_close(loaded(x, 5.0, x), corrector(x, 5.0, x))
    assert (
        weights.load(tmp_path / "own.safetensors").kind
        == weights.load(tmp_path / "Corrector8.pt").kind
        == "corrector"
    )
    weights.save(
        prior.network, tmp_path / "prior.safetensors", {"settings": json.dumps(dataclasses.asdict(CONFIG))}
    )
    assert weights.load(tmp_path / "prior.safetensors").kind == "adm"
    weights.save(corrector.network, tmp_path / "raw.safetensors", {**own, "ema": 0.0})
    torch.save(state, tmp_path / "model100000.pt")
    for name, words in {
        "raw.safetensors": "without EMA",
        "model100000.pt": "without EMA",
        "prior.safetensors": "where corrector weights",
    }.items():
        with pytest.raises(ValueError, match=words):
            load_corrector(str(tmp_path / name))
