"""Parts of sampling graphs, and our loop with them on a MODEL of ours."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from priorsr.methods.graph import standin

TRANSITIONS = [
    {"transition": "ddpm", "transition.variance": "large"},
    {"transition": "ddim", "transition.eta": 1.0},
    {"transition": "renoise"},
    {"transition": "euler"},
    {"transition": "heun", "transition.churn": 2.0},
    {"transition": "dpmpp_2m"},
    {"transition": "reverse_diffusion", "transition.corrections": 1},
    {"transition": "euler_maruyama"},
]
CLASSIFIERS = ("tiny_happy.safetensors", "tiny_gender.safetensors")


@pytest.fixture(scope="module")
def prior(pack):
    return pack.run("LoadPixelPrior", prior="tiny_adm.safetensors")[0]


@pytest.fixture(scope="module")
def face(pack):
    return pack.run("LoadShippedPrior", prior="face64")[0]


@pytest.fixture(scope="module")
def classifiers(pack):
    first = pack.run("LoadAttributeClassifier", classifier=CLASSIFIERS[0])[0]
    return pack.run("LoadAttributeClassifier", classifier=CLASSIFIERS[1], classifiers=first)[0]


def sampled(model, sampler, sigmas, x, seed: int = 5, moves=None):
    """What the host's guider does with a SAMPLER and a MODEL, from noise `x` in the MODEL's units."""

    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            wrapped = SimpleNamespace(loaded_models=[], model_patcher=model, inner_model=model.model)
            self.__dict__["inner_model"] = wrapped

        def forward(self, x, sigma, **arguments):
            call = model.model._apply_model
            for cut in model.get_wrappers("APPLY_MODEL", "priorsr_tiles"):
                return cut(call, x, sigma)
            return call(x, sigma)

    model.model.memory_required = lambda shape: 0
    callback = None if moves is None else lambda told: moves.append(told["i"])
    with torch.inference_mode():
        arguments = {"seed": seed, "model_options": {"transformer_options": {}}}
        return sampler.sampler_function(Inner(), x, sigmas, arguments, callback)


@pytest.fixture
def start():
    return torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 10


@pytest.mark.parametrize("transition", TRANSITIONS, ids=lambda t: t["transition"])
def test_our_loop_samples_a_prior_and_repeats(pack, prior, start, transition):
    (sigmas,) = pack.run("SigmasByRespacing", model=prior, respacing="4")
    (sampler,) = pack.run("Sampler", **transition)
    moves = []
    done = sampled(prior, sampler, sigmas, start, moves=moves)
    assert done.shape == start.shape
    assert moves == list(range(4))
    assert torch.equal(done, sampled(prior, sampler, sigmas, start))
    assert done.abs().max() < start.abs().max()


def test_cancel_stops_our_loop(pack, prior, start):
    (sigmas,) = pack.run("SigmasByRespacing", model=prior, respacing="4")
    (sampler,) = pack.run("Sampler", transition="euler")
    pack.host.cancelling = True
    moves = []
    with pytest.raises(standin.Cancelled):
        sampled(prior, sampler, sigmas, start, moves=moves)
    assert not moves


def test_a_measurement_pulls_samples_towards_it(pack, start):
    prior = pack.run("LoadPixelPrior", prior="tiny_adm.safetensors", clip=False, target="v")[0]
    (sigmas,) = pack.run("SigmasByRespacing", model=prior, respacing="6")
    low = torch.rand(1, 4, 4, 3, generator=torch.Generator().manual_seed(1))
    distances = {}
    for name, guide, settings in (
        ("none", None, {}),
        ("measurement", "GuideMeasurement", {"scale": 15.0}),
        ("consistency", "GuideConsistency", {"model": prior}),
    ):
        guidance = {} if guide is None else {"guidance": pack.run(guide, image=low, **settings)[0]}
        (sampler,) = pack.run("Sampler", transition="ddim", **guidance)
        done = sampled(prior, sampler, sigmas, start)
        reduced = torch.nn.functional.interpolate(done, (4, 4), mode="bicubic", antialias=True)
        distances[name] = (reduced - (low.movedim(-1, 1) * 2 - 1)).pow(2).mean().item()
    assert distances["measurement"] < 0.9 * distances["none"]
    assert distances["consistency"] < 0.1 * distances["none"]


def test_a_luma_prior_is_guided_by_the_luma_of_pictures(pack, face, photograph):
    low = photograph[:, 32:64, 32:64]
    (sigmas,) = pack.run("SigmasByRespacing", model=face, respacing="8")
    start = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * float(sigmas[0])
    grey = (low @ torch.tensor([0.299, 0.587, 0.114])) * 2 - 1
    distances = []
    for hooks in ((), pack.run("GuideMeasurement", image=low, scale=5.0)[0]):
        (sampler,) = pack.run("Sampler", transition="ddim", guidance=hooks)
        done = sampled(face, sampler, sigmas, start)
        reduced = torch.nn.functional.interpolate(done, (32, 32), mode="bicubic", antialias=True)
        distances.append((reduced[:, 0] - grey).pow(2).mean().item())
    assert distances[1] < 0.5 * distances[0]


def test_classes_and_limits_change_samples(pack, start):
    prior = pack.run("LoadPixelPrior", prior="tiny_adm.safetensors", clip=False, target="v")[0]
    (classifier,) = pack.run("LoadNoiseClassifier", classifier="tiny_classifier.safetensors")
    (sigmas,) = pack.run("SigmasByRespacing", model=prior, respacing="4")
    guides = {
        "none": (),
        "class": pack.run("GuideClassifier", classifier=classifier, label=1, scale=50.0)[0],
        "range": pack.run("GuideClip", limit="range", **{"limit.low": -0.1, "limit.high": 0.1})[0],
    }
    done = {}
    for name, guidance in guides.items():
        (sampler,) = pack.run("Sampler", transition="ddim", guidance=guidance)
        done[name] = sampled(prior, sampler, sigmas, start)
    assert len({x.numpy().tobytes() for x in done.values()}) == 3
    assert done["range"].abs().max() <= 0.1 + 1e-6
    loud = start * 1e4  # of which the prior predicts pictures beyond -1..1
    dynamic = pack.run("GuideClip", limit="dynamic", **{"limit.percentile": 0.6})[0]
    shrunk = sampled(prior, pack.run("Sampler", transition="ddim", guidance=dynamic)[0], sigmas, loud)
    assert shrunk.abs().max() <= 1 + 1e-6
    assert sampled(prior, pack.run("Sampler", transition="ddim")[0], sigmas, loud).abs().max() > 1.5
    chained = pack.run("GuideClip", limit="range", guidance=guides["class"])[0]
    assert len(chained) == 2
    assert chained[0] is guides["class"][0]


def test_attributes_pull_samples_and_are_read_out(pack, face, classifiers):
    asked = {"classifiers": classifiers, "attributes": "happy=1", "view": "exact", "h": 500.0}
    guidance, meaning = pack.run("GuideAttributes", **asked)
    assert meaning.startswith("happy: happy (of 0 neutral, 1 happy)")
    (sigmas,) = pack.run("SigmasByRespacing", model=face, respacing="4")
    start = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * float(sigmas[0])
    happy = []
    for hooks in ((), guidance):
        (sampler,) = pack.run("Sampler", transition="ddim", guidance=hooks)
        (picture,) = pack.run("PixelLatentToImage", latent={"samples": sampled(face, sampler, sigmas, start)})
        text, numbers = pack.run("ReadAttributes", classifiers=classifiers, image=picture)
        assert len(numbers) == 4
        assert numbers[0] + numbers[1] == pytest.approx(1, abs=1e-5)
        assert [line.split(": ")[1] for line in text.splitlines()] == ["happy", "gender"]
        happy.append(numbers[1])
    assert happy[1] > happy[0]


def test_attributes_that_cannot_be_are_explained(pack, classifiers):
    with pytest.raises(ValueError, match="no attribute is wished for"):
        pack.run("GuideAttributes", classifiers=classifiers)
    with pytest.raises(ValueError, match="smile"):
        pack.run("GuideAttributes", classifiers=classifiers, attributes="smile=1")
    with pytest.raises(ValueError, match="happy"):
        pack.run("LoadAttributeClassifier", classifier=CLASSIFIERS[0], classifiers=classifiers)
    guidance, meaning = pack.run("GuideAttributes", classifiers=classifiers, attributes="gender=male", h=0.0)
    assert guidance == ()
    assert meaning.startswith("gender: male")


def test_respacing_keeps_training_steps(pack, prior):
    (every,) = pack.run("SigmasByRespacing", model=prior, respacing="")
    (some,) = pack.run("SigmasByRespacing", model=prior, respacing="ddim25")
    (late,) = pack.run("SigmasByRespacing", model=prior, respacing="ddim25", start=3)
    assert len(some) == 26
    assert some[-1] == 0
    assert torch.isin(some[:-1], every).all()
    assert torch.equal(late, some[-5:])
    assert (some.diff() < 0).all()
    with pytest.raises(ValueError, match="cannot start at step 99"):
        pack.run("SigmasByRespacing", model=prior, respacing="ddim25", start=99)
    edm = pack.run("LoadPixelPrior", prior="tiny_edm.safetensors")[0]
    with pytest.raises(ValueError, match="not trained in steps"):
        pack.run("SigmasByRespacing", model=edm)


@pytest.mark.parametrize("aim", ["fidelity", "detail"])
def test_the_field_chooses_a_noise_level(pack, face, photograph, aim):
    small = photograph[:, 32:64, 32:64]
    sigmas, level, plot = pack.run("RecoverableField", model=face, image=small, scale=2.0, steps=5, aim=aim)
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()
    assert 0 < level < 100
    assert plot.std() > 0.01
    _, by_hand, _ = pack.run("RecoverableField", model=face, image=small, scale=2.0, level=40.0)
    assert by_hand == pytest.approx(40, abs=0.2)
    harder = pack.run("RecoverableField", model=face, image=small, scale=8.0, aim=aim)[1]
    assert harder > level


def test_tiles_do_what_the_whole_does(pack, prior):
    wide = torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 10
    (sigmas,) = pack.run("SigmasByRespacing", model=prior, respacing="2")
    (sampler,) = pack.run("Sampler", transition="euler")
    for tiles in ({"tiles": "auto"}, {"tiles": "manual", "tiles.tile": 16, "tiles.overlap": 8}):
        (tiled,) = pack.run("TiledDenoiser", model=prior, **tiles)
        done = sampled(tiled, sampler, sigmas, wide)
        # a prior that answers 0 sees each pixel by itself, so that tiles make no difference
        torch.testing.assert_close(done, sampled(prior, sampler, sigmas, wide), rtol=0, atol=1e-4)
    assert not prior.get_wrappers("APPLY_MODEL", "priorsr_tiles")
    with pytest.raises(ValueError, match="unknown tiles"):
        pack.run("TiledDenoiser", model=prior, tiles="nonsense")


def test_pictures_become_latents_and_come_back(pack, face, prior, patch):
    (latent,) = pack.run("ImageToPixelLatent", model=face, image=patch)
    assert latent["samples"].shape[:2] == (2, 1)
    assert all(side % 8 == 0 for side in latent["samples"].shape[2:])
    back = pack.image("PixelLatentToImage", latent=latent, like=patch)
    torch.testing.assert_close(back, patch, rtol=0, atol=1e-2)
    (plain,) = pack.run("ImageToPixelLatent", model=prior, image=patch)
    assert plain["samples"].shape[1] == 3
    cut = pack.image("PixelLatentToImage", latent=plain)[:, :15, :11]
    torch.testing.assert_close(cut, patch[..., :3], rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="smaller than like's"):
        pack.run("PixelLatentToImage", latent={"samples": plain["samples"][..., :8, :8]}, like=patch)
    with pytest.raises(ValueError, match="is not of a pixel prior"):
        pack.run("PixelLatentToImage", latent={"samples": torch.zeros(1, 4, 8, 8)})
    with pytest.raises(ValueError, match="cannot colour 1 samples"):
        pack.run("PixelLatentToImage", latent={"samples": plain["samples"][:1]}, like=patch)


def test_dpi_conditions_hold_samples_to_a_grid(pack, face, photograph):
    low = photograph[:, 40:56, 50:66]
    (corrector,) = pack.run("LoadCorrector", corrector="dpi_x4")
    (sigmas,) = pack.run("SigmasByRespacing", model=face, respacing="3")
    start = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * float(sigmas[0])
    done = {}
    for name, given in (
        ("none", None),
        ("held", {}),
        ("corrected", {"corrector": corrector, "preset": "x4"}),
    ):
        hooks = () if given is None else pack.run("GuideDPI", model=face, image=low, **given)[0]
        (sampler,) = pack.run("Sampler", transition="ddim", guidance=hooks)
        sample = sampled(face, sampler, sigmas, start)
        grey = low.mean(-1) * 2 - 1
        reduced = torch.nn.functional.interpolate(sample, (16, 16), mode="bicubic", antialias=True)
        done[name] = (reduced[:, 0] - grey).pow(2).mean().item()
    assert done["held"] < 0.5 * done["none"]
    assert done["corrected"] < 0.5 * done["none"]
    assert done["held"] != done["corrected"]


def test_masks_of_dpi_are_a_grid_and_a_draw_of_it(pack, photograph):
    low = photograph[:, 40:56, 50:66].expand(2, -1, -1, -1)
    fixed, chance, adaptive, preview = pack.run("DPIMasks", image=low, k=2, seed=3)
    assert fixed.shape[1:] == chance.shape[1:] == adaptive.shape[1:] == (64, 64)
    assert fixed.mean() == pytest.approx(0.25)
    assert (adaptive <= fixed).all()
    assert 0 < adaptive.sum() < fixed.sum() * len(adaptive)
    assert torch.equal(adaptive[0], adaptive[1])
    assert preview.shape[0] == 2


def test_conditions_of_a_prior_say_what_it_is_told(pack, patch):
    ((_, told),) = pack.run("ConditionPixelPrior", label=3, low_resolution=patch)[0]
    assert told["label"] == 3
    torch.testing.assert_close(told["low_res"], patch[..., :3].movedim(-1, 1) * 2 - 1)
    assert "low_res" not in pack.run("ConditionPixelPrior")[0][0][1]


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("Sampler", {"transition": "nonsense"}, "unknown transition"),
        ("GuideClip", {"limit": "nonsense"}, "unknown limit"),
        ("GuideClip", {"limit": "range", "limit.low": 1.0, "limit.high": 0.0}, "holds nothing"),
        ("LoadPixelPrior", {"prior": "broken.safetensors"}, "broken.safetensors"),
        ("LoadNoiseClassifier", {"classifier": "tiny_adm.safetensors"}, "classifier"),
        ("LoadCorrector", {"corrector": "tiny_adm.safetensors"}, "corrector"),
    ],
)
def test_mistakes_are_explained(pack, name, given, words):
    with pytest.raises(ValueError, match=words):
        pack.run(name, **given)
