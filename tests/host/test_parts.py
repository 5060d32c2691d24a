"""Parts of the sampling side in real graphs: priors with conditions, sigmas, samplers, tiles."""

from __future__ import annotations

import pytest
import torch
from graphs import latent, latents, node, pixels, prior, result, sampler

from priorsr.samplers.schedule import DiscreteSchedule

pytestmark = pytest.mark.host


def test_sigmas_are_those_of_the_kept_steps(host):
    def shown(**change):
        asked = {"model": ["3", 0], "respacing": "ddim25", "start": -1} | change
        graph = {
            "3": prior(),
            "7": node("PriorSRSigmasByRespacing", **asked),
            "9": node("PreviewAny", source=["7", 0]),
        }
        text = host.run(graph)["9"]["text"][0]
        return [
            float(v) for v in text.replace("\n", " ").split("[")[1].split("]")[0].replace(" ", "").split(",")
        ]

    schedule = DiscreteSchedule.named("linear").respace("ddim25")
    expected = [level.sigma / level.alpha for level in schedule.levels()]
    assert shown() == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert shown(start=2) == pytest.approx(
        [level.sigma / level.alpha for level in schedule.levels(2)], rel=1e-3, abs=1e-4
    )


def test_clipping_keeps_the_prediction_in_range(host):
    def run(prefix, **limit):
        clip = {"32": node("PriorSRGuideClip", **limit)} if limit else {}
        guidance = ["32", 0] if limit else None
        return result(
            host,
            pixels(sampler("ddim", guidance), prefix=prefix, **{"3": prior(clip=False, target="v")}, **clip),
        ).pixels

    free = run("free")
    assert free.min() < 0.1
    assert free.max() > 0.9
    narrow = run("narrow", limit="range", **{"limit.low": -0.5, "limit.high": 0.25})
    assert narrow.min() == pytest.approx(0.25, abs=1 / 255)
    assert narrow.max() == pytest.approx(0.625, abs=1 / 255)
    assert not run("dynamic", limit="dynamic", **{"limit.percentile": 0.9}).equal(free)


def test_a_class_conditional_prior_follows_its_label(host):
    def run(label, prefix):
        told = {"33": node("PriorSRConditionPixelPrior", label=label), "3": prior("tiny_class.safetensors")}
        return result(host, pixels(sampler(), conditioning=("33", 0), prefix=prefix, **told)).pixels

    assert run(1, "l1").equal(run(1, "l1b"))
    assert not run(1, "l1c").equal(run(2, "l2"))


@pytest.mark.parametrize("name", ["euler", "ddim", "heun", "dpmpp_2m"])
def test_our_sampler_equals_the_native_one_on_a_latent_model_with_cfg(host, name):
    """A Stable Diffusion UNet with cross attention, positive and negative prompts in one batch, scale 3."""
    native, ours = (
        latent(host, latents(s, batch=2, prefix=f"{name}-{i}"))
        for i, s in enumerate((node("KSamplerSelect", sampler_name=name), sampler(name)))
    )
    assert native.shape == (2, 4, 16, 16)
    assert native.std() > 0.1
    torch.testing.assert_close(ours, native, atol=2e-4 * native.abs().max().item(), rtol=0)


@pytest.mark.parametrize("conditions", ["", "concat", "half", "control", "concat half control"])
def test_tiles_change_nothing_where_the_model_is_pixelwise(host, conditions):
    """So every condition is cut where the picture is, whatever the batch of tiles, on a native sampler."""
    euler = node("KSamplerSelect", sampler_name="euler")
    whole = latent(host, latents(euler, "pixelwise", conditions, prefix="whole"))
    for count in (1, 3):
        tiles = {"tiles": "manual", "tiles.tile": 8, "tiles.overlap": 2 * count, "tile_batch": count}
        cut = latent(host, latents(euler, "pixelwise", conditions, tiled=tiles, prefix=f"cut{count}"))
        torch.testing.assert_close(cut, whole, atol=1e-4, rtol=1e-4)


def test_tiles_on_a_latent_model_and_under_our_sampler(host):
    def tiles(tile, overlap=4, count=1):
        return {"tiles": "manual", "tiles.tile": tile, "tiles.overlap": overlap, "tile_batch": count}

    plain = latent(host, latents(sampler("dpmpp_2m")))
    assert torch.equal(
        plain, latent(host, latents(sampler("dpmpp_2m"), tiled=tiles(16), prefix="one"))
    )  # it fits one tile
    cut = [
        latent(host, latents(sampler("dpmpp_2m"), tiled=tiles(8, count=count), prefix=f"n{count}"))
        for count in (1, 4)
    ]
    torch.testing.assert_close(cut[0], cut[1], atol=5e-4, rtol=1e-3)
    assert cut[0].isfinite().all()
    assert (cut[0] - plain).abs().max() > 1e-3
    again = latent(host, latents(sampler("dpmpp_2m"), prefix="again"))
    assert torch.equal(plain, again)  # the MODEL itself is as it was
