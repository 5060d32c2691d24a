"""StableSR in real graphs, on a tiny checkpoint in the form of Stable Diffusion 2.1 with tiny layers and
feature wrapping.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from zlib import crc32

import pytest
import torch
import torch.nn.functional as F
from graphs import defaults, failure, latent, load, node, result, sampler, save, saved, to_graph
from stablesr_graphs import (
    BASE,
    LAYERS,
    OTHER,
    SEED,
    SIDES,
    STEPS,
    WRAP,
    applied,
    decoded,
    empty,
    ksampler,
    one_node,
    parts,
    prompt,
    sd,
    tiles,
)

from priorsr.methods.imaging.images import read
from priorsr.methods.imaging.resize import resize
from priorsr.methods.priors.adm import ADMPrior
from priorsr.methods.stablesr.autoencoder import SCALE, Autoencoder
from priorsr.methods.stablesr.levels import CHAIN
from priorsr.methods.stablesr.load import load_cfw, load_layers, load_stablesr, load_unet, load_vae
from priorsr.methods.stablesr.method import StableSRSettings, sample, stablesr_upscale
from priorsr.methods.stablesr.prior import CONTEXT, LR, modulated
from priorsr.samplers.denoiser import Cond
from priorsr.samplers.noise import Noise

pytestmark = pytest.mark.host
PACK = Path(__file__).resolve().parents[2]


def tokens(text):
    return torch.randn(1, 7, 24, generator=torch.Generator().manual_seed(crc32(text.encode()))) * 0.3


class Draws:
    """The start's noise, then that of the steps, as the parts draw them."""

    def __init__(self, seed):
        self.first, self.later = Noise([seed]), Noise([seed]).child("transition")

    def __call__(self, shape):
        drawn, self.first = (self.first or self.later)(shape), None
        return drawn


@pytest.fixture(scope="module")
def models(host):
    folder = host.base / "models"
    return lambda name: str(folder / ("checkpoints" if name == BASE else "priorsr") / name)


@pytest.fixture(scope="module")
def lr(host):
    graph = sd() | {"9": node("SaveLatent", samples=["3", 0], filename_prefix="encoded")}
    return latent(host, {key: graph[key] for key in ("1", "2", "3", "9", "20")})


@pytest.fixture(scope="module")
def standalone(models, lr):
    def run(cfg=1.0, **settings):
        prior, layers = ADMPrior(load_unet(models(BASE)), CHAIN, "eps"), load_layers(models(LAYERS))
        negative = tokens("blurry") if cfg != 1 else None
        cond = Cond({LR: lr * SCALE}, {CONTEXT: tokens("sharp")})
        with torch.no_grad():
            return (
                sample(
                    modulated(prior, layers, negative, cfg),
                    cond,
                    StableSRSettings(steps=STEPS, **settings),
                    Draws(SEED),
                )
                / SCALE
            )

    return run


def close(a, b, limit=1e-5):
    assert a.shape == b.shape
    worst = (a - b).abs().max() / b.abs().max()
    assert worst <= limit, worst
    return float(worst)


def far(a, b):
    assert (a - b).abs().max() > 1e-2 * b.abs().max()


TILED = {"tile": 64, "overlap": 32}
RUNS = {
    "one prompt": ({"sampler": "ddim"}, {}),
    "negative prompt": ({"sampler": "ddim", "cfg": 3.0}, {}),
    "spaced ddpm": ({"sampler": "ddpm"}, {}),
    "random ddim": ({"sampler": "ddim", "eta": 1.0}, {}),
    "from the picture": ({"sampler": "ddim", "start": "lr"}, {}),
    "released ddim": ({"sampler": "ddim-released", "start": "lr"}, {}),
    "tiles": ({"sampler": "ddim", "cfg": 3.0, **TILED}, {"batch": 3}),
    "published tiles": ({"sampler": "ddpm", "weights": "published", **TILED}, {"batch": 2}),
    "tiles of the released ddim": ({"sampler": "ddim-released", "cfg": 3.0, **TILED}, {"batch": 4}),
}


