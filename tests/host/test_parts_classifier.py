"""Guidance by a classifier and the guided upsampler, in real graphs."""

from __future__ import annotations

import pytest
import torch
from graphs import (
    agreement,
    classifier,
    consistency,
    defaults,
    load,
    node,
    pixels,
    prior,
    result,
    sampler,
    save,
    toward,
)

from priorsr.methods.imaging.images import read
from priorsr.methods.priors.load import load_classifier, load_prior
from priorsr.methods.visionrefine.guided import GuidedSettings, class_log_prob, guided_upsample
from priorsr.samplers.schedule import Level

pytestmark = pytest.mark.host
NATIVE_CLIP = {"limit": "range", "limit.low": -1.0, "limit.high": 1.0}


def weights_file(host, name):
    return str(host.base / "models" / "priorsr" / name)


def log_prob(host, picture, label):
    """How sure the tiny classifier is of a clean picture."""
    network = load_classifier(weights_file(host, "tiny_classifier.safetensors"))
    x = torch.nn.functional.interpolate(picture * 2 - 1, (16, 16))
    return class_log_prob(network, torch.tensor([label]))(x, Level(0.0, 1.0, 0.0)).item()


@pytest.mark.parametrize(("form", "transition"), [("score", "ddim"), ("score", "heun"), ("mean", "ddpm")])
@pytest.mark.parametrize("name", ["tiny_adm.safetensors", "tiny_edm.safetensors"])
def test_a_classifier_pushes_any_prior_towards_its_class(host, name, form, transition):
    rule = node("PriorSRSigmasByRespacing", model=["3", 0], respacing="20", start=-1)
    sigmas = {
        "7": rule
        if "adm" in name
        else node("BasicScheduler", model=["3", 0], scheduler="karras", steps=20, denoise=1.0)
    }
    more = {"3": prior(name, clip=False, target="v"), "30": classifier(), **sigmas}

    def run(scale, prefix):
        graph = pixels(
            sampler(transition, ["31", 0]), prefix=prefix, **more, **{"31": toward(3, scale, form)}
        )
        return result(host, graph).pixels

    scale = {"score": 10.0, "mean": 100.0}[form]
    free, pushed = run(0.0, "free"), run(scale, "pushed")
    assert log_prob(host, pushed, 3) > log_prob(host, free, 3) + 0.3
    assert pushed.equal(run(scale, "again"))


def host_noise(shape, seed=5):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_guided_upsampler_from_parts_is_the_published_one(host):
    """Native noise, sigmas and guider, our conditions, clip, classifier and ddim, against Algorithm 2 of the
    library on the same noise.
    """
    graph = pixels(
        sampler("ddim", ["31", 0]),
        conditioning=("33", 0),
        **{
            "1": load(),
            "2": node(
                "ImageScale", image=["1", 0], upscale_method="area", width=4, height=4, crop="disabled"
            ),
            "3": prior("tiny_upsampler.safetensors", clip=False),
            "7": node("PriorSRSigmasByRespacing", model=["3", 0], respacing="3,2", start=-1),
            "30": classifier(),
            "31": toward(2, 30.0, guidance=["32", 0]),
            "32": node("PriorSRGuideClip", **NATIVE_CLIP),
            "33": node("PriorSRConditionPixelPrior", label=2, low_resolution=["2", 0]),
            "34": save(["2", 0], "low"),
        },
    )
    outputs = host.run(graph)
    picture = read(host.image(outputs["9"]["images"][0])).pixels
    low = read(host.image(outputs["34"]["images"][0])).pixels
    upsampler = load_prior(weights_file(host, "tiny_upsampler.safetensors"))
    judge = load_classifier(weights_file(host, "tiny_classifier.safetensors"))
    settings = GuidedSettings("ddim", "3,2", 0.0, 30.0)
    with torch.no_grad():
        expected = guided_upsample(
            upsampler, judge, low * 2 - 1, torch.tensor([2]), (16, 16), settings, host_noise
        )
    assert ((expected + 1) / 2 - picture).clamp(
        -1, 1
    ).abs().mean() < 0.02  # the low image was rounded to 8 bits
    assert (((expected + 1) / 2).clamp(0, 1) - picture).abs().max() < 0.03
    with torch.no_grad():
        other = guided_upsample(
            upsampler, judge, low * 2 - 1, torch.tensor([4]), (16, 16), settings, host_noise
        )
    assert (((other + 1) / 2).clamp(0, 1) - picture).abs().max() > 0.05


def test_tiles_on_a_pixel_prior_with_a_gradient(host):
    """DPS and a classifier through auto tiles: odd counts, a classifier tied to one size, gradients inside
    inference mode.
    """
    more = {
        "1": load(),
        "2": node("ImageScale", image=["1", 0], upscale_method="area", width=20, height=16, crop="disabled"),
        "5": node("PriorSRTiledDenoiser", model=["3", 0], tiles="auto", tile_batch=2),
        "30": classifier(),
        "31": toward(1, 5.0, guidance=["34", 0]),
    }

    def run(scale, prefix):
        guide = {"34": node("PriorSRGuideMeasurement", image=["2", 0], scale=scale, squared=False)}
        graph = pixels(
            sampler("ddim", ["31", 0]),
            size=(32, 40),
            model="5",
            prefix=prefix,
            **{"3": prior(clip=False, target="v")},
            **more,
            **guide,
        )
        graph["14"] = consistency(["13", 0], ["2", 0])
        return agreement(host.run(graph))

    assert run(15.0, "strong") > run(0.0, "free") + 1


@pytest.mark.parametrize(
    ("image", "scale", "size"), [("example.png", 4.0, (20, 24)), ("alpha.png", 2.5, (13, 15))]
)
def test_the_guided_upsampler_repeats_and_follows_its_label(host, definitions, image, scale, size):
    def run(label, prefix, **change):
        given = {
            "prior": "tiny_upsampler.safetensors",
            "classifier": "tiny_classifier.safetensors",
            "classifier_scale": 30.0,
            "respacing": "4",
        }
        given |= {"scale": scale, "label": label, "tile": 16, "overlap": 4, **change}
        graph = {
            "1": load(image),
            "2": node(
                "ImageScale", image=["1", 0], upscale_method="area", width=6, height=5, crop="disabled"
            ),
            "3": defaults(definitions, "PriorSRUpscaleGuided", image=["2", 0], **given),
            "9": save(["3", 0], prefix),
        }
        return result(host, graph).pixels

    pushed = run(1, "label1")
    assert tuple(pushed.shape[-2:]) == size
    assert pushed.equal(run(1, "label1again"))
    assert not pushed.equal(run(2, "label2"))
    assert not pushed.equal(run(1, "alone", classifier="none"))
    assert not pushed.equal(run(1, "implicit", sampler="ddim"))
