"""StableSR as a method: levels and starts, prompts, references, the autoencoder, pictures of any size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from fill import tensor
from stablesr_tiny import context, tiny
from torch import nn

from priorsr.methods.nets.sd_vae import VAEConfig
from priorsr.methods.stablesr.autoencoder import SCALE, Autoencoder
from priorsr.methods.stablesr.levels import CHAIN, index_of, levels_of, released_ddim, start, start_mode
from priorsr.methods.stablesr.method import StableSRSettings, restore, stablesr_upscale
from priorsr.methods.stablesr.pre_clean import pre_clean
from priorsr.methods.stablesr.prior import CONTEXT, LR, Reference, diffusion_prior, modulated
from priorsr.samplers.denoiser import Cond, Prediction, from_x0
from priorsr.samplers.guidance.cfg import CFG
from priorsr.samplers.noise import Noise
from priorsr.samplers.schedule import CLEAN, Level, respaced

FEW = StableSRSettings(steps=2, tile=32, overlap=16, vae_tile=32, vae_overlap=16)


class Stub(nn.Module):
    """An autoencoder of pixel-wise means and repetition, that notes what it is given."""

    config = VAEConfig()

    def __init__(self):
        super().__init__()
        self.sides = []

    def encode(self, image):
        self.sides.append(max(image.shape[-2:]))
        mean = F.avg_pool2d(image[:, [0, 1, 2, 0]], 8)
        return torch.cat([mean, mean * 0 - 3], 1)

    def decode(self, z):
        self.sides.append(8 * max(z.shape[-2:]))
        return F.interpolate(z[:, :3], scale_factor=8.0)


def test_respacing_sums_its_stride_as_published():
    assert respaced(1000, 8) == [0, 143, 285, 428, 571, 714, 856, 999]
    assert respaced(1000, 1) == [0]
    assert respaced(1000, 21)[10] == 499  # 49.95 added up ten times is a little less than 499.5


def test_the_released_ddim_hears_other_times_than_its_alphas():
    levels = released_ddim(50)
    assert (levels[0].t, levels[0].alpha) == (999, CHAIN.table[980].alpha)
    assert (levels[-1].t, levels[-1].sigma) == (0, CHAIN.table[0].sigma)
    assert len(levels) == 50
    assert len(released_ddim(7)) == 7  # whose table has 8
    assert levels_of("ddim", 50)[0] == CHAIN.table[999]
    for steps in (1, 1001):
        with pytest.raises(ValueError, match="2 to 1000"):
            released_ddim(steps)


def test_starts():
    lr = tensor("lr", (2, 4, 5, 6))
    assert torch.equal(start("noise", lr, Noise([1, 2])), Noise([1, 2])(lr.shape))
    kept = start("lr", lr, Noise([1, 2])) - start("lr", torch.zeros_like(lr), Noise([1, 2]))
    torch.testing.assert_close(kept, 0.06826 * lr, rtol=1e-3, atol=1e-6)
    assert [start_mode("auto", True), start_mode("auto", False), start_mode("noise", True)] == [
        "lr",
        "noise",
        "noise",
    ]


def test_one_encoder_call_serves_both_prompts():
    model, calls = tiny(), []
    handle = model.layers.encoder.register_forward_hook(
        lambda module, inputs, output: calls.append(len(inputs[0]))
    )
    x, level = tensor("x", (2, 4, 8, 8)), CHAIN.table[600]
    positive, negative = context(2), context(1, "negative")
    cond = Cond({LR: tensor("lr", (2, 4, 8, 8))}, {CONTEXT: positive})
    guided = modulated(model.prior, model.layers, negative, 2.5)(x, level, cond)
    handle.remove()
    assert calls == [2]
    alone = modulated(model.prior, model.layers)
    plus, minus = (
        alone(x, level, Cond(cond.spatial, {CONTEXT: c})) for c in (positive, negative.expand(2, -1, -1))
    )
    torch.testing.assert_close(guided.eps, minus.eps + 2.5 * (plus.eps - minus.eps), rtol=1e-3, atol=1e-4)


def test_a_condition_of_one_serves_a_batch():
    wide = Cond({"a": torch.zeros(1, 2, 3, 3)}, {"b": torch.zeros(4, 5)}).expand(4)
    assert (wide.spatial["a"].shape, wide.flat["b"].shape) == ((4, 2, 3, 3), (4, 5))

    def first(x, level, cond):
        return Prediction(x * cond.flat["c"].view(-1, 1, 1, 1), x)

    x = torch.ones(2, 1, 2, 2)
    assert CFG(first, Cond(flat={"c": torch.zeros(1)}), 3.0)(
        x, CLEAN, Cond(flat={"c": torch.ones(2)})
    ).x0.unique().tolist() == [3.0]


def test_the_released_reference_replaces_predictions_until_the_last_steps():
    levels, reference = CHAIN.respace(20).levels(), tensor("reference", (1, 4, 3, 3))
    hook, x = Reference(reference), tensor("x", (1, 4, 3, 3))
    hook.begin(x, levels)
    pred = from_x0(x, levels[0], x * 0.1)
    for i in (19, 10):
        torch.testing.assert_close(hook.predict(x, levels[19 - i], pred).x0, reference)
    assert hook.predict(x, levels[10], pred) is pred
    assert [index_of(level, levels) for level in levels[:-1]] == list(range(19, -1, -1))
    partly = Reference(reference.expand(2, -1, -1, -1), 0.25, 1, 0, shared=True)
    partly.begin(x.expand(2, -1, -1, -1), levels)
    torch.testing.assert_close(
        partly.predict(x, levels[0], pred).x0, pred.x0 + 0.25 * (reference - pred.x0).expand(2, -1, -1, -1)
    )
    with pytest.raises(ValueError, match="does not fit"):
        Reference(reference).begin(x[..., :2], levels)


def test_v_and_eps_are_told_apart_by_the_target():
    x, level = tensor("x", (1, 4, 4, 4)), CHAIN.table[700]
    v = diffusion_prior(lambda x, t: 0.3 * x, "v")(x, level)
    torch.testing.assert_close(v.x0, (level.alpha - 0.3 * level.sigma) * x)
    with pytest.raises(ValueError, match="eps, x0, v"):
        diffusion_prior(None, "w")


@pytest.mark.parametrize("size", [(1, 3, 96, 64), (2, 3, 40, 200)])
def test_the_autoencoder_works_in_bounded_memory(size):
    image, stub = tensor("image", size), Stub()
    small, whole = Autoencoder(stub, tile=48, overlap=16), Autoencoder(Stub())
    z = small.encode(image)
    torch.testing.assert_close(z, whole.encode(image), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(small.decode(z), whole.decode(z), rtol=1e-4, atol=1e-4)
    assert max(stub.sides) == 48
    drawn = small.encode(image, Noise([0] * size[0])) - z
    torch.testing.assert_close(
        drawn, SCALE * torch.exp(torch.tensor(-1.5)) * Noise([0] * size[0])(z.shape), rtol=1e-3, atol=1e-5
    )


def test_wrapped_decoding_sees_tiles_of_picture_and_latent():
    model, sides = tiny(), []
    image, z = tensor("image", (2, 3, 64, 40)) * 0.5, tensor("z", (2, 4, 8, 5))
    note = lambda module, inputs: sides.append(tuple(inputs[0].shape))  # noqa: E731
    handles = [part.register_forward_pre_hook(note) for part in (model.vae.encoder, model.vae.decoder)]
    tiled = Autoencoder(model.vae, model.cfw, 32, 16).decode(z, image, 0.7)
    for handle in handles:
        handle.remove()
    assert tiled.shape == image.shape
    assert torch.isfinite(tiled).all()
    assert set(sides) == {(2, 3, 32, 32), (2, 4, 4, 4)}
    whole = Autoencoder(model.vae, model.cfw)
    torch.testing.assert_close(
        Autoencoder(model.vae, model.cfw, 64, 16).decode(z, image, 0.7), whole.decode(z, image, 0.7)
    )
    assert not torch.allclose(whole.decode(z, image, 0.7), whole.decode(z))
    corner = whole.decode(z[..., :4, :4], image[..., :32, :32], 0.7)[..., 0, 0]
    torch.testing.assert_close(tiled[..., 0, 0], corner, rtol=1e-3, atol=1e-4)  # only one tile reaches there


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Autoencoder(Stub(), tile=30), "multiples of 8"),
        (lambda: Autoencoder(Stub(), tile=32, overlap=32), "the overlap smaller"),
        (
            lambda: Autoencoder(Stub()).decode(torch.zeros(1, 4, 2, 2), torch.zeros(1, 3, 16, 16), 0.5),
            "needs CFW",
        ),
        (
            lambda: Autoencoder(tiny().vae, tiny().cfw).decode(
                torch.zeros(1, 4, 2, 2), torch.zeros(1, 3, 16, 8), 0.5
            ),
            "give the enlarged input",
        ),
        (lambda: StableSRSettings(overlap=512), "the overlap smaller"),
        (lambda: StableSRSettings(tile=100), "multiples of 8"),
        (lambda: StableSRSettings(steps=0), "steps 0 is outside"),
        (lambda: StableSRSettings(steps=1, sampler="ddim-released"), "2 to 1000"),
        (lambda: StableSRSettings(color="grey"), "none, adain, wavelet"),
        (lambda: modulated(tiny().prior, tiny().layers, None, 3.0), "needs a negative prompt"),
        (lambda: modulated(tiny().prior, tiny().layers, context(2), 3.0), "one for all pictures"),
        (
            lambda: modulated(tiny().prior, tiny().layers)(torch.zeros(1, 4, 8, 8), Level(1, 1, 1), Cond()),
            "spatial condition 'lr'",
        ),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": replace(tiny(), cfw=None)}, "a fidelity weight of 0.5 needs CFW"),
        ({"canvas": torch.zeros(1, 3, 32, 40)}, "multiples of 16"),
        ({"context": context(3)}, "a prompt for 1 pictures"),
        ({"settings": replace(FEW, tile=24)}, "pieces of 24 pixels do not fit"),
        ({"settings": replace(FEW, guidance=2.0)}, "needs a negative prompt"),
    ],
)
def test_what_cannot_be_restored_is_told_before_the_first_step(change, message):
    arguments = {"model": tiny(), "canvas": torch.zeros(1, 3, 32, 48), "context": context(), "settings": FEW}
    steps = []
    with pytest.raises(ValueError, match=message):
        restore(**{**arguments, **change}, on_step=lambda step, x: steps.append(step))
    assert steps == []


@pytest.mark.parametrize(("shape", "scale"), [((1, 3, 10, 13), 2), ((1, 1, 20, 33), 1.5)])
def test_pictures_of_any_size_and_channels(shape, scale):
    low = 0.5 + 0.1 * tensor("low", shape)
    out = stablesr_upscale(tiny(), low, scale, context(), FEW)
    assert out.shape == (*shape[:2], *(-(-round(n * scale * 10) // 10) for n in shape[2:]))
    assert torch.isfinite(out).all()
    assert 0 <= out.min() <= out.max() <= 1


def test_a_picture_does_not_depend_on_its_batch():
    low = 0.5 + 0.1 * tensor("low", (2, 3, 16, 20))
    together = stablesr_upscale(tiny(), low, 2, context(), FEW, seeds=[7, 8])
    alone = stablesr_upscale(tiny(), low[1:], 2, context(), replace(FEW, tile_batch=2), seeds=[8])
    torch.testing.assert_close(together[1:], alone, rtol=1e-2, atol=2e-3)
    assert not torch.allclose(
        stablesr_upscale(tiny(), low[1:], 2, context(), FEW, seeds=[9]), alone, atol=1e-2
    )


def test_a_cleaned_picture_is_reduced_before_it_is_enlarged():
    low = 0.5 + 0.1 * tensor("low", (1, 3, 8, 9))
    cleaned = pre_clean(low, lambda x: F.interpolate(x, scale_factor=4.0))
    assert cleaned.shape == (1, 3, 16, 18)
    flat = pre_clean(torch.full((1, 3, 6, 6), 0.4), lambda x: x)
    torch.testing.assert_close(flat, torch.full((1, 3, 3, 3), 0.4))
    seen = []
    out = stablesr_upscale(
        tiny(),
        low,
        4,
        context(),
        FEW,
        clean=lambda x: seen.append(x.shape) or F.interpolate(x, scale_factor=4.0),
    )
    assert (out.shape, seen) == ((1, 3, 32, 36), [(1, 3, 8, 9)])
    with pytest.raises(ValueError, match="would shrink"):
        stablesr_upscale(tiny(), low, 0.5, context(), FEW)