@pytest.mark.parametrize("case", RUNS)
def test_the_patched_model_is_the_standalone_one(host, standalone, case):
    settings, cut = RUNS[case]
    settings = {"start": "noise", **settings}
    chosen = {"ddim": "ddim", "ddpm": "ddpm", "ddim-released": "ddim_released"}[settings["sampler"]]
    choice = {} if chosen == "ddpm" else {"eta": settings.get("eta", 0.0)}
    more = {"25": tiles(**cut, weights=settings.get("weights", "symmetric"))} if cut else {}
    graph = parts(
        sampler(chosen, **choice), "25" if cut else "24", settings.get("cfg", 1.0), settings["start"], **more
    )
    print(case, close(latent(host, graph), standalone(**settings)))


@pytest.mark.parametrize(
    ("name", "scheduler"), [("euler", "normal"), ("dpmpp_2m", "karras"), ("lcm", "sgm_uniform")]
)
def test_native_samplers_run_and_leave_the_model_as_it_was(host, name, scheduler):
    before = latent(host, ksampler(name, scheduler, "20", prefix="before"))
    restored = latent(host, ksampler(name, scheduler))
    assert restored.isfinite().all()
    far(restored, before)
    host.post("/free", {"unload_models": False, "free_memory": True})
    assert torch.equal(latent(host, ksampler(name, scheduler, "20", prefix="after")), before)


def test_a_second_run_makes_the_same_picture(host):
    first = latent(host, ksampler("dpmpp_2m", "karras"))
    host.post("/free", {"unload_models": True, "free_memory": True})
    assert torch.equal(latent(host, ksampler("dpmpp_2m", "karras", prefix="again")), first)


def test_two_patched_models_in_one_graph_do_not_disturb_each_other(host):
    alone = [
        latent(host, ksampler(prefix="alone", **{"23": node("PriorSRLoadStableSR", stablesr=name)}))
        for name in (LAYERS, OTHER)
    ]
    far(*alone)
    both = ksampler(
        **{
            "33": node("PriorSRLoadStableSR", stablesr=OTHER),
            "34": node("PriorSRApplyStableSR", model=["20", 0], stablesr=["33", 0]),
            "32": ksampler(model="34")["12"],
            "39": node("SaveLatent", samples=["32", 0], filename_prefix="other"),
        }
    )
    outputs = host.run(both)
    for key, expected in zip(("9", "39"), alone, strict=True):
        assert torch.equal(saved(host, outputs[key]), expected)


def test_the_latent_may_be_given_where_sampling_starts_from_nothing(host):
    width, height = SIDES
    empty = {"6": node("EmptyLatentImage", width=width, height=height, batch_size=1)}
    given = {"24": applied(latent=["3", 0])}
    a = latent(host, parts(sampler("ddim"), latent_image=("6", 0), **empty, **given))
    close(a, latent(host, parts(sampler("ddim"))))
    assert "starts from an empty one" in failure(host, parts(sampler("ddim"), latent_image=("6", 0), **empty))


def test_a_picture_of_a_batch_is_the_picture_alone(host):
    other = {"4": node("ImageInvert", image=["2", 0])}
    batch = {
        **other,
        "5": node("ImageBatch", image1=["2", 0], image2=["4", 0]),
        "3": node("VAEEncode", pixels=["5", 0], vae=["20", 2]),
    }
    together = latent(host, parts(sampler("ddpm"), cfg=3.0, **batch))
    tiled = latent(host, parts(sampler("ddpm"), "25", cfg=3.0, **batch, **{"25": tiles(batch=2)}))
    close(together[:1], latent(host, parts(sampler("ddpm"), cfg=3.0)), 2e-5)
    close(tiled[:1], latent(host, parts(sampler("ddpm"), "25", cfg=3.0, **{"25": tiles()})), 2e-5)
    second = {**other, "3": node("VAEEncode", pixels=["4", 0], vae=["20", 2])}
    for made, more, model in ((together, {}, "24"), (tiled, {"25": tiles()}, "25")):
        graph = parts(sampler("ddpm"), model, cfg=3.0, **second, **more)
        graph["10"]["inputs"]["seed"] = SEED + 1
        close(made[1:], latent(host, graph), 2e-5)


