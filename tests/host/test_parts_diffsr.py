"""Diff-SR in real graphs, on the prior that ships."""

from __future__ import annotations

import pytest
import torch
from graphs import custom_sampler, defaults, failure, load, node, result, sampler, save, small

pytestmark = pytest.mark.host
SCALE = 4.0


def parts(level=30.0, **more):
    """The same as the one node, from native parts."""
    return {
        "1": load(),
        "2": small(),
        "3": node("PriorSRLoadShippedPrior", prior="face64", clip=True),
        "4": node(
            "PriorSRRecoverableField",
            model=["3", 0],
            image=["2", 0],
            scale=SCALE,
            steps=4,
            level=level,
            aim="fidelity",
        ),
        "5": small(("2", 0), 64),
        "6": node("PriorSRImageToPixelLatent", model=["3", 0], image=["5", 0]),
        "7": node("PriorSRGuideConsistency", model=["3", 0], image=["2", 0], strength=1.0),
        "8": sampler("renoise", ["7", 0], renewed=1.0),
        "10": node("BasicGuider", model=["3", 0], conditioning=["3", 1]),
        "11": node("RandomNoise", noise_seed=5),
        "12": custom_sampler(noise="11", guider="10", sampler="8", sigmas="4"),
        "13": node("PriorSRPixelLatentToImage", latent=["12", 0], like=["5", 0]),
        "9": save(["13", 0], "diffsr_parts"),
        **more,
    }


def whole(definitions, **given):
    settings = {
        "image": ["2", 0],
        "prior": "face64",
        "scale": SCALE,
        "steps": 4,
        "seed": 5,
        "level": 30.0,
        **given,
    }
    return {
        "1": load(),
        "2": small(),
        "3": defaults(definitions, "PriorSRUpscaleDiffSR", **settings),
        "9": save(["3", 0], "diffsr"),
    }


def test_one_node_and_its_parts_make_the_same_picture(host, definitions):
    quiet = {"sampler": "ddim", "eta": 0.0}  # a sampler of the host has noise of its own after the first draw
    one, other = (
        result(host, whole(definitions, **quiet)),
        result(host, parts(**{"8": sampler("ddim", ["7", 0])})),
    )
    assert tuple(one.pixels.shape) == (1, 3, 64, 64)
    assert (one.pixels - other.pixels).abs().max() <= 2 / 255
    plain = result(host, whole(definitions, consistency=0.0, **quiet))
    assert (one.pixels - plain.pixels).abs().max() > 4 / 255


def test_the_field_chooses_shows_and_tells(host, definitions):
    graph = {
        **parts(level=0.0),
        "14": node("PreviewImage", images=["4", 2]),
        "15": node("PreviewAny", source=["4", 1]),
    }
    outputs = host.run(graph)
    assert 0 < float(outputs["15"]["text"][0]) < 100
    assert outputs["14"]["images"]
    told = {**whole(definitions, level=0.0), "16": node("PreviewAny", source=["3", 1])}
    assert "noise level" in host.run(told)["16"]["text"][0]


def test_a_picture_of_a_batch_is_the_picture_alone(host, definitions):
    alone = result(host, whole(definitions)).pixels
    batch = whole(definitions, image=["4", 0], vary=False) | {
        "4": node("RepeatImageBatch", image=["2", 0], amount=2)
    }
    images = host.run(batch)["9"]["images"]
    assert len(images) == 2
    from priorsr.methods.imaging.images import read

    for image in images:
        torch.testing.assert_close(read(host.image(image)).pixels, alone, rtol=0, atol=1.5 / 255)


def test_wrong_parts_are_named_before_sampling(host, definitions):
    foreign = parts() | {"3": node("ProbeModel", kind="unet", conditions="", side=8)}
    assert "no pixel prior" in failure(host, foreign)
    unmeasured = whole(definitions, prior="tiny_adm.safetensors", level=0.0)
    assert "never measured" in failure(host, unmeasured)
