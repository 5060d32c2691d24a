"""The parts of the sampling side in real graphs: priors with conditions, sigmas, guidance, tiles, latent
models, cancelling.
"""

from __future__ import annotations

import time

import pytest
import torch
from graphs import defaults, failure, latent, latents, load, node, pixels, prior, result, sampler, save

from priorsr.methods.imaging.images import read
from priorsr.methods.priors.load import load_classifier, load_prior
from priorsr.methods.visionrefine.guided import GuidedSettings, class_log_prob, guided_upsample
from priorsr.samplers.schedule import DiscreteSchedule, Level

pytestmark = pytest.mark.host
NATIVE_CLIP = {"limit": "range", "limit.low": -1.0, "limit.high": 1.0}


def classifier(name="tiny_classifier.safetensors"):
    return node("PriorSRLoadNoiseClassifier", classifier=name, schedule="auto", train_steps=0)


def toward(label, scale=4.0, form="score", **more):
    return node("PriorSRGuideClassifier", classifier=["30", 0], label=label, scale=scale, form=form, **more)


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
        graph["14"] = node(
            "PriorSRImageQuality",
            image=["13", 0],
            reference=["13", 0],
            channels="rgb",
            border=0,
            when_sizes_differ="error",
            low_resolution=["2", 0],
        )
        return float(host.run(graph)["14"]["text"][0].split("consistency ")[1].split(" ")[0])

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
        "42": node(
            "SamplerCustomAdvanced",
            noise=["10", 0],
            guider=["48", 0],
            sampler=["11", 0],
            sigmas=["7", 0],
            latent_image=["12", 0],
        ),
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


def loaded(host, kept=()):
    """What the host holds, while it keeps the nodes of a graph by those keys."""
    graph, keys = kept or ({}, ())
    return host.run({"99": node("ProbeLoaded"), **{key: graph[key] for key in keys}})["99"]["text"]


def cancelled(host, graph, model):
    """Interrupt a graph once it has a model loaded and runs."""
    began, prompt = len(host.log()), host.start(graph)
    end = time.monotonic() + 60
    while f"Requested to load {model}" not in host.log()[began:] and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(1)
    host.post("/interrupt", {})
    entry = host.wait(prompt)
    assert f"Requested to load {model}" in host.log()[began:]
    assert any(message[0] == "execution_interrupted" for message in entry["status"]["messages"]), host.error(
        entry
    )


def test_cancel_leaves_nothing_loaded_that_was_not_before(host, definitions):
    small = {
        "1": load(),
        "2": node("ImageScale", image=["1", 0], upscale_method="area", width=24, height=24, crop="disabled"),
    }
    given = {"image": ["2", 0], "scale": 4.0, "tile": 32, "overlap": 8, "respacing": "1000"}
    upsampler = {
        "prior": "tiny_upsampler.safetensors",
        "classifier": "tiny_classifier.safetensors",
        "label": 1,
    }
    host.post("/free", {"unload_models": True, "free_memory": True})
    while loaded(host):  # of the tests before
        time.sleep(0.2)
    posterior = {"prior": "tiny_adm.safetensors"}
    for name, change, model in (
        ("PriorSRUpscaleGuided", upsampler, "ADMClassifier"),
        ("PriorSRUpscaleDPS", posterior, "ADMUNet"),
    ):
        cancelled(
            host,
            small | {"3": defaults(definitions, name, **given, **change), "9": save(["3", 0], "never")},
            model,
        )
        assert loaded(host) == []

    more = {"30": classifier(), "31": toward(1)}
    plain, guided = (
        pixels(sampler("ddpm"), size=(48, 48), prefix="plain"),
        pixels(sampler("ddpm", ["31", 0]), size=(48, 48), prefix="guided", **more),
    )
    guided["7"]["inputs"]["respacing"] = "1000"
    host.run(plain | {"30": more["30"]})  # the host itself keeps the prior from here on
    kept = guided, ("3", "4", "30")
    before = loaded(host, kept)
    assert "PixelModel" in before
    assert "ADMClassifier" not in before
    cancelled(host, guided, "ADMClassifier")
    assert loaded(host, kept) == before
    guided["7"]["inputs"]["respacing"] = "3"
    host.run(guided)  # a run that ends leaves the classifier to the host, as it does its own models
    before = loaded(host, kept)
    assert "ADMClassifier" in before
    guided["7"]["inputs"]["respacing"] = "1000"
    prompt = host.start(guided)
    time.sleep(2)
    host.post("/interrupt", {})
    host.wait(prompt)
    assert loaded(host, kept) == before
    assert "memory leak" not in host.log()
