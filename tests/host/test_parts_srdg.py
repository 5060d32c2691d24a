"""SRDG and attribute guidance in real graphs, on networks with random weights and the prior that ships."""

from __future__ import annotations

import json

import pytest
import torch
from graphs import failure, load, node, result, sampler, save, small
from safetensors.torch import load_file, save_file
from srdg_graphs import GENDER, HAPPY, SR, STEPS, classifiers, parts, probability, whole
from tiny_checkpoints import attribute, score_network

from priorsr.methods.imaging.images import read
from priorsr.methods.imaging.resize import resize
from priorsr.methods.priors.load import load_prior
from priorsr.samplers.denoiser import Cond
from priorsr.samplers.karras import Euler
from priorsr.samplers.run import run
from priorsr.samplers.schedule import karras_sigmas, sigma_levels

pytestmark = pytest.mark.host
FIELD = {"model": ["3", 0], "image": ["2", 0], "scale": 8.0, "steps": 2, "level": 0.0, "aim": "fidelity"}


@pytest.fixture(scope="module")
def files(host):
    """An RGB network, a classifier of another size, and one that was never told of noise."""
    folder = host.base / "models" / "priorsr"
    score_network(folder / "rgb_sr.safetensors", 3)
    attribute(folder / "small_happy.safetensors", size=32)
    deaf = {k: v for k, v in load_file(folder / HAPPY).items() if k != "GaussianFourierProjection_0.W"}
    save_file(deaf, folder / "deaf_happy.safetensors")
    return folder


def test_one_node_enlarges_with_and_without_attributes(host, definitions):
    outputs = {}
    for name, given in {
        "plain": {},
        "happy": {"attributes": "happy=1"},
        "neutral": {"attributes": "happy=neutral"},
    }.items():
        made = host.run(whole(definitions, classifier=HAPPY, h=200.0, **given))
        outputs[name], report = read(host.image(made["9"]["images"][0])), made["16"]["text"][0]
        asked = {
            "plain": "no attribute is asked for",
            "happy": "happy: happy (of 0 neutral, 1 happy)",
            "neutral": "happy: neutral (of",
        }[name]
        assert asked in report
        assert "image 1: happy: neutral 0." in report or "image 1: happy: neutral 1." in report
    assert tuple(outputs["plain"].pixels.shape) == (1, 3, 64, 64)
    low, middle, high = (probability(host, outputs[name]) for name in ("neutral", "plain", "happy"))
    assert low < middle < high


def test_the_same_seed_gives_the_same_picture_and_chained_classifiers_count(host, definitions):
    graphs = [
        whole(definitions, HAPPY, GENDER, attributes=text, weights=weights)
        for text, weights in (
            ("happy=1", ""),
            ("happy=1, gender=male", ""),
            ("happy=1, gender=male", "gender=3"),
        )
    ]
    pictures = [result(host, graph).pixels for graph in graphs]
    assert torch.equal(
        result(host, whole(definitions, classifier=HAPPY, attributes="happy=1")).pixels, pictures[0]
    )
    assert len({p.numpy().tobytes() for p in pictures}) == 3


def test_a_picture_of_a_batch_is_the_picture_alone(host, definitions):
    alone = result(host, whole(definitions, classifier=HAPPY, attributes="happy=1", h=20.0)).pixels
    batch = whole(definitions, classifier=HAPPY, attributes="happy=1", h=20.0, image=["4", 0], vary=False)
    images = host.run(batch | {"4": node("RepeatImageBatch", image=["2", 0], amount=2)})["9"]["images"]
    assert len(images) == 2
    for image in images:
        torch.testing.assert_close(read(host.image(image)).pixels, alone, rtol=0, atol=2.5 / 255)


def test_larger_results_are_tiled_and_seen_whole(host, definitions):
    graph = whole(
        definitions, classifier=HAPPY, attributes="happy=1", side=12, view="whole", overlap=32, steps=2
    )
    assert tuple(result(host, graph).pixels.shape) == (1, 3, 96, 96)
    assert "64 x 64 pixels, not 96 x 96" in failure(
        host, whole(definitions, classifier=HAPPY, attributes="happy=1", side=12, steps=2)
    )


def test_guidance_pulls_the_shipped_prior_and_chains(host):
    high, low = (result(host, parts(HAPPY, attributes=f"happy={label}")) for label in (1, 0))
    assert probability(host, high) > probability(host, low)
    chained = parts(HAPPY, GENDER, attributes="happy=1", guidance=["17", 0])
    inner = node("PriorSRGuideAttributes", **{**chained["7"]["inputs"], "attributes": "gender=male"})
    del inner["inputs"]["guidance"]
    both = result(host, chained | {"17": inner}).pixels
    together = result(host, parts(HAPPY, GENDER, attributes="happy=1, gender=male")).pixels
    torch.testing.assert_close(both, together, rtol=0, atol=2.5 / 255)
    assert not torch.equal(together, high.pixels)
    opposed = chained | {"17": node("PriorSRGuideAttributes", **{**inner["inputs"], "attributes": "happy=0"})}
    assert "happy cannot be neutral and happy at once" in failure(host, opposed)


def test_nothing_is_pulled_outside_the_window_or_by_h_0(host):
    still, narrow, wide = (
        result(host, parts(HAPPY, **given)).pixels
        for given in ({"h": 0.0}, {"first": 0.02, "last": 0.01}, {})
    )
    assert torch.equal(still, narrow)
    assert not torch.equal(still, wide)


