"""The pack inside a running ComfyUI."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from graphs import defaults, failure, load, node, result, save, stand_ins, to_graph
from locale_file import FILES, LOCALES, categories, english, languages

from priorsr.methods.graph.definitions import OURS
from priorsr.methods.imaging.images import read

pytestmark = pytest.mark.host
PACK = Path(__file__).resolve().parents[2]
IDS = tuple(json.loads(OURS.read_text(encoding="utf-8")))
FEW_STEPS = {
    "respacing": "4",
    "start": 1,
    "steps": 8,
}  # in place of those of the example workflows, which are meant for a GPU
ON_OTHERS = "stablesr"  # whose workflows need Stable Diffusion and run in test_parts_stablesr
WORKFLOWS = sorted(p for p in (PACK / "example_workflows").glob("*.json") if not p.stem.startswith(ON_OTHERS))


def upscale(image, scale=2.0, **changes):
    defaults = {
        "weights": "shipped",
        "channels": "luma",
        "border": "replicate",
        "space": "bt601",
        "tile": 256,
        "half": False,
    }
    return node("PriorSRUpscaleSRCNN", image=image, scale=scale, **{**defaults, **changes})


def test_the_pack_loads_cleanly(host, definitions):
    log = host.log()  # extras of the host whose packages are missing are not ours to judge
    assert not re.search("(?:FAILED|Cannot import).*PriorSR", log)
    assert f'File "{PACK}' not in log
    assert set(IDS) == {name for name in definitions if name.startswith("PriorSR")}


def inputs_of(specs):
    for group in ("required", "optional"):
        for name, spec in specs.get(group, {}).items():
            yield name, spec
            for option in (spec[1] if len(spec) > 1 else {}).get("options", []):
                if isinstance(option, dict):
                    yield from inputs_of(option["inputs"])


@pytest.mark.parametrize("name", IDS)
def test_every_node_explains_itself(host, definitions, name):
    definition = definitions[name]
    assert definition["description"]
    assert definition["category"].startswith("PriorSR")
    for key, spec in inputs_of(definition["input"]):
        assert len(spec) > 1, key
        assert spec[1].get("tooltip"), f"{name}.{key} has no tooltip"
    for path in (name, f"{name}/zh"):  # the first is what languages without a page of their own show
        page = host.raw(f"/extensions/PriorSR/docs/{path}.md").decode()
        assert page.startswith("# ")
        for key, _ in inputs_of(definition["input"]):
            assert f"`{key}`" in page, f"help {path} does not mention {key}"


def test_locales_cover_every_node_and_input(host, definitions):
    expected = english({name: definitions[name] for name in IDS})
    served = host.get("/i18n")
    assert json.loads((PACK / "locales/en/nodeDefs.json").read_text(encoding="utf-8")) == expected, (
        "run tools/locale_file.py"
    )
    assert {n: served["en"]["nodeDefs"][n] for n in IDS} == expected
    words = categories({name: definitions[name] for name in IDS})
    assert served["en"]["nodeCategories"].items() >= words["nodeCategories"].items()
    for language in languages():
        nodes, menus = (json.loads((LOCALES / language / name).read_text(encoding="utf-8")) for name in FILES)
        assert {n: served[language]["nodeDefs"][n] for n in IDS} == nodes
        assert served[language]["nodeCategories"].items() >= menus["nodeCategories"].items()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_example_workflows_run(host, definitions, path):
    graph = to_graph(json.loads(path.read_text(encoding="utf-8")), definitions)
    for made in graph.values():
        inputs = made["inputs"]
        inputs |= {key: few for key, few in FEW_STEPS.items() if key in inputs} | stand_ins(inputs)
        if made["class_type"] == "LoadImage" and re.search("face|photo", path.stem):
            inputs["image"] = "portrait.png"  # those need one
    outputs = host.run(graph, timeout=600)
    images = [image for output in outputs.values() for image in output.get("images", [])]
    assert images
    for image in images:
        if image["filename"].endswith(".mp4"):
            assert host.image(image).stat().st_size > 1000
        else:
            assert read(host.image(image)).pixels.std() > 0.01
    assert path.with_suffix(".jpg").exists()
    templates = host.get("/workflow_templates")
    assert path.stem in templates["PriorSR"]


@pytest.mark.parametrize(("name", "channels"), [("example.png", 3), ("pixel.png", 3)])
@pytest.mark.parametrize("scale", [2.0, 2.5, 1.0])
def test_upscale_any_size(host, name, channels, scale):
    source = read(host.base / "input" / name).pixels
    picture = result(
        host, {"1": load(name), "2": upscale(["1", 0], scale, tile=64), "9": save(["2", 0], "sized")}
    )
    expected = tuple(-(-round(n * scale * 1e6) // 1_000_000) for n in source.shape[-2:])
    assert tuple(picture.pixels.shape[-2:]) == expected
    assert picture.pixels.shape[1] == channels


def test_alpha_is_carried_through(host):
    graph = {
        "1": load("alpha.png"),
        "2": node("JoinImageWithAlpha", image=["1", 0], alpha=["1", 1]),
        "3": upscale(["2", 0]),
        "9": save(["3", 0], "alpha"),
    }
    picture = result(host, graph)
    assert picture.alpha is not None
    assert tuple(picture.alpha.shape[-2:]) == (190, 242)
    assert 0.6 < picture.alpha.mean() < 0.8


def test_batches_and_quality(host):
    graph = {
        "1": load(),
        "2": node("RepeatImageBatch", image=["1", 0], amount=3),
        "3": node(
            "PriorSRDegrade",
            image=["2", 0],
            seed=4,
            vary=True,
            **{"degradation": "noise"} | noise("gaussian"),
        ),
        "4": node(
            "PriorSRImageQuality",
            image=["3", 0],
            reference=["1", 0],
            channels="rgb",
            border=0,
            when_sizes_differ="error",
        ),
        "9": save(["4", 3], "compared"),
    }
    outputs = host.run(graph)
    (report,) = outputs["4"]["text"]
    assert [line.split(":")[0] for line in report.splitlines()] == ["0", "1", "2"]
    assert len(outputs["9"]["images"]) == 3


def noise(kind, amount=20.0):
    return {"degradation.kind": kind, "degradation.amount": amount, "degradation.grey": False}


DEGRADATIONS = [
    ("bicubic", {"degradation.scale": 4.0}),
    ("face", {"degradation.level": "severe"}),
    ("real-world", {"degradation.scale": 2.0}),
    ("srdg", {"degradation.scale": 8.0}),
    (
        "blur",
        {
            "degradation.sigma": 2.0,
            "degradation.sigma_across": 0.5,
            "degradation.angle": 30.0,
            "degradation.kernel": 13,
        },
    ),
    ("ringing", {"degradation.cutoff": 1.0, "degradation.kernel": 13}),
    ("noise", noise("gaussian")),
    ("noise", noise("poisson")),
    ("noise", noise("speckle")),
    ("compression", {"degradation.codec": "jpeg", "degradation.quality": 10}),
    ("compression", {"degradation.codec": "webp", "degradation.quality": 10}),
    ("recipe", {"degradation.json": '{"name": "mine", "steps": [{"step": "Jpeg", "quality": 5}]}'}),
]


@pytest.mark.parametrize(("kind", "choice"), DEGRADATIONS, ids=lambda v: v if isinstance(v, str) else "")
def test_every_degradation_repeats_and_replays(host, kind, choice):
    def graph(seed, prefix, **replaced):
        made = {"degradation": kind, **choice, **replaced}
        return {
            "1": load(),
            "2": node("PriorSRDegrade", image=["1", 0], seed=seed, vary=False, **made),
            "3": node("PreviewAny", source=["2", 1]),
            "9": save(["2", 0], prefix),
        }

    first = host.run(graph(7, f"{kind}-a"))
    again = host.run(graph(7, f"{kind}-b"))
    pictures = [read(host.image(o["9"]["images"][0])).pixels for o in (first, again)]
    assert pictures[0].equal(pictures[1])
    recipe = first["3"]["text"][0] if "text" in first["3"] else None
    assert recipe
    replay = host.run(graph(99, f"{kind}-c") | {"2": replayed(recipe)})
    assert read(host.image(replay["9"]["images"][0])).pixels.equal(pictures[0])


def replayed(recipe):
    return node(
        "PriorSRDegrade",
        image=["1", 0],
        seed=99,
        vary=False,
        **{"degradation": "recipe", "degradation.json": recipe},
    )


@pytest.mark.parametrize(
    ("choice", "size"),
    [
        ({"to": "scale", "to.scale": 0.5}, (48, 61)),
        ({"to": "size", "to.width": 30, "to.height": 20}, (20, 30)),
        ({"to": "multiple", "to.multiple": 8}, (88, 120)),
    ],
)
def test_resize(host, choice, size):
    resized = node(
        "PriorSRResize", image=["1", 0], method="bicubic", antialias=True, matlab_border=False, **choice
    )
    assert (
        tuple(result(host, {"1": load(), "2": resized, "9": save(["2", 0], "resized")}).pixels.shape[-2:])
        == size
    )


@pytest.mark.parametrize(
    "change",
    [{"scale": 0.0}, {"scale": 99.0}, {"channels": "hsv"}, {"weights": "../../secret.pt"}, {"tile": -1}],
)
def test_values_out_of_range_are_refused_before_running(host, change):
    answer = host.refusal(
        {
            "1": load(),
            "2": {**upscale(["1", 0]), "inputs": {**upscale(["1", 0])["inputs"], **change}},
            "9": save(["2", 0], "x"),
        }
    )
    (error,) = answer["node_errors"]["2"]["errors"]
    assert next(iter(change)) in json.dumps(error)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (upscale(["1", 0], weights="broken.safetensors"), "broken.safetensors"),
        (upscale(["1", 0], tile=5), "tile 5 is too small"),
        (
            node(
                "PriorSRResize",
                image=["1", 0],
                method="area",
                antialias=True,
                matlab_border=False,
                to="nonsense",
            ),
            "choose one of scale, size, multiple",
        ),
        (
            node("PriorSRDegrade", image=["1", 0], seed=0, vary=False, degradation="nonsense"),
            "unknown degradation",
        ),
        (
            node(
                "PriorSRDegrade",
                image=["1", 0],
                seed=0,
                vary=False,
                **{"degradation": "recipe", "degradation.json": "{"},
            ),
            "no JSON",
        ),
    ],
)
def test_bad_input_is_one_readable_sentence(host, bad, words):
    entry = host.wait(host.start({"1": load(), "2": bad, "9": save(["2", 0], "x")}))
    assert entry["status"]["status_str"] == "error"
    assert words in host.error(entry)


def test_sizes_that_differ_are_refused_or_resized(host):
    def graph(mode):
        small = node(
            "PriorSRResize",
            image=["1", 0],
            method="bicubic",
            antialias=True,
            matlab_border=False,
            **{"to": "scale", "to.scale": 0.5},
        )
        return {
            "1": load(),
            "2": small,
            "3": node(
                "PriorSRImageQuality",
                image=["2", 0],
                reference=["1", 0],
                channels="luma",
                border=2,
                when_sizes_differ=mode,
            ),
        }

    assert "differ in size" in host.error(host.wait(host.start(graph("error"))))
    assert "PSNR" in host.run(graph("resize reference"))["3"]["text"][0]


POSTERIOR = [
    ("PriorSRUpscaleDPS", {"prior": "tiny_adm.safetensors", "respacing": "4", "guidance": 3.0}),
    ("PriorSRUpscaleEDMDPS", {"prior": "tiny_edm.safetensors", "steps": 3, "weight": "plain", "zeta": 0.3}),
]


@pytest.mark.parametrize(("name", "settings"), POSTERIOR)
def test_posterior_sampling_repeats_and_depends_on_the_seed(host, definitions, name, settings):
    """Gradients flow inside the host's inference mode; a picture with odd sides goes through tiles."""

    def picture(seed, prefix):
        small = node(
            "PriorSRResize",
            image=["1", 0],
            method="bicubic",
            antialias=True,
            matlab_border=False,
            **{"to": "scale", "to.scale": 0.2},
        )
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
        "3": node(
            "PriorSRLoadPixelPrior", prior=prior, clip=clip, schedule="auto", train_steps=0, target=target
        ),
        "4": node("VAELoader", vae_name="pixel_space"),
        "5": node(
            "ImageScale", image=["2", 0], upscale_method="bicubic", width=32, height=32, crop="disabled"
        ),
        "6": node("VAEEncode", pixels=["5", 0], vae=["4", 0]),
        "7": node("BasicScheduler", model=["3", 0], scheduler="normal", steps=6, denoise=1.0),
        "8": node("BasicGuider", model=["3", 0], conditioning=["3", 1]),
        "10": node("RandomNoise", noise_seed=5),
        "11": sampler_node,
        "12": node(
            "SamplerCustomAdvanced",
            noise=["10", 0],
            guider=["8", 0],
            sampler=["11", 0],
            sigmas=["7", 0],
            latent_image=["6", 0],
        ),
        "13": node("VAEDecode", samples=["12", 0], vae=["4", 0]),
        "14": node(
            "PriorSRImageQuality",
            image=["13", 0],
            reference=["13", 0],
            channels="rgb",
            border=0,
            when_sizes_differ="error",
            low_resolution=["2", 0],
        ),
        "9": save(["13", 0], prefix),
        **(guidance or {}),
    }


def agreement(outputs):
    return float(outputs["14"]["text"][0].split("consistency ")[1].split(" ")[0])


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


def test_cancel_stops_between_tiles_and_the_host_goes_on(host):
    graph = {
        "1": load(),
        "2": upscale(["1", 0], 16.0, tile=16, channels="rgb"),
        "3": upscale(["2", 0], 4.0, tile=64),
        "9": save(["3", 0], "never"),
    }
    prompt = host.start(graph)
    time.sleep(3)
    began = time.monotonic()
    host.post("/interrupt", {})
    entry = host.wait(prompt)
    assert time.monotonic() - began < 20
    assert any(message[0] == "execution_interrupted" for message in entry["status"]["messages"]), host.error(
        entry
    )
    assert (
        result(host, {"1": load(), "2": upscale(["1", 0], 3.0), "9": save(["2", 0], "after")}).pixels.shape[
            -1
        ]
        == 363
    )