def test_tiles_at_once_change_nothing(host):
    one, four = (
        latent(host, parts(sampler("ddpm"), "25", cfg=3.0, **{"25": tiles(batch=n)})) for n in (1, 4)
    )
    close(four, one)
    far(one, latent(host, parts(sampler("ddpm"), cfg=3.0)))


def test_it_does_not_matter_whether_tiles_come_before_or_after(host):
    after = latent(host, parts(sampler("ddim"), "25", cfg=3.0, **{"25": tiles()}))
    swapped = {"25": tiles("20"), "24": applied("25")}
    assert torch.equal(latent(host, parts(sampler("ddim"), cfg=3.0, **swapped)), after)


def test_prompts_for_areas_see_the_picture_below_them(host):
    width, height = SIDES
    whole = {
        "31": node(
            "ConditioningSetArea", conditioning=["26", 0], width=width, height=height, x=0, y=0, strength=1.0
        ),
        "26": prompt("sharp"),
    }
    plain = latent(host, parts(sampler("ddim"), cfg=3.0))
    close(
        latent(
            host,
            parts(
                sampler("ddim"),
                cfg=3.0,
                **{
                    **whole,
                    "21": node("ConditioningCombine", conditioning_1=["31", 0], conditioning_2=["31", 0]),
                },
            ),
        ),
        plain,
    )
    half = {
        "31": node(
            "ConditioningSetArea", conditioning=["26", 0], width=64, height=height, x=64, y=0, strength=1.0
        ),
        "26": prompt("other"),
    }
    both = {
        "21": node("ConditioningCombine", conditioning_1=["27", 0], conditioning_2=["31", 0]),
        "27": prompt("sharp"),
    }
    made = latent(host, parts(sampler("ddim"), cfg=3.0, **half, **both))
    assert made.isfinite().all()
    far(made, plain)


