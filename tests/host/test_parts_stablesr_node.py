"""StableSR as one node, held to the library, and its example workflows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from graphs import defaults, failure, load, node, result, save, to_graph
from stablesr_graphs import (
    BASE,
    LAYERS,
    SEED,
    STEPS,
    WRAP,
    far,
    one_node,
    tokens,
)

from priorsr.methods.imaging.images import read
from priorsr.methods.imaging.resize import resize
from priorsr.methods.stablesr.load import load_stablesr
from priorsr.methods.stablesr.method import StableSRSettings, stablesr_upscale

pytestmark = pytest.mark.host
PACK = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"guidance": 3.0, "sampler": "ddim", "color": "wavelet"},
        {"sampler": "ddim-released", "fidelity": 0.0},
    ],
)
def test_one_node_is_the_library(host, definitions, models, change):
    small = read(host.base / "input" / "example.png").pixels
    settings = StableSRSettings(
        steps=STEPS, tile=64, overlap=32, tile_batch=2, vae_tile=64, vae_overlap=32, **change
    )
    model = load_stablesr(models(LAYERS), models(BASE), models(WRAP))
    with torch.no_grad():
        negative = tokens("blurry") if settings.guidance != 1 else None
        expected = stablesr_upscale(model, small, 1.25, tokens("sharp"), settings, negative, [SEED])
    made = result(host, one_node(definitions, **change)).pixels
    assert made.shape == expected.shape
    assert (made - expected).abs().max() <= 1.6 / 255


def test_the_one_node_is_held_to_a_reference_as_the_library_is(host, definitions, models):
    small = read(host.base / "input" / "example.png").pixels
    settings = StableSRSettings(steps=12, tile=64, overlap=32, tile_batch=2, vae_tile=64, vae_overlap=32)
    model = load_stablesr(models(LAYERS), models(BASE), models(WRAP))
    flipped = resize(small.flip(-1), (121, 95)).clamp(0, 1)  # of another size than the result
    with torch.no_grad():
        expected = stablesr_upscale(
            model, small, 1.25, tokens("sharp"), settings, seeds=[SEED], reference=lambda low, scale: flipped
        )
    mirrored = {
        "51": node("ImageFlip", image=["1", 0], flip_method="y-axis: horizontally"),
    }
    made = result(host, one_node(definitions, steps=12, reference=["51", 0]) | mirrored).pixels
    plain = result(host, one_node(definitions, steps=12)).pixels
    assert (made - expected).abs().max() <= 3 / 255
    far(made, plain)


def test_one_node_takes_alpha_batches_grey_and_a_longest_side(host, definitions):
    graph = one_node(definitions, image=("5", 0), longest=150) | {
        "4": load("alpha.png"),
        "5": node("JoinImageWithAlpha", image=["4", 0], alpha=["4", 1]),
        "15": node("PreviewAny", source=["13", 1]),
    }
    outputs = host.run(graph)
    picture = read(host.image(outputs["9"]["images"][0]))
    assert max(picture.pixels.shape[-2:]) == 150
    assert picture.alpha is not None
    assert "ddpm, 4 steps" in outputs["15"]["text"][0]
    batch = host.run(
        one_node(definitions, image=("5", 0), vary=False) | {"5": node("ProbeImages", count=2, channels=1)}
    )["9"]["images"]
    alone = host.run(
        one_node(definitions, image=("6", 0))
        | {
            "5": node("ProbeImages", count=2, channels=1),
            "6": node("ImageFromBatch", image=["5", 0], batch_index=1, length=1),
        }
    )
    assert len(batch) == 2
    assert torch.equal(read(host.image(batch[1])).pixels, read(host.image(alone["9"]["images"][0])).pixels)


def warned(host, definitions, name):
    graph = one_node(definitions, wrap=False, steps=1) | {
        "23": node("PriorSRLoadStableSR", stablesr=name),
        "15": node("PreviewAny", source=["13", 1]),
    }
    return host.run(graph)["15"]["text"][0]


def test_what_no_file_tells_is_warned_of(host, definitions):
    assert "webui_768v_139.ckpt is for one that predicts v" in warned(
        host, definitions, "webui_768v_139.ckpt"
    )
    plain = warned(host, definitions, LAYERS)
    assert "predicts" not in plain
    assert "no CFW is connected" in plain


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tiles.overlap": 64}, "overlap"),
        ({"tiles.tile": 60}, "multiples of 8"),
        ({"vae_tile": 100}, "multiples of 8"),
        ({"longest": 20}, "choose a length within"),
        ({"sampler": "ddim-released", "steps": 1}, "cannot take 1 steps"),
    ],
)
def test_mistakes_of_the_one_node_are_told(host, definitions, change, words):
    assert words in failure(host, one_node(definitions, **change))


def test_no_pictures_at_all(host, definitions):
    assert "no pixels" in failure(
        host, one_node(definitions, image=("5", 0)) | {"5": node("ProbeImages", count=0, channels=3)}
    )


REPLACED = {"CheckpointLoaderSimple": "ProbeStableDiffusion", "CLIPTextEncode": "ProbePrompt"}


@pytest.mark.parametrize(
    "path", sorted((PACK / "example_workflows").glob("stablesr*.json")), ids=lambda p: p.stem
)
def test_example_workflows_run_on_the_tiny_checkpoint(host, definitions, path):
    graph = to_graph(json.loads(path.read_text(encoding="utf-8")), definitions)
    for made in graph.values():
        made["class_type"] = REPLACED.get(made["class_type"], made["class_type"])
        few = {"steps": 2, "respacing": "2", "width": 128, "height": 96, "lora_name": "tiny.safetensors"}
        few |= {"size": 128} if made["class_type"] == "PriorSRCropFaces" else {}
        few |= {"image": "portrait.png"} if made["class_type"] == "LoadImage" and "faces" in path.stem else {}
        made["inputs"] |= {key: value for key, value in few.items() if key in made["inputs"]}
    images = [image for output in host.run(graph, timeout=600).values() for image in output.get("images", [])]
    assert images
    assert all(read(host.image(image)).pixels.std() > 0.01 for image in images)
    assert path.with_suffix(".jpg").exists()


def test_a_region_limits_stablesr(host, definitions):
    """The left half of example.png, of 121 x 95 pixels; beyond it the picture is Bicubic Upscale's."""
    half = {
        "50": node("SolidMask", value=0.0, width=60, height=48),
        "51": node("SolidMask", value=1.0, width=30, height=48),
        "52": node("MaskComposite", destination=["50", 0], source=["51", 0], x=0, y=0, operation="add"),
    }
    graph = one_node(definitions, steps=1, region=["52", 0], feather=2.0) | half
    plain = defaults(definitions, "PriorSRUpscaleBicubic", image=["1", 0], scale=1.25)
    graph |= {"53": plain, "54": save(["53", 0], "plain")}
    outputs = host.run(graph)
    made, plain = (read(host.image(outputs[key]["images"][0])).pixels for key in ("9", "54"))
    edge, reach = made.shape[-1] // 2, 8
    assert torch.equal(made[..., edge + reach :], plain[..., edge + reach :])
    assert (made - plain)[..., : edge - reach].abs().max() > 0.05
