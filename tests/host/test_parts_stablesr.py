"""StableSR as a patch of a MODEL in real graphs, on a tiny checkpoint in the form of Stable Diffusion 2.1."""

from __future__ import annotations

import time

import pytest
import torch
from graphs import failure, latent, node, sampler, saved
from stablesr_graphs import (
    BASE,
    LAYERS,
    OTHER,
    SEED,
    SIDES,
    STEPS,
    WRAP,
    applied,
    close,
    empty,
    far,
    ksampler,
    parts,
    prompt,
    tiles,
    tokens,
)

from priorsr.methods.priors.adm import ADMPrior
from priorsr.methods.stablesr.autoencoder import SCALE
from priorsr.methods.stablesr.levels import CHAIN
from priorsr.methods.stablesr.load import load_layers, load_unet
from priorsr.methods.stablesr.method import StableSRSettings, sample
from priorsr.methods.stablesr.prior import CONTEXT, LR, modulated
from priorsr.samplers.denoiser import Cond
from priorsr.samplers.noise import Noise

pytestmark = pytest.mark.host


class Draws:
    """The start's noise, then that of the steps, as the parts draw them."""

    def __init__(self, seed):
        self.first, self.later = Noise([seed]), Noise([seed]).child("transition")

    def __call__(self, shape):
        drawn, self.first = (self.first or self.later)(shape), None
        return drawn


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