def test_loras_and_controlnets_work_alongside(host):
    lora = node("LoraLoaderModelOnly", model=["20", 0], lora_name="tiny.safetensors", strength_model=1.0)
    before = latent(host, parts(sampler("ddim"), **{"30": lora, "24": applied("30")}))
    after = latent(
        host, parts(sampler("ddim"), "30", **{"30": lora | {"inputs": lora["inputs"] | {"model": ["24", 0]}}})
    )
    plain = latent(host, parts(sampler("ddim")))
    assert torch.equal(before, after)
    far(before, plain)
    control = {
        "26": prompt("sharp"),
        "21": node("ProbeControl", conditioning=["26", 0], width=SIDES[0] // 8, height=SIDES[1] // 8),
    }
    far(latent(host, parts(sampler("ddim"), **control)), plain)
    assert torch.equal(latent(host, parts(sampler("ddim"), prefix="again")), plain)


def test_cancelling_leaves_the_model_clean(host):
    before = latent(host, ksampler(model="20", prefix="before"))
    prompt_id = host.start(ksampler("euler", steps=2000, seed=9))
    began = time.monotonic()
    while not host.get("/queue")["queue_running"] and time.monotonic() < began + 60:
        time.sleep(0.05)
    time.sleep(1)
    host.post("/interrupt", {})
    entry = host.wait(prompt_id)
    assert any(message[0] == "execution_interrupted" for message in entry["status"]["messages"]), host.error(
        entry
    )
    assert torch.equal(
        latent(host, ksampler(model="20", prefix="after cancel", **{"31": node("ProbeLoaded")})), before
    )


@pytest.mark.parametrize(("tile", "w"), [(0, 0.5), (64, 1.0), (0, 0.0), (64, 0.0)])
def test_cfw_decodes_as_the_library_does(host, models, lr, tile, w):
    canvas = F.interpolate(
        read(host.base / "input" / "example.png").pixels, SIDES[::-1], mode="bicubic"
    )  # as the host enlarges
    coder = Autoencoder(load_vae(models(BASE)), load_cfw(models(WRAP)), tile, 32)
    with torch.no_grad():
        expected = ((coder.decode(lr * SCALE, canvas * 2 - 1, w) + 1) / 2).clamp(0, 1)
    assert expected.std() > 0.02
    assert (result(host, decoded(tile=tile, w=w)).pixels - expected).abs().max() <= 1.01 / 255
    if not tile and not w:
        plain = node("VAEDecode", samples=["3", 0], vae=["20", 2])
        assert (result(host, decoded() | {"13": plain}).pixels - expected).abs().max() <= 1.01 / 255


def test_cfw_takes_a_small_image_of_the_same_shape_and_refuses_others(host):
    small = {
        "5": node("ImageScale", image=["1", 0], upscale_method="area", width=64, height=48, crop="disabled")
    }
    assert result(host, decoded(("5", 0), **small)).pixels.shape[-2:] == (96, 128)
    assert "give the image that was encoded" in failure(
        host, decoded(("5", 0), **{"5": {**small["5"], "inputs": {**small["5"]["inputs"], "width": 96}}})
    )


def corrected(host, method="adain", image=("2", 0), source=("4", 0), **more):
    source_node = {"4": node("ImageInvert", image=["1", 0])}
    fixed = node("PriorSRColourCorrection", image=list(image), source=list(source), method=method)
    graph = {"1": load(), "2": sd()["2"], **source_node, "13": fixed, "9": save(["13", 0], "colour"), **more}
    return result(host, graph)


@pytest.mark.parametrize("method", ["adain", "wavelet"])
def test_colours_come_from_the_source_and_alpha_stays(host, method):
    made = corrected(host, method).pixels
    inverted = F.interpolate(
        1 - result(host, {"1": load(), "9": save(["1", 0], "plain")}).pixels, (96, 128), mode="bilinear"
    )
    assert ((made.mean((2, 3)) - inverted.mean((2, 3))).abs() < 0.05).all()
    alpha = {"5": load("alpha.png"), "6": node("JoinImageWithAlpha", image=["5", 0], alpha=["5", 1])}
    assert corrected(host, method, ("6", 0), **alpha).alpha is not None


def cleaned(**inputs):
    made = node("PriorSRPreClean", image=["1", 0], reduction=2.0, **inputs)
    return {"1": load(), "2": sd()["2"], "13": made, "9": save(["13", 0], "clean")}


def test_pre_clean_reduces_what_another_model_restored(host):
    assert result(host, cleaned(cleaned=["2", 0])).pixels.shape[-2:] == (48, 64)
    made = result(host, cleaned(upscale_model=["5", 0]) | {"5": node("ProbeUpscaleModel")}).pixels
    assert made.shape[-2:] == (190, 242)
    assert (
        made.mean((2, 3)) - result(host, cleaned() | {"9": save(["1", 0], "plain")}).pixels.mean((2, 3))
    ).abs().max() < 0.01
    assert "either" in failure(host, cleaned())


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"guidance": 3.0, "sampler": "ddim", "color": "wavelet"},
        {"sampler": "ddim-released", "fidelity": 0.0},
    ],
)
def test_one_node_is_the_library(host, definitions, models, change):
    small = read(host.base / "input" / "example.png").pixels
    settings = StableSRSettings(
        steps=STEPS, tile=64, overlap=32, tile_batch=2, vae_tile=64, vae_overlap=32, **change
    )
    model = load_stablesr(models(LAYERS), models(BASE), models(WRAP))
    with torch.no_grad():
        negative = tokens("blurry") if settings.guidance != 1 else None
        expected = stablesr_upscale(model, small, 1.25, tokens("sharp"), settings, negative, [SEED])
    made = result(host, one_node(definitions, **change)).pixels
    assert made.shape == expected.shape
    assert (made - expected).abs().max() <= 1.6 / 255


