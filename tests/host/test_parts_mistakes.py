"""Mistakes in graphs of the sampling side, told before the first step or by the step that breaks."""

from __future__ import annotations

import pytest
from graphs import classifier, custom_sampler, failure, latents, load, node, pixels, prior, sampler, toward

pytestmark = pytest.mark.host
CONDITION = "PriorSRConditionPixelPrior"
MISTAKES = {
    "no label for a classifier": (
        {"11": sampler("ddim", ["31", 0]), "30": classifier(), "31": toward(-1)},
        "a class label is needed here",
    ),
    "a label it does not know": (
        {"11": sampler("ddim", ["31", 0]), "30": classifier(), "31": toward(5)},
        "outside 0..4",
    ),
    "no label for a prior": (
        {"3": prior("tiny_class.safetensors")},
        "a class label is needed here: give one of 0..4",
    ),
    "a label a prior does not know": (
        {"3": prior("tiny_class.safetensors"), "33": node(CONDITION, label=7)},
        "outside 0..4",
    ),
    "a label for a prior without": ({"33": node(CONDITION, label=7)}, "knows no classes"),
    "an upsampler without its picture": (
        {"3": prior("tiny_upsampler.safetensors"), "33": node(CONDITION, label=1)},
        "needs a low-resolution picture",
    ),
    "a picture for no upsampler": (
        {"1": load(), "33": node(CONDITION, label=-1, low_resolution=["1", 0])},
        "does not look at a low-resolution",
    ),
    "a classifier where a prior belongs": (
        {"3": prior("tiny_classifier.safetensors")},
        "is of another kind (ADM classifier",
    ),
    "a prior where a classifier belongs": (
        {"11": sampler("ddim", ["31", 0]), "30": classifier("tiny_adm.safetensors"), "31": toward(1)},
        "holds ADM classifier weights",
    ),
    "pictures smaller than the classifier": (
        {
            "6": node("EmptyLatentImage", width=64, height=64, batch_size=1),
            "11": sampler("ddim", ["31", 0]),
            "30": classifier(),
            "31": toward(1),
        },
        "tied to 16 x 16 pixels, not 8 x 8",
    ),
    "respacing by no whole stride": (
        {"7": node("PriorSRSigmasByRespacing", model=["3", 0], respacing="ddim999", start=-1)},
        "no whole stride",
    ),
    "respacing that is no rule": (
        {"7": node("PriorSRSigmasByRespacing", model=["3", 0], respacing="many", start=-1)},
        "'many' keeps no steps: write 250, 10,10 or ddim25",
    ),
    "more steps than there are": (
        {"7": node("PriorSRSigmasByRespacing", model=["3", 0], respacing="1001", start=-1)},
        "give at most 1000",
    ),
    "a start beyond the kept steps": (
        {"7": node("PriorSRSigmasByRespacing", model=["3", 0], respacing="10", start=10)},
        "give 0..9",
    ),
    "respacing without steps": ({"3": prior("tiny_edm.safetensors")}, "was not trained in steps"),
    "sigmas that rise": (
        {
            "17": node("PriorSRSigmasByRespacing", model=["3", 0], respacing="6", start=-1),
            "7": node("FlipSigmas", sigmas=["17", 0]),
        },
        "sigmas must descend",
    ),
    "a range that holds nothing": (
        {
            "11": sampler("ddim", ["32", 0]),
            "32": node("PriorSRGuideClip", limit="range", **{"limit.low": 1.0, "limit.high": -1.0}),
        },
        "holds nothing",
    ),
    "no known limit": (
        {"11": sampler("ddim", ["32", 0]), "32": node("PriorSRGuideClip", limit="nonsense")},
        "unknown limit",
    ),
    "no known tiles": (
        {"5": node("PriorSRTiledDenoiser", model=["3", 0], tiles="nonsense", tile_batch=1)},
        "unknown tiles",
    ),
    "an overlap as large as the tile": (
        {
            "5": node(
                "PriorSRTiledDenoiser",
                model=["3", 0],
                tiles="manual",
                tile_batch=1,
                **{"tiles.tile": 16, "tiles.overlap": 16},
            )
        },
        "does not fit tiles of 16",
    ),
    "tiles that the prior does not take": (
        {
            "3": node(
                "PriorSRLoadPixelPrior",
                prior="ffhq_10m.pt",
                clip=True,
                schedule="auto",
                train_steps=0,
                target="auto",
            ),
            "5": node(
                "PriorSRTiledDenoiser",
                model=["3", 0],
                tiles="manual",
                tile_batch=1,
                **{"tiles.tile": 24, "tiles.overlap": 0},
            ),
            "6": node("EmptyLatentImage", width=512, height=512, batch_size=1),
        },
        "multiples of 32",
    ),
}


@pytest.mark.parametrize("case", MISTAKES, ids=lambda c: c.replace(" ", "-"))
def test_a_mistake_is_told_before_the_first_step(host, case):
    change, words = MISTAKES[case]
    extra = {"model": "5"} if "5" in change else {}
    extra |= {"conditioning": ("33", 0)} if "33" in change else {}
    began = len(host.log())
    assert words in failure(
        host, pixels(sampler(), **extra, **{k: v for k, v in change.items() if k != "11"}) | change
    )
    assert "1/6" not in host.log()[began:]  # no bar shows a step done


@pytest.mark.parametrize(
    ("guide", "words"),
    [
        ({"31": toward(1), "30": classifier()}, "judges pictures of 3 channels, not (1, 4, 16, 16)"),
        (
            {"1": load(), "31": node("PriorSRGuideMeasurement", image=["1", 0], scale=1.0, squared=False)},
            "only luma and RGB priors can enlarge pictures",
        ),
    ],
)
def test_pixel_guidance_refuses_a_latent_model(host, guide, words):
    assert words in failure(host, latents(sampler("ddim", ["31", 0]), **guide))


def test_a_pixel_prior_refuses_latents(host):
    graph = latents(sampler()) | {
        "40": prior(),
        "48": node("BasicGuider", model=["40", 0], conditioning=["40", 1]),
        "42": custom_sampler(guider="48", latent_image=("12", 0)),
        "9": node("SaveLatent", samples=["42", 0], filename_prefix="never"),
    }
    assert "works on pictures of 3 channels" in failure(host, graph)


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ("several", "a list of tensors"),
        ("odd", "cannot cut the condition 'odd'"),
        ("tokens", "cannot cut what this ControlNet gives"),
    ],
)
def test_what_tiles_cannot_cut_is_refused(host, conditions, words):
    tiles = {"tiles": "manual", "tiles.tile": 8, "tiles.overlap": 2, "tile_batch": 1}
    assert words in failure(host, latents(sampler(), "pixelwise", conditions, tiled=tiles))


def test_tiles_that_split_a_coarse_map_are_refused(host):
    tiles = {"tiles": "manual", "tiles.tile": 8, "tiles.overlap": 3, "tile_batch": 1}
    assert "choose other tiles" in failure(host, latents(sampler(), "pixelwise", "half", tiled=tiles))


def test_a_flow_model_is_refused(host):
    assert "a flow between picture and noise" in failure(
        host,
        latents(sampler("ddpm"), model="22", **{"22": node("ModelSamplingSD3", model=["20", 0], shift=3.0)}),
    )


def test_nan_names_its_step(host):
    broken = {"22": node("ProbeNaN", model=["20", 0], below=1.0)}
    message = failure(host, latents(sampler("euler"), model="22", **broken))
    assert "NaN or infinite values came up in step" in message
    assert "of 5" in message
    assert "use full precision" in message
