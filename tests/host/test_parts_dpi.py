"""DPI in real graphs, on the prior that ships and a corrector with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from dpi_graphs import IMPLICIT, SCALE, TINY, conditions, parts, whole
from graphs import (
    custom_sampler,
    failure,
    latent,
    latents,
    load,
    node,
    prior,
    result,
    sampler,
    save,
    small,
    to_graph,
)

from priorsr.methods.dpi.presets import shipped_correctors
from priorsr.methods.imaging.images import read

pytestmark = pytest.mark.host
PACK = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("chosen", "size"), [(TINY, (16, 16)), (None, (15, 13))], ids=["corrector", "odd"])
def test_one_node_and_its_parts_make_the_same_picture(host, definitions, chosen, size):
    graph = whole(definitions, *size, **IMPLICIT, corrector=chosen or "none")
    one, other = result(host, graph), result(host, parts(*size, chosen=chosen))
    assert tuple(one.pixels.shape) == (1, 3, *(round(n * SCALE) for n in size))
    assert (one.pixels - other.pixels).abs().max() <= 2 / 255


def test_tiles_of_prior_and_corrector_agree_with_those_of_the_node(host, definitions):
    other = result(host, parts(16, 24, chosen=None))
    one = result(host, whole(definitions, 16, 24, **IMPLICIT, corrector="none", overlap=32))
    assert (one.pixels - other.pixels).abs().max() <= 2 / 255
    assert tuple(result(host, parts(16, 24)).pixels.shape) == (1, 3, 64, 96)


def test_every_choice_counts(host, definitions):
    """Each of them changes the picture, and the same again does not."""
    changes = [
        {},
        {"corrector": "none"},
        {"seed": 6},
        {"preset.tau": 0.0},
        {"refine": False},
        {"weighted": False},
        {"convention": "released"},
    ]
    pictures = [result(host, whole(definitions, **change)).pixels for change in (*changes, {})]
    assert torch.equal(pictures[0], pictures.pop())
    assert len({p.numpy().tobytes() for p in pictures}) == len(changes)


def test_a_beginner_gives_the_picture_alone_and_is_told(host, definitions):
    """The first choice of everything, in few steps; a wide picture is warned of."""
    outputs = host.run(whole(definitions, 8, 24, corrector="auto", preset="auto"))
    report = outputs["16"]["text"][0]
    assert "tau 100, s 1.4, omega 500, ddpm, 4 steps" in report
    assert "96 x 32 is not one picture of 64 x 64" in report
    assert (
        "corrector dpi_x4" if "dpi_x4" in shipped_correctors() else "no corrector comes along for x4"
    ) in report
    assert host.log().count("96 x 32 is not one picture") == 1
    twenty = host.run(whole(definitions, preset="dpi20", steps=0))
    assert "tau 350, s 1.4, omega 1500, ddim, 20 steps" in twenty["16"]["text"][0]
    assert "upright" not in twenty["16"]["text"][0]


def test_a_picture_of_a_batch_is_the_picture_alone(host, definitions):
    alone = result(host, whole(definitions)).pixels
    images = host.run(
        whole(definitions, image=["4", 0], vary=False)
        | {"4": node("RepeatImageBatch", image=["2", 0], amount=2)}
    )["9"]["images"]
    assert len(images) == 2
    for image in images:
        torch.testing.assert_close(read(host.image(image)).pixels, alone, rtol=0, atol=1.5 / 255)


def test_conditions_chain_with_other_guidance_and_any_transition(host):
    chained = {"17": node("PriorSRGuideConsistency", model=["3", 0], image=["2", 0], strength=1.0)}
    alone, pulled = (
        result(host, parts(transition="ddpm", **more) | chained).pixels
        for more in ({}, {"guidance": ["17", 0]})
    )
    assert (alone - pulled).abs().max() > 4 / 255


@pytest.mark.usefixtures("correctors")
def test_a_latent_model_takes_latents_of_the_picture(host):
    """Without a second stage and a corrector, the grid of the result is the condition: the latents of the
    enlarged picture.
    """

    def held(side=64, chosen=None, **given):
        strength = {"preset": "custom", "preset.tau": 0.0, "preset.s": 1.0, "preset.omega": 1000.0}
        own = conditions(chosen, model=("20", 0), strength=strength, vae=["18", 0], **given)
        graph = latents(
            sampler("ddim", ["7", 0]),
            side=side // 8,
            prefix="held",
            **{"1": load(), "2": small(), "18": node("ProbeVAE")},
        )
        return (
            graph
            | {
                "17": graph["7"],
                "12": node("SamplerCustomAdvanced", **{**graph["12"]["inputs"], "sigmas": ["17", 0]}),
            }
            | own
        )

    picture = {"1": load(), "2": small(), "5": small(("2", 0), 32), "18": node("ProbeVAE")}
    encoded = picture | {
        "6": node("VAEEncode", pixels=["5", 0], vae=["18", 0]),
        "9": node("SaveLatent", samples=["6", 0], filename_prefix="encoded"),
    }
    sampled = latent(host, held())
    assert tuple(sampled.shape) == (1, 4, 8, 8)
    torch.testing.assert_close(sampled[..., ::2, ::2], latent(host, encoded), rtol=0, atol=1e-4)
    assert torch.isfinite(latent(host, held(chosen="latent_corrector.safetensors", seed=1))).all()
    for wrong, words in (
        ({"side": 128}, "latent of 8 x 8, the latent is 16 x 16"),
        ({"chosen": TINY}, "for 1 channels, the prior for 4"),
    ):
        assert words in failure(host, held(**wrong))
    bare = held()
    del bare["7"]["inputs"]["vae"]
    assert "connect the VAE of a latent MODEL" in failure(host, bare)


@pytest.mark.usefixtures("correctors")
def test_a_pixel_prior_with_a_vae_is_held_as_without(host):
    graph = {
        "1": load(),
        "2": small(side=8),
        "3": prior(),
        "18": node("VAELoader", vae_name="pixel_space"),
        "4": node("PriorSRSigmasByRespacing", model=["3", 0], respacing="4", start=-1),
        "5": small(("2", 0), 32),
        "6": node("VAEEncode", pixels=["5", 0], vae=["18", 0]),
        "8": sampler("ddim", ["7", 0]),
        "10": node("BasicGuider", model=["3", 0], conditioning=["3", 1]),
        "11": node("RandomNoise", noise_seed=5),
        "12": custom_sampler(noise="11", guider="10", sampler="8", sigmas="4"),
        "13": node("VAEDecode", samples=["12", 0], vae=["18", 0]),
        "9": save(["13", 0], "dpi_latent"),
    }
    pixel, latent = (
        result(host, graph | conditions("rgb_corrector.safetensors", **vae)).pixels
        for vae in ({}, {"vae": ["18", 0]})
    )
    assert (pixel - latent).abs().max() <= 2 / 255  # pixels of the condition outside 0..1 are cut by the VAE


def test_masks_of_a_picture(host):
    def masks(prefix="masks", **given):
        shown = {str(20 + i): node("MaskToImage", mask=["3", i]) for i in range(3)}
        saved = {str(30 + i): save([str(20 + i), 0], f"{prefix}{i}") for i in range(3)}
        made = node(
            "PriorSRDPIMasks", image=["2", 0], **{"scale": SCALE, "s": 1.2, "k": 2, "seed": 1, **given}
        )
        outputs = host.run(
            {"1": load(), "2": small(side=12), "3": made, **shown, **saved, "9": save(["3", 3], prefix)}
        )
        assert outputs["9"]["images"]
        return [read(host.image(outputs[str(30 + i)]["images"][0])).pixels[0, 0] for i in range(3)]

    fixed, probability, adaptive = masks()
    assert fixed.shape == probability.shape == adaptive.shape == (48, 48)
    assert fixed.mean() == pytest.approx(1 / 4)
    assert torch.equal(fixed[::2, ::2], torch.ones(24, 24))
    assert torch.equal(probability[::2, ::2], probability[1::2, 1::2])
    assert not adaptive[fixed == 0].any()
    assert 0 < adaptive.sum() < fixed.sum()
    assert not adaptive[probability == 0].any()
    assert not torch.equal(masks(seed=2)[2], adaptive)
    assert torch.equal(
        masks("again")[2], adaptive
    )  # the server keeps the last result alone, so that this one is made anew
    assert masks(s=8.0)[2].sum() < adaptive.sum()
    assert masks(k=4)[0].mean() == pytest.approx(1 / 16)


@pytest.mark.parametrize("name", ["dpi_face", "dpi_parts"])
def test_example_workflows_run_in_few_steps(host, definitions, name):
    workflow = json.loads((PACK / "example_workflows" / f"{name}.json").read_text(encoding="utf-8"))
    graph = to_graph(workflow, definitions)
    for inputs in (made["inputs"] for made in graph.values()):
        inputs |= {key: few for key, few in {"steps": 3, "respacing": "3"}.items() if key in inputs}
        if (
            "corrector" in inputs
            and isinstance(inputs["corrector"], str)
            and inputs["corrector"] not in ("auto", *shipped_correctors())
        ):
            inputs["corrector"] = TINY  # which the shipped one is told from by its weights alone
    images = [image for output in host.run(graph).values() for image in output.get("images", [])]
    assert images
    assert all(read(host.image(image)).pixels.std() > 0.01 for image in images)