def test_the_one_node_is_held_to_a_reference_as_the_library_is(host, definitions, models):
    small = read(host.base / "input" / "example.png").pixels
    settings = StableSRSettings(steps=12, tile=64, overlap=32, tile_batch=2, vae_tile=64, vae_overlap=32)
    model = load_stablesr(models(LAYERS), models(BASE), models(WRAP))
    flipped = resize(small.flip(-1), (121, 95)).clamp(0, 1)  # of another size than the result
    with torch.no_grad():
        expected = stablesr_upscale(
            model, small, 1.25, tokens("sharp"), settings, seeds=[SEED], reference=lambda low, scale: flipped
        )
    mirrored = {
        "51": node("ImageFlip", image=["1", 0], flip_method="y-axis: horizontally"),
    }
    made = result(host, one_node(definitions, steps=12, reference=["51", 0]) | mirrored).pixels
    plain = result(host, one_node(definitions, steps=12)).pixels
    assert (made - expected).abs().max() <= 3 / 255
    far(made, plain)


def test_one_node_takes_alpha_batches_grey_and_a_longest_side(host, definitions):
    graph = one_node(definitions, image=("5", 0), longest=150) | {
        "4": load("alpha.png"),
        "5": node("JoinImageWithAlpha", image=["4", 0], alpha=["4", 1]),
        "15": node("PreviewAny", source=["13", 1]),
    }
    outputs = host.run(graph)
    picture = read(host.image(outputs["9"]["images"][0]))
    assert max(picture.pixels.shape[-2:]) == 150
    assert picture.alpha is not None
    assert "ddpm, 4 steps" in outputs["15"]["text"][0]
    batch = host.run(
        one_node(definitions, image=("5", 0), vary=False) | {"5": node("ProbeImages", count=2, channels=1)}
    )["9"]["images"]
    alone = host.run(
        one_node(definitions, image=("6", 0))
        | {
            "5": node("ProbeImages", count=2, channels=1),
            "6": node("ImageFromBatch", image=["5", 0], batch_index=1, length=1),
        }
    )
    assert len(batch) == 2
    assert torch.equal(read(host.image(batch[1])).pixels, read(host.image(alone["9"]["images"][0])).pixels)


def warned(host, definitions, name):
    graph = one_node(definitions, wrap=False, steps=1) | {
        "23": node("PriorSRLoadStableSR", stablesr=name),
        "15": node("PreviewAny", source=["13", 1]),
    }
    return host.run(graph)["15"]["text"][0]


def test_what_no_file_tells_is_warned_of(host, definitions):
    assert "webui_768v_139.ckpt is for one that predicts v" in warned(
        host, definitions, "webui_768v_139.ckpt"
    )
    plain = warned(host, definitions, LAYERS)
    assert "predicts" not in plain
    assert "no CFW is connected" in plain


