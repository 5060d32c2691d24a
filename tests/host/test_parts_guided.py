"""Guidance as a patch of a MODEL, with native samplers: what our own does with it, and what it cannot do."""

from __future__ import annotations

import pytest
import torch
from graphs import failure, latent, latents, load, node, pixels, prior, sampler

from priorsr.methods.imaging.operators import ReduceTo

pytestmark = pytest.mark.host

LOW = {
    "1": load(),
    "2": node("ImageScale", image=["1", 0], upscale_method="area", width=4, height=4, crop="disabled"),
}
CLIP = {"limit": "range", "limit.low": -0.6, "limit.high": 0.5}


def measured(scale=3.0, **more):
    return node("PriorSRGuideMeasurement", image=["2", 0], scale=scale, squared=False, **more)


def consistent(model="3", strength=1.0, **more):
    return node("PriorSRGuideConsistency", model=[model, 0], image=["2", 0], strength=strength, **more)


def conditions(**more):
    given = {"scale": 4.0, "preset": "auto", "seed": 3, "k": 2, "refine": True, "weighted": True}
    return node("PriorSRGuideDPI", model=["3", 0], image=["2", 0], **given, **more)


CLASSIFIER = {
    "30": node(
        "PriorSRLoadNoiseClassifier", classifier="tiny_classifier.safetensors", schedule="auto", train_steps=0
    )
}


def classified(form="score", **more):
    return node("PriorSRGuideClassifier", classifier=["30", 0], label=2, scale=8.0, form=form, **more)


CHAINS = {
    "clipping": {"31": node("PriorSRGuideClip", **CLIP)},
    "consistency": {"31": consistent(strength=0.7), **LOW},
    "measurement": {"31": measured(), **LOW},
    "classifier": {"31": classified(), **CLASSIFIER},
    "conditions": {"31": conditions(), **LOW},
    "all": {
        "31": measured(guidance=["32", 0]),
        "32": consistent(strength=0.3, guidance=["33", 0]),
        "33": classified(guidance=["34", 0]),
        "34": node("PriorSRGuideClip", **CLIP),
        **CLASSIFIER,
        **LOW,
    },
}


def native(name):
    return node("KSamplerSelect", sampler_name=name)


def applied(model="3"):
    return {"22": node("PriorSRApplyGuidance", model=[model, 0], guidance=["31", 0])}


def on_pixels(chosen, prefix, guided, **more):
    """The states that a run ends with, on a prior that is not clipped."""
    more = {"3": prior(clip=False, target="v"), **(applied() if guided else {}), **more}
    graph = pixels(chosen, model="22" if guided else "3", **more)
    return {**graph, "9": node("SaveLatent", samples=["12", 0], filename_prefix=prefix)}


@pytest.mark.parametrize("name", CHAINS)
def test_native_euler_does_what_our_sampler_does(host, name):
    ours = latent(host, on_pixels(sampler("euler", ["31", 0]), f"{name}-ours", False, **CHAINS[name]))
    theirs = [
        latent(host, on_pixels(native(other), f"{name}-{other}", True, **CHAINS[name]))
        for other in ("euler", "ddim")
    ]
    size = ours.abs().max().item()
    for other in theirs:
        torch.testing.assert_close(other, ours, rtol=0, atol=2e-4 * size)
    free = latent(host, on_pixels(native("euler"), f"{name}-free", False))
    assert (ours - free).abs().max() > 0.02 * size


def test_a_guider_is_guided_as_its_model_is(host):
    chain = {"31": consistent(strength=0.7), **LOW}
    model = latent(host, on_pixels(native("euler"), "by-model", True, **chain))
    graph = on_pixels(native("euler"), "by-guider", False, **chain)
    graph["23"] = node("PriorSRApplyGuidanceToGuider", guider=["8", 0], guidance=["31", 0])
    graph["12"]["inputs"]["guider"] = ["23", 0]
    torch.testing.assert_close(latent(host, graph), model, rtol=0, atol=1e-5 * model.abs().max().item())
    free = latent(host, on_pixels(native("euler"), "no-guider", False))
    assert (model - free).abs().max() > 0.02 * model.abs().max()


@pytest.mark.parametrize("name", ["dpmpp_2m", "dpm_2", "euler_ancestral", "dpmpp_sde", "uni_pc"])
def test_any_sampler_comes_nearer_to_a_measurement(host, name):
    low = latent(host, {**LOW, "5": node("PriorSRImageToPixelLatent", **PIXELS), "3": prior(), "9": PAINTED})

    def residual(scale):
        given = {"31": measured(scale), **LOW}
        found = latent(host, on_pixels(native(name), f"{name}-{scale}", True, **given))
        assert found.isfinite().all()
        return (ReduceTo((4, 4))(found) - low).norm()

    assert residual(6.0) < 0.9 * residual(0.0)


PIXELS = {"model": ["3", 0], "image": ["2", 0], "scale": 1.0}
PAINTED = node("SaveLatent", samples=["5", 0], filename_prefix="low")


