from __future__ import annotations

import socket
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from priorsr.methods.metrics import backbones, perceptual
from priorsr.methods.metrics.backbones import BACKBONES, REQUIREMENTS, Unavailable, missing
from priorsr.methods.metrics.perceptual import (
    arniqa,
    clip_iqa,
    dists,
    fid,
    lpips,
)
from priorsr.methods.metrics.sharpness import gradient_energy, seed_diversity, sharpness

PAIR = torch.rand(2, 2, 3, 40, 48, generator=torch.Generator().manual_seed(0))
CALLS = {
    "lpips-vgg": lambda: lpips(*PAIR),
    "lpips-alex": lambda: lpips(*PAIR, "alex"),
    "fid": lambda: fid(*PAIR),
    "kid": lambda: backbones.require("kid"),
    "dists": lambda: dists(*PAIR),
    "arniqa": lambda: arniqa(PAIR[0]),
    "clip-iqa": lambda: clip_iqa(PAIR[0]),
}


@pytest.fixture
def bare_machine(monkeypatch, tmp_path):
    """Folders without weights, and a network that notices every attempt."""
    tried = []

    def refuse(*arguments, **options):
        tried.append(arguments)
        raise OSError("no network in this test")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    for name in ("TORCH_HOME", "HOME", "USERPROFILE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    for cached in (
        perceptual._lpips,
        perceptual._dists,
        perceptual._inception,
        perceptual._arniqa,
        perceptual._clip_iqa,
    ):
        cached.cache_clear()
    return tmp_path, tried


def test_every_metric_has_a_call():
    assert CALLS.keys() == REQUIREMENTS.keys()


@pytest.mark.parametrize("metric", CALLS)
@pytest.mark.parametrize("packages", ["as installed", "none", "all"])
def test_without_weights_a_metric_says_what_it_needs_and_stays_offline(
    bare_machine, monkeypatch, metric, packages
):
    folder, tried = bare_machine
    if packages != "as installed":
        monkeypatch.setattr(backbones, "find_spec", lambda module: None if packages == "none" else True)
    if packages == "all":
        monkeypatch.setitem(REQUIREMENTS, metric, replace(REQUIREMENTS[metric], more=lambda: None))
    with pytest.raises(Unavailable) as raised:
        CALLS[metric]()
    assert tried == []
    assert str(raised.value) == missing(metric)
    for words in (metric, str(folder), REQUIREMENTS[metric].file.name, REQUIREMENTS[metric].url):
        assert words in str(raised.value)
    assert ("pip install" in str(raised.value)) == any(
        backbones.find_spec(m) is None for m in REQUIREMENTS[metric].modules
    )
    assert not list(folder.rglob("*.pt*"))


def test_only_known_metrics_can_be_asked_for():
    assert "no MUSIQ" in missing("musiq")
    with pytest.raises(
        ValueError,
        match="'psnr' is not one of lpips-alex, lpips-vgg, fid, kid, dists, arniqa, clip-iqa, musiq",
    ):
        missing("psnr")
    with pytest.raises(ValueError, match="'squeeze' is not one of alex, vgg"):
        lpips(*PAIR, "squeeze")


def test_pickled_code_in_a_weight_file_never_runs(bare_machine, monkeypatch):
    monkeypatch.setattr(backbones, "find_spec", lambda module: True)
    for metric in ("lpips-alex", "fid"):
        file = REQUIREMENTS[metric].file
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"weight": print}, file)
        with pytest.raises(ValueError, match="pickled code"):
            CALLS[metric]()


def test_images_that_cannot_be_judged_are_refused(bare_machine, monkeypatch):
    for name in ("_lpips", "_inception", "_dists", "_clip_iqa"):
        monkeypatch.setattr(perceptual, name, lambda *_: torch.nn.Identity())
    monkeypatch.setattr(torch.nn.Identity, "reset", lambda self: None, raising=False)
    with pytest.raises(ValueError, match="differ in size"):
        lpips(PAIR[0], PAIR[1][..., :-1])
    with pytest.raises(ValueError, match="32 px or more"):
        lpips(PAIR[0][..., :31], PAIR[1][..., :31])
    with pytest.raises(ValueError, match="1 or 3 channels"):
        clip_iqa(PAIR[0][:, :2])
    with pytest.raises(ValueError, match="at least 2 each"):
        fid(PAIR[0][:1], PAIR[1])


@pytest.mark.skipif(
    find_spec("torchvision") is None or find_spec("torchmetrics") is None,
    reason="LPIPS needs torchvision and torchmetrics",
)
def test_lpips_reads_the_file_it_asks_for(bare_machine):
    models = pytest.importorskip("torchvision.models", exc_type=(ImportError, RuntimeError))
    file = REQUIREMENTS["lpips-alex"].file
    file.parent.mkdir(parents=True)
    torch.save(models.get_model(BACKBONES["alex"][0], weights=None).state_dict(), file)
    a, b = PAIR
    scores = lpips(a, b, "alex")
    assert scores.shape == (2,)
    assert (scores > 0).all()
    assert lpips(a, a, "alex").tolist() == [0, 0]
    torch.testing.assert_close(lpips(a[1:], b[1:], "alex"), scores[1:])
    assert bare_machine[1] == []
    file.unlink()  # 230 MB


def test_gradient_energy_of_a_ramp():
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(9.0), indexing="ij")
    ramps = torch.stack([0.1 * x, 0.02 * y + 0.05 * x])[:, None]
    assert gradient_energy(ramps).tolist() == pytest.approx([0.01, 0.0004 + 0.0025])
    assert gradient_energy(torch.cat([ramps, ramps * 0], 1)).tolist() == pytest.approx([0.005, 0.00145])
    assert sharpness(ramps / 2, ramps).tolist() == pytest.approx([0.25, 0.25])


def test_sharpness_falls_with_blur_and_rises_with_noise(photo):
    blurred = torch.nn.functional.avg_pool2d(photo, 3, 1, 1, count_include_pad=False)
    noisy = photo + 0.05 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    assert sharpness(blurred, photo) < 1 < sharpness(noisy, photo)
    with pytest.raises(ValueError, match="flat"):
        sharpness(photo, torch.zeros_like(photo))
    with pytest.raises(ValueError, match="differ in size"):
        sharpness(photo, photo[..., 1:])
    with pytest.raises(ValueError, match="at least 2x2"):
        gradient_energy(photo[..., :1])


def test_diversity_is_the_standard_deviation_over_seeds(photo):
    samples = torch.stack([torch.cat([photo, photo + d]) for d in (-0.1, 0.0, 0.1)])
    assert seed_diversity(samples).tolist() == pytest.approx([0, 0.1], abs=1e-7)
    with pytest.raises(ValueError, match="at least 2 seeds"):
        seed_diversity(samples[:1])
    with pytest.raises(ValueError, match="S B C H W"):
        seed_diversity(samples[0])