KARRAS = node("BasicScheduler", model=["20", 0], scheduler="karras", steps=4, denoise=1.0)
WRONG = {
    "another model": (
        {"24": applied("30"), "30": node("ProbeModel", kind="unet", conditions="", side=8)},
        "do not fit this model",
    ),
    "twice": ({"24": applied("30"), "30": applied()}, "already"),
    "a prior's file": (
        {"23": node("PriorSRLoadStableSR", stablesr="tiny_adm.safetensors")},
        "of another kind (ADM prior: prior of DPS, Diff-SR, DPI and guided sampling); choose a file that "
        "holds full StableSR or StableSR layer weights",
    ),
    "a CFW file": (
        {"23": node("PriorSRLoadStableSR", stablesr=WRAP)},
        "of another kind (StableSR CFW: StableSR's feature wrapping, in its autoencoder); choose a file that "
        "holds full StableSR or StableSR layer weights",
    ),
    "no weights": ({"23": node("PriorSRLoadStableSR", stablesr="broken.safetensors")}, "cannot read"),
    "another shape": (empty(96, 96), "enlarge the picture to the size"),
    "another count": (empty(128, 96, 3), "3 low-resolution latents for 1 samples"),
    "overlap": ({"24": tiles("20", 8, 8)}, "overlap of 8"),
    "released ddim elsewhere": (
        {"11": sampler("ddim_released", eta=0.0), "7": KARRAS},
        "Sigmas by Respacing",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_of_the_parts_are_told_before_sampling(host, case):
    change, words = WRONG[case]
    assert words in failure(host, parts(sampler("ddim")) | change)


def test_mistakes_around_the_decoder_are_told(host):
    pixel_space = {"30": node("VAELoader", vae_name="pixel_space")}
    graph = decoded(**pixel_space)
    graph["13"]["inputs"]["vae"] = ["30", 0]
    assert "autoencoder of Stable Diffusion 2.1" in failure(host, graph)
    assert "choose a file that holds StableSR CFW weights" in failure(
        host, decoded(**{"26": node("PriorSRLoadCFW", cfw=LAYERS)})
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tiles.overlap": 64}, "overlap"),
        ({"tiles.tile": 60}, "multiples of 8"),
        ({"vae_tile": 100}, "multiples of 8"),
        ({"longest": 20}, "choose a length within"),
        ({"sampler": "ddim-released", "steps": 1}, "cannot take 1 steps"),
    ],
)
def test_mistakes_of_the_one_node_are_told(host, definitions, change, words):
    assert words in failure(host, one_node(definitions, **change))


def test_no_pictures_at_all(host, definitions):
    assert "no pixels" in failure(
        host, one_node(definitions, image=("5", 0)) | {"5": node("ProbeImages", count=0, channels=3)}
    )


REPLACED = {"CheckpointLoaderSimple": "ProbeStableDiffusion", "CLIPTextEncode": "ProbePrompt"}


@pytest.mark.parametrize(
    "path", sorted((PACK / "example_workflows").glob("stablesr*.json")), ids=lambda p: p.stem
)
def test_example_workflows_run_on_the_tiny_checkpoint(host, definitions, path):
    graph = to_graph(json.loads(path.read_text(encoding="utf-8")), definitions)
    for made in graph.values():
        made["class_type"] = REPLACED.get(made["class_type"], made["class_type"])
        few = {"steps": 2, "respacing": "2", "width": 128, "height": 96, "lora_name": "tiny.safetensors"}
        few |= {"size": 128} if made["class_type"] == "PriorSRCropFaces" else {}
        few |= {"image": "portrait.png"} if made["class_type"] == "LoadImage" and "faces" in path.stem else {}
        made["inputs"] |= {key: value for key, value in few.items() if key in made["inputs"]}
    images = [image for output in host.run(graph, timeout=600).values() for image in output.get("images", [])]
    assert images
    assert all(read(host.image(image)).pixels.std() > 0.01 for image in images)
    assert path.with_suffix(".jpg").exists()


def test_a_region_limits_stablesr(host, definitions):
    """The left half of example.png, of 121 x 95 pixels; beyond it the picture is Bicubic Upscale's."""
    half = {
        "50": node("SolidMask", value=0.0, width=60, height=48),
        "51": node("SolidMask", value=1.0, width=30, height=48),
        "52": node("MaskComposite", destination=["50", 0], source=["51", 0], x=0, y=0, operation="add"),
    }
    graph = one_node(definitions, steps=1, region=["52", 0], feather=2.0) | half
    plain = defaults(definitions, "PriorSRUpscaleBicubic", image=["1", 0], scale=1.25)
    graph |= {"53": plain, "54": save(["53", 0], "plain")}
    outputs = host.run(graph)
    made, plain = (read(host.image(outputs[key]["images"][0])).pixels for key in ("9", "54"))
    edge, reach = made.shape[-1] // 2, 8
    assert torch.equal(made[..., edge + reach :], plain[..., edge + reach :])
    assert (made - plain)[..., : edge - reach].abs().max() > 0.05
