"""Around StableSR's sampling: decoding with CFW, colours of the source, pre-cleaning."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from graphs import failure, load, node, result, save
from stablesr_graphs import (
    BASE,
    LAYERS,
    SIDES,
    WRAP,
    decoded,
    sd,
)

from priorsr.methods.imaging.images import read
from priorsr.methods.stablesr.autoencoder import SCALE, Autoencoder
from priorsr.methods.stablesr.load import load_cfw, load_vae

pytestmark = pytest.mark.host


@pytest.mark.parametrize(("tile", "w"), [(0, 0.5), (64, 1.0), (0, 0.0), (64, 0.0)])
def test_cfw_decodes_as_the_library_does(host, models, lr, tile, w):
    canvas = F.interpolate(
        read(host.base / "input" / "example.png").pixels, SIDES[::-1], mode="bicubic"
    )  # as the host enlarges
    coder = Autoencoder(load_vae(models(BASE)), load_cfw(models(WRAP)), tile, 32)
    with torch.no_grad():
        expected = ((coder.decode(lr * SCALE, canvas * 2 - 1, w) + 1) / 2).clamp(0, 1)
    assert expected.std() > 0.02
    assert (result(host, decoded(tile=tile, w=w)).pixels - expected).abs().max() <= 1.01 / 255
    if not tile and not w:
        plain = node("VAEDecode", samples=["3", 0], vae=["20", 2])
        assert (result(host, decoded() | {"13": plain}).pixels - expected).abs().max() <= 1.01 / 255


def test_cfw_takes_a_small_image_of_the_same_shape_and_refuses_others(host):
    small = {
        "5": node("ImageScale", image=["1", 0], upscale_method="area", width=64, height=48, crop="disabled")
    }
    assert result(host, decoded(("5", 0), **small)).pixels.shape[-2:] == (96, 128)
    assert "give the image that was encoded" in failure(
        host, decoded(("5", 0), **{"5": {**small["5"], "inputs": {**small["5"]["inputs"], "width": 96}}})
    )


def corrected(host, method="adain", image=("2", 0), source=("4", 0), **more):
    source_node = {"4": node("ImageInvert", image=["1", 0])}
    fixed = node("PriorSRColourCorrection", image=list(image), source=list(source), method=method)
    graph = {"1": load(), "2": sd()["2"], **source_node, "13": fixed, "9": save(["13", 0], "colour"), **more}
    return result(host, graph)


@pytest.mark.parametrize("method", ["adain", "wavelet"])
def test_colours_come_from_the_source_and_alpha_stays(host, method):
    made = corrected(host, method).pixels
    inverted = F.interpolate(
        1 - result(host, {"1": load(), "9": save(["1", 0], "plain")}).pixels, (96, 128), mode="bilinear"
    )
    assert ((made.mean((2, 3)) - inverted.mean((2, 3))).abs() < 0.05).all()
    alpha = {"5": load("alpha.png"), "6": node("JoinImageWithAlpha", image=["5", 0], alpha=["5", 1])}
    assert corrected(host, method, ("6", 0), **alpha).alpha is not None


def cleaned(**inputs):
    made = node("PriorSRPreClean", image=["1", 0], reduction=2.0, **inputs)
    return {"1": load(), "2": sd()["2"], "13": made, "9": save(["13", 0], "clean")}


def test_pre_clean_reduces_what_another_model_restored(host):
    assert result(host, cleaned(cleaned=["2", 0])).pixels.shape[-2:] == (48, 64)
    made = result(host, cleaned(upscale_model=["5", 0]) | {"5": node("ProbeUpscaleModel")}).pixels
    assert made.shape[-2:] == (190, 242)
    assert (
        made.mean((2, 3)) - result(host, cleaned() | {"9": save(["1", 0], "plain")}).pixels.mean((2, 3))
    ).abs().max() < 0.01
    assert "either" in failure(host, cleaned())


def test_mistakes_around_the_decoder_are_told(host):
    pixel_space = {"30": node("VAELoader", vae_name="pixel_space")}
    graph = decoded(**pixel_space)
    graph["13"]["inputs"]["vae"] = ["30", 0]
    assert "autoencoder of Stable Diffusion 2.1" in failure(host, graph)
    assert "choose a file that holds StableSR CFW weights" in failure(
        host, decoded(**{"26": node("PriorSRLoadCFW", cfw=LAYERS)})
    )
