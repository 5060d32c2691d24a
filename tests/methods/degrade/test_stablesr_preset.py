"""The released training configuration of StableSR, number for number."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from priorsr.methods.degrade import preset, recipe_named
from priorsr.methods.degrade.presets import KERNELS, STABLESR, UNHARMED, real_world
from priorsr.methods.degrade.steps import Unsharp
from priorsr.methods.imaging.images import Picture, write
from priorsr.methods.imaging.resize import enlarge_by, resize
from priorsr.methods.stablesr.method import StableSRSettings, restore_at_scale
from priorsr.methods.train.pairs import enlarged
from priorsr.methods.train.stablesr import cfw, task
from priorsr.methods.train.stablesr.cfw import CFWRecipe
from priorsr.methods.train.stablesr.task import StableSRRecipe


def test_the_numbers_are_the_released_ones():
    first, second = STABLESR
    assert (first.sigma, second.sigma) == ((0.2, 1.5), (0.2, 1.0))
    assert (second.blur, second.kernel[1]) == (0.5, 11)
    assert (first.resize, second.resize) == ((0.3, 1.5), (0.6, 1.2))
    assert (first.noise, second.noise) == ((1, 15), (1, 12))
    assert (first.poisson, second.poisson) == ((0.05, 2.0), (0.05, 1.0))
    assert (first.quality, second.quality) == ((60, 95), (60, 100))
    for order in STABLESR:
        assert (order.generalised, order.plateau) == ((0.5, 2.0), (1.0, 1.5))
    assert UNHARMED == 0.01
    assert [kind for kind, *_ in KERNELS] == ["gaussian", "generalised", "plateau"]
    assert (cfw.BETAS, CFWRecipe().after, CFWRecipe().adversarial) == ((0.5, 0.9), 500, 0.025)
    assert (cfw.TUNED.ema, task.TUNED.ema) == (0.0, 0.0)
    assert (StableSRRecipe().degradation, StableSRRecipe().sharpen) == ("stablesr", True)
    assert (task.TUNED.lr, StableSRRecipe().batch) == (5e-5, 192)


def test_one_in_a_hundred_is_shown_as_it_is_at_full_size(tmp_path):
    write(Picture(torch.rand(1, 3, 40, 40)), tmp_path / "a.png")
    recipe = StableSRRecipe(size=32, scale=4.0)
    pairs = recipe.drawn_from([tmp_path])
    assert pairs.undamaged == recipe.undamaged == UNHARMED == 0.01
    truth, low = replace(pairs, recipe=preset("bicubic")).apart(range(1000))
    sizes = [tuple(x.shape[1:]) for x in low]
    assert set(sizes) == {(8, 8), (32, 32)}
    whole = [i for i, size in enumerate(sizes) if size == (32, 32)]
    assert 3 <= len(whole) <= 20
    assert all(torch.equal(low[i], truth[i]) for i in whole)
    i = whole[0]
    shown = enlarged(low[i - 1 : i + 1], 32, recipe.enlargement)
    torch.testing.assert_close(shown[1], truth[i] / 127.5 - 1)


@pytest.mark.parametrize("size", [(31, 45), (64, 64)])
def test_inputs_are_enlarged_as_in_the_released_scripts(size):
    x = torch.rand(2, 3, 17, 23, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(x, size, mode="bicubic", align_corners=False)
    torch.testing.assert_close(enlarge_by(x, size, "bicubic-0.75"), expected, rtol=0, atol=1e-5)
    assert not torch.allclose(enlarge_by(x, size, "bicubic"), expected, atol=1e-2)
    assert StableSRSettings().enlargement == StableSRRecipe().enlargement == "bicubic-0.75"
    seen = []
    for kernel in ("bicubic-0.75", "bicubic"):
        settings = StableSRSettings(enlargement=kernel, tile=64, overlap=32, color="none")
        restore_at_scale(x, 4.0, lambda canvas: seen.append(canvas) or canvas, settings)
        work = enlarge_by(x, (68, 92), kernel).clamp(0, 1) * 2 - 1
        torch.testing.assert_close(seen[-1][..., :68, :92], work)
    smaller = enlarge_by(x, (8, 9), "bicubic-0.75")  # what is reduced is so without aliasing
    torch.testing.assert_close(smaller, resize(x, (8, 9)))


def test_its_pictures_are_damaged_less():
    recipe = preset("stablesr")
    x = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)).cumsum(2) / 64
    plain = preset("bicubic")(x)
    mild, strong = (
        sum(float((one.draw(seed)(x) - plain).abs().mean()) for seed in range(30))
        for one in (recipe, real_world())
    )
    assert mild < 0.8 * strong


def test_an_unsharp_mask_sharpens_edges_and_leaves_the_flat():
    x = torch.full((1, 40, 120), 0.3)
    x[..., 60:] = 0.7
    y = Unsharp()(x, (40, 120))
    assert torch.equal(Unsharp(amount=0.0)(x, (40, 120)), x)
    torch.testing.assert_close(y[..., :5], x[..., :5])
    assert y[0, 20, 58] < 0.25
    assert y[0, 20, 61] > 0.75
    faint = 0.3 + 0.01 * (x - 0.3)
    torch.testing.assert_close(Unsharp()(faint, (40, 120)), faint)


def test_a_recipe_is_named_or_a_file(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(preset("dpi-mild").to_json(), encoding="utf-8")
    assert recipe_named(str(file)) == preset("dpi-mild")
    assert recipe_named("stablesr", 2.0) == preset("stablesr", 2.0)
    file.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.json"):
        recipe_named(str(file))
    with pytest.raises(ValueError, match="unknown degradation 'real'"):
        recipe_named("real")