def test_latents_with_two_prompts_and_tiles_are_guided(host):
    """CFG of scale 3, tiles below the guidance and above it, against our own sampler with the same tiles."""
    tiles = {"tiles": "manual", "tiles.tile": 8, "tiles.overlap": 4, "tile_batch": 2}
    held = {"31": consistent("20", vae=["40", 0]), "40": node("ProbeVAE"), **LATENT_LOW}
    more = {**held, **applied("20")}
    ours = latent(host, latents(sampler("euler", ["31", 0]), tiled=tiles, prefix="held-ours", **held))
    above = latent(host, latents(native("euler"), tiled=tiles, model="22", prefix="held-above", **more))
    below = {**more, "22": node("PriorSRApplyGuidance", model=["23", 0], guidance=["31", 0])}
    below["23"] = node("PriorSRTiledDenoiser", model=["20", 0], **tiles)
    under = latent(host, latents(native("euler"), model="22", prefix="held-under", **below))
    size = ours.abs().max().item()
    torch.testing.assert_close(above, ours, rtol=0, atol=3e-4 * size)
    torch.testing.assert_close(under, ours, rtol=0, atol=3e-4 * size)
    free = latent(host, latents(native("euler"), tiled=tiles, prefix="held-free"))
    assert (ours - free).abs().max() > 0.1 * size


# 32 x 32 pixels, whose latent is a quarter of that which is sampled
LATENT_LOW = {
    "1": load(),
    "2": node("ImageScale", image=["1", 0], upscale_method="area", width=32, height=32, crop="disabled"),
}
FLOW = {"24": node("ModelSamplingSD3", model=["20", 0], shift=3.0)}


def test_a_flow_is_held_to_an_image_and_our_own_sampler_refuses_it(host):
    held = {"31": consistent("20", vae=["40", 0]), "40": node("ProbeVAE"), **LATENT_LOW, **FLOW}
    more = {**held, **applied("24")}
    sigmas = node("BasicScheduler", model=["24", 0], scheduler="normal", steps=6, denoise=1.0)
    wanted = latent(host, {**LATENT_LOW, "40": node("ProbeVAE"), "5": ENCODED, "9": PAINTED})
    for name in ("euler", "dpmpp_2m", "heun"):
        graph = latents(native(name), model="22", prefix=f"flow-{name}", **more) | {"7": sigmas}
        found = latent(host, graph)
        reduced = ReduceTo(tuple(wanted.shape[-2:]))(found)
        free = latent(host, latents(native(name), model="24", prefix="free", **FLOW) | {"7": sigmas})
        assert (reduced - wanted).abs().max() < 1e-3 * wanted.abs().max()
        assert (ReduceTo(tuple(wanted.shape[-2:]))(free) - wanted).abs().max() > 0.1 * wanted.abs().max()
    graph = latents(sampler("euler"), model="24", prefix="refused", **FLOW) | {"7": sigmas}
    assert "trained on a flow between picture and noise" in failure(host, graph)
    tiles = {"tiles": "manual", "tiles.tile": 8, "tiles.overlap": 4, "tile_batch": 2}
    cut = latents(native("euler"), tiled=tiles, model="22", prefix="cut", **more) | {"7": sigmas}
    assert (ReduceTo(tuple(wanted.shape[-2:]))(latent(host, cut)) - wanted).abs().max() < 1e-2


ENCODED = node("VAEEncode", pixels=["2", 0], vae=["40", 0])


@pytest.mark.parametrize(
    ("chain", "name", "message"),
    [
        ({"31": classified("mean"), **CLASSIFIER}, "euler", "form mean moves the mean of random steps"),
        (CHAINS["conditions"], "dpmpp_2m", "for the samplers euler and ddim alone"),
        (CHAINS["conditions"], "euler_ancestral", "for the samplers euler and ddim alone"),
    ],
)
def test_what_a_model_cannot_do_is_said(host, chain, name, message):
    assert message in failure(host, on_pixels(native(name), "refused", True, **chain))


def test_a_flow_knows_no_classifiers(host):
    flow = {"24": node("ModelSamplingSD3", model=["3", 0], shift=3.0), **CHAINS["classifier"]}
    graph = on_pixels(native("euler"), "flow-classifier", True, **flow, **{"7": SHORT})
    graph["22"] = node("PriorSRApplyGuidance", model=["24", 0], guidance=["31", 0])
    assert "guide this MODEL by consistency, measurement or clipping" in failure(host, graph)


SHORT = node("BasicScheduler", model=["24", 0], scheduler="simple", steps=4, denoise=1.0)


def test_the_model_itself_stays_as_it_was_and_a_run_leaves_nothing_behind(host):
    before = latent(host, on_pixels(native("euler"), "before", False))
    latent(host, on_pixels(native("euler"), "between", True, **CHAINS["measurement"]))
    assert torch.equal(latent(host, on_pixels(native("euler"), "after", False)), before)
    again = [
        latent(host, on_pixels(native("euler"), f"again-{i}", True, **CHAINS["measurement"])) for i in (1, 2)
    ]
    assert torch.equal(*again)