def test_a_score_network_is_a_model_like_others(host):
    """Native parts walk the same way as the core from the same noise."""
    saved = {
        str(key): node("SaveLatent", samples=[made, 0], filename_prefix=f"score{key}")
        for key, made in ((20, "17"), (21, "6"), (22, "12"))
    }
    free = parts(HAPPY) | {
        "2": small(side=8),
        "3": node(
            "PriorSRLoadPixelPrior", prior=SR, clip=False, schedule="auto", train_steps=0, target="auto"
        ),
        "4": node("KarrasScheduler", steps=STEPS, sigma_max=15.0, sigma_min=0.03, rho=7.0),
        "8": sampler("euler"),
        "10": node("BasicGuider", model=["3", 0], conditioning=["14", 0]),
        "14": node("PriorSRConditionPixelPrior", label=-1, low_resolution=["2", 0]),
        "17": node("PriorSRImageToPixelLatent", model=["3", 0], image=["2", 0]),
    }
    outputs = host.run(free | saved)
    low, latent, walked = (
        load_file(host.base / "output" / outputs[key]["latents"][0]["filename"])["latent_tensor"]
        for key in saved
    )
    prior = load_prior(str(host.base / "models" / "priorsr" / SR), conditional=True)
    start = latent + 15 * torch.randn(latent.shape, generator=torch.Generator().manual_seed(5))
    levels = sigma_levels(karras_sigmas(STEPS, 0.03, 15.0), prior.c_noise)
    expected = run(prior, start, levels, Euler(), cond=Cond({"low_res": resize(low, (64, 64))}))
    torch.testing.assert_close(walked, expected, rtol=1e-3, atol=1e-3)
    assert not torch.equal(
        result(host, free | {"8": sampler("euler", ["7", 0])}).pixels, result(host, free).pixels
    )
    bare = free | {"10": node("BasicGuider", model=["3", 0], conditioning=["3", 1])}
    assert "needs a low-resolution picture" in failure(host, bare)
    assert "never measured" in failure(host, free | {"4": node("PriorSRRecoverableField", **FIELD)})


def test_attributes_are_read_as_text_and_numbers(host):
    nodes, link = classifiers(HAPPY, GENDER)
    graph = {
        "1": load(),
        "2": small(side=8),
        "3": node("PriorSRReadAttributes", classifiers=link, image=["2", 0], view="whole", t=0.01, seed=0),
        "4": node("PreviewAny", source=["3", 0]),
        "5": node("PreviewAny", source=["3", 1]),
        "6": node("PreviewAny", source=["41", 1]),
        "9": save(["2", 0], "read"),
        **nodes,
    }
    outputs = host.run(graph)
    (text,), numbers = outputs["4"]["text"], [float(n) for n in outputs["5"]["text"]]
    assert [line.partition(": ")[2].partition(":")[0] for line in text.splitlines()] == ["happy", "gender"]
    assert len(numbers) == 4
    assert numbers[0] + numbers[1] == pytest.approx(1) == numbers[2] + numbers[3]
    assert f"neutral {numbers[0]:.3f}, happy {numbers[1]:.3f}" in text
    assert numbers[1] == pytest.approx(
        probability(host, read(host.image(outputs["9"]["images"][0]))), abs=0.02
    )
    assert outputs["6"]["text"][0] == "happy: 0 neutral, 1 happy\ngender: 0 female, 1 male"


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"attributes": "happy=1"}, "no classifier tells 'happy'"),
        ({"classifier": HAPPY, "attributes": "hat=1"}, "no classifier tells 'hat': choose from happy"),
        (
            {"classifier": HAPPY, "attributes": "happy=sad"},
            "happy has no label 'sad': give one of 0 neutral, 1 happy",
        ),
        ({"classifier": HAPPY, "attributes": "happy=1, happy=0"}, "happy cannot be '1' and '0' at once"),
        ({"classifier": HAPPY, "attributes": "happy"}, "no attribute with its label"),
        (
            {"classifier": HAPPY, "attributes": "happy=1", "weights": "happy=much"},
            "does not give attributes their weights",
        ),
        ({"classifier": "deaf_happy.safetensors", "attributes": "happy=1"}, "trained without noise"),
        (
            {"classifier": "small_happy.safetensors", "attributes": "happy=1"},
            "takes 32 x 32 pixels, not 64 x 64",
        ),
        ({"classifier": SR}, "choose a file that holds attribute classifier weights"),
        ({"prior": "tiny_adm.safetensors"}, "a file that holds NCSN++ super-resolution prior weights"),
        ({"first": 0.2, "last": 0.4}, "give a first above the last"),
    ],
)
def test_mistakes_are_explained_before_sampling(host, definitions, change, words):
    assert words in failure(host, whole(definitions, **change))


@pytest.mark.usefixtures("files")
def test_mistakes_of_the_parts_are_explained_before_sampling(host, definitions):
    assert "no attribute is wished for: name one with its label (happy: 0 neutral, 1 happy)" in failure(
        host, parts(HAPPY, attributes="")
    )
    assert "takes 32 x 32 pixels, not 64 x 64" in failure(host, parts("small_happy.safetensors"))
    assert "several classifiers tell one attribute" in failure(host, parts(HAPPY, "small_happy.safetensors"))
    graph = parts(HAPPY, h=-1.0)
    assert "h" in json.dumps(host.refusal(graph)["node_errors"]["7"])
    rgb = whole(definitions, prior="rgb_sr.safetensors", classifier=HAPPY, attributes="happy=1")
    assert tuple(result(host, rgb).pixels.shape) == (1, 3, 64, 64)  # the luma of a colour network is judged
