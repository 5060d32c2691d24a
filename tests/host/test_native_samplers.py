"""Pixel priors in the host's own sampling graphs, and posterior sampling by one node."""

from __future__ import annotations

import pytest
from graphs import (
    agreement,
    consistency,
    custom_sampler,
    defaults,
    failure,
    load,
    node,
    resized,
    result,
    save,
)
from graphs import prior as pixel_prior

from priorsr.methods.imaging.images import read

pytestmark = pytest.mark.host
POSTERIOR = [
    ("PriorSRUpscaleDPS", {"prior": "tiny_adm.safetensors", "respacing": "4", "guidance": 3.0}),
    ("PriorSRUpscaleEDMDPS", {"prior": "tiny_edm.safetensors", "steps": 3, "weight": "plain", "zeta": 0.3}),
]


@pytest.mark.parametrize(("name", "settings"), POSTERIOR)
def test_posterior_sampling_repeats_and_depends_on_the_seed(host, definitions, name, settings):
    """Gradients flow inside the host's inference mode; a picture with odd sides goes through tiles."""

    def picture(seed, prefix):
        small = resized("scale", scale=0.2)
        restore = defaults(
            definitions, name, image=["2", 0], scale=2.0, seed=seed, tile=32, overlap=8, **settings
        )
        return result(host, {"1": load(), "2": small, "3": restore, "9": save(["3", 0], prefix)}).pixels

    first = picture(1, "a")
    assert tuple(first.shape[-2:]) == (38, 50)
    assert first.equal(picture(1, "b"))
    assert not first.equal(picture(2, "c"))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("PriorSRUpscaleDPS", {"prior": "broken.safetensors"}, "broken.safetensors"),
        ("PriorSRUpscaleDPS", {"prior": "tiny_adm.safetensors", "respacing": "ddim999"}, "no whole stride"),
    ],
)
def test_wrong_priors_are_explained(host, definitions, name, change, words):
    graph = {
        "1": load(),
        "2": defaults(definitions, name, image=["1", 0], **change),
        "9": save(["2", 0], "x"),
    }
    assert words in failure(host, graph)


def sampled(
    sampler_node, guidance=None, prior="tiny_adm.safetensors", prefix="sampled", clip=True, target="auto"
):
    """A graph of native parts: our prior, a sampler, the core's noise, sigmas, guider and pixel VAE."""
    return {
        "1": load(),
        "2": node("ImageScale", image=["1", 0], upscale_method="area", width=16, height=16, crop="disabled"),
        "3": pixel_prior(prior, clip, target),
        "4": node("VAELoader", vae_name="pixel_space"),
        "5": node(
            "ImageScale", image=["2", 0], upscale_method="bicubic", width=32, height=32, crop="disabled"
        ),
        "6": node("VAEEncode", pixels=["5", 0], vae=["4", 0]),
        "7": node("BasicScheduler", model=["3", 0], scheduler="normal", steps=6, denoise=1.0),
        "8": node("BasicGuider", model=["3", 0], conditioning=["3", 1]),
        "10": node("RandomNoise", noise_seed=5),
        "11": sampler_node,
        "12": custom_sampler(),
        "13": node("VAEDecode", samples=["12", 0], vae=["4", 0]),
        "14": consistency(["13", 0], ["2", 0]),
        "9": save(["13", 0], prefix),
        **(guidance or {}),
    }


@pytest.mark.parametrize("prior", ["tiny_adm.safetensors", "tiny_edm.safetensors"])
@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp_2m", "ddim"])
def test_pixel_priors_run_in_native_samplers_and_ours_agree(host, prior, name):
    native = node("KSamplerSelect", sampler_name=name if name != "ddim" else "ddim")
    extra = {"heun": {"transition.churn": 0.0}, "ddim": {"transition.eta": 0.0}}.get(name, {})
    ours = node("PriorSRSampler", transition=name, **extra)
    pictures = [
        read(host.image(host.run(sampled(s, prior=prior))["9"]["images"][0])).pixels for s in (native, ours)
    ]
    assert tuple(pictures[0].shape[-2:]) == (32, 32)
    if name in ("euler", "ddim", "dpmpp_2m"):
        assert (pictures[0] - pictures[1]).abs().max() <= 2.01 / 255


RANDOM = [
    ("ddpm", {"transition.variance": "small"}),
    ("ddim", {"transition.eta": 1.0}),
    ("heun", {"transition.churn": 3.0}),
    ("reverse_diffusion", {"transition.corrections": 1, "transition.snr": 0.1}),
    ("euler_maruyama", {}),
]


@pytest.mark.parametrize(("name", "extra"), RANDOM)
def test_random_transitions_run_in_the_host_and_repeat(host, name, extra):
    graphs = [sampled(node("PriorSRSampler", transition=name, **extra), prefix=p) for p in ("r1", "r2")]
    first, second = (read(host.image(host.run(g)["9"]["images"][0])).pixels for g in graphs)
    assert first.equal(second)


@pytest.mark.parametrize(
    ("prior", "strength"), [("tiny_adm.safetensors", 15.0), ("tiny_edm.safetensors", 3.0)]
)
def test_guidance_by_measurement_works_in_a_native_graph(host, prior, strength):
    def run(scale):
        guide = {"15": node("PriorSRGuideMeasurement", image=["2", 0], scale=scale, squared=False)}
        sampler = node("PriorSRSampler", transition="ddim", guidance=["15", 0], **{"transition.eta": 0.0})
        return agreement(
            host.run(sampled(sampler, guide, prior, clip=False, target="v"))
        )  # a network that answers 0 is a Gaussian prior then

    assert run(strength) > run(0.0) + 1


def test_a_wrong_transition_is_explained(host):
    entry = host.wait(host.start(sampled(node("PriorSRSampler", transition="nonsense"))))
    assert "unknown transition" in host.error(entry)
