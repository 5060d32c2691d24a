"""StableSR in real graphs on inputs that are out of the ordinary, and over many runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from graphs import failure, latent, load, node, result, sampler
from stablesr_graphs import LAYERS, SIDES, applied, decoded, ksampler, one_node, parts, tiles

pytestmark = pytest.mark.host
RUNS, SETTLED = 20, 5
GROWTH = 8 * 2**20  # bytes over RUNS


def told(host, model, name):
    """The report of Apply StableSR."""
    graph = ksampler() | {
        "23": node("PriorSRLoadStableSR", stablesr=name),
        "24": applied(model),
        "30": node("ModelSamplingDiscrete", model=["20", 0], sampling="v_prediction", zsnr=False),
        "15": node("PreviewAny", source=["24", 1]),
    }
    return host.run({key: graph[key] for key in ("20", "23", "24", "30", "15")})["15"]["text"][0]


def test_a_model_that_predicts_v_is_warned_of_with_weights_for_noise(host):
    assert f"predicts v, and {LAYERS} is for one that predicts noise" in told(host, "30", LAYERS)
    assert told(host, "30", "webui_768v_139.ckpt") == ""
    assert told(host, "20", LAYERS) == ""


def test_a_tile_larger_than_the_picture_is_the_whole_picture(host, definitions):
    whole = latent(host, parts(sampler("ddim")))
    assert torch.equal(
        latent(host, parts(sampler("ddim"), "25", **{"25": tiles(tile=64, overlap=32)})), whole
    )
    assert torch.equal(result(host, decoded(tile=4096)).pixels, result(host, decoded(tile=0)).pixels)
    tiny = one_node(definitions, tile=128, image=("5", 0), steps=1, vae_tile=1024, color="none")
    assert result(host, tiny | {"5": node("ProbeImages", count=1, channels=3)}).pixels.shape[-2:] == (30, 50)


def test_sides_that_no_latent_pixel_divides(host):
    """The host leaves out the rim of such a picture when it encodes, and so does Decode with CFW."""
    whole = {"2": load()}  # 121 x 95
    made = result(host, decoded(**whole)).pixels
    assert made.shape[-2:] == (88, 120)
    cropped = {**whole, "6": node("ImageCrop", image=["2", 0], width=120, height=88, x=0, y=3)}
    assert torch.equal(result(host, decoded(("6", 0), **cropped)).pixels, made)


def test_grey_images_and_images_with_alpha_are_wrapped_around(host):
    plain = result(host, decoded()).pixels
    width, height = SIDES
    clear = {
        "5": node("SolidMask", value=0.3, width=width, height=height),
        "6": node("JoinImageWithAlpha", image=["2", 0], alpha=["5", 0]),
    }
    assert torch.equal(result(host, decoded(("6", 0), **clear)).pixels, plain)
    grey = {
        "5": node("ProbeImages", count=1, channels=1),
        "6": node("EmptyLatentImage", width=40, height=24, batch_size=1),
    }
    made = result(host, decoded(("5", 0), samples=("6", 0), **grey)).pixels
    assert made.shape[1:] == (3, 24, 40)
    assert made.std() > 0.01


@pytest.mark.parametrize("kind", ["decoder", "colour", "pre-clean"])
def test_no_pictures_at_all(host, kind):
    none = {"5": node("ProbeImages", count=0, channels=3)}
    graph = decoded(("5", 0), **none)
    if kind != "decoder":
        inputs = {
            "colour": {"source": ["1", 0], "method": "adain"},
            "pre-clean": {"reduction": 2.0, "cleaned": ["5", 0]},
        }[kind]
        name = {"colour": "PriorSRColourCorrection", "pre-clean": "PriorSRPreClean"}[kind]
        graph |= {"13": node(name, image=["5", 0], **inputs)}
    assert "no pixels" in failure(host, graph)


@pytest.mark.parametrize("tile", [0, 64])
def test_what_overflows_in_a_half_precision_autoencoder_is_decoded_again(host, tile):
    """Pieces that half precision makes NaN of are those of full precision, and the log says so."""
    loud = {
        "33": node("ProbeLoudVAE", vae=["20", 2], half=False),
        "34": node("ProbeLoudVAE", vae=["20", 2], half=True),
    }
    made = {}
    for key in loud:
        graph = decoded(tile=tile, **loud)
        graph["13"]["inputs"]["vae"] = [key, 0]
        before = host.log().count("again in float32")
        made[key], said = result(host, graph).pixels, host.log().count("again in float32") - before
        assert (said > 0) == (key == "34")
    assert made["33"].std() > 0.02
    assert (
        made["34"] - made["33"]
    ).abs().max() <= 2.01 / 255  # the fusion's weights went through half precision


def resident(host):
    """Bytes that the server holds in memory."""
    (line,) = (
        s for s in Path(f"/proc/{host.process.pid}/status").read_text().splitlines() if s.startswith("VmRSS")
    )
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory of another process is read from /proc"
)
def test_memory_does_not_grow_over_queued_runs(host, definitions):
    held, made = [], set()
    for seed in range(SETTLED + RUNS + 1):
        (image,) = host.run(one_node(definitions, seed=100 + seed, steps=1, scale=1.0))["9"]["images"]
        made.add(image["filename"])
        held.append(resident(host))
    assert len(made) == len(held)  # none of the runs was answered from the cache
    figures = ", ".join(f"{n / 2**20:.2f}" for n in held)
    print(f"MB after each run: {figures}")
    assert min(held[-3:]) - min(held[SETTLED - 2 : SETTLED + 1]) < GROWTH, figures
