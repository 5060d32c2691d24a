from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from fill import tensor
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.stablesr import _bicubic

from priorsr.methods.stablesr.color_fix import (
    METHODS,
    adain,
    blur,
    color_fix,
    lab,
    lab_ab,
    split_bands,
    wavelet,
)

SIDES = st.integers(1, 40)


def picture(*shape, name="picture"):
    return 0.5 + 0.1 * tensor(name, shape)


def test_adain_gives_the_means_and_deviations_of_the_source():
    image, source = tensor("image", (2, 3, 20, 30)) * 0.1, tensor("source", (2, 3, 9, 50)) * 0.3 - 0.2
    fixed = adain(image, source)
    torch.testing.assert_close(fixed.mean((2, 3)), source.mean((2, 3)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fixed.std((2, 3)), source.std((2, 3)), rtol=2e-3, atol=1e-4)


def test_the_bands_are_the_picture_and_a_constant_has_no_fine_one():
    x = tensor("x", (2, 3, 33, 18))
    torch.testing.assert_close(sum(split_bands(x)), x)
    high, low = split_bands(torch.full((1, 1, 9, 9), 0.3))
    torch.testing.assert_close(low, torch.full_like(low, 0.3))
    assert high.abs().max() < 1e-6


def test_blur_is_the_published_kernel():
    x, kernel = tensor("x", (1, 1, 12, 15)), torch.tensor([1.0, 2, 1]).outer(torch.tensor([1.0, 2, 1])) / 16
    wanted = F.conv2d(F.pad(x, [4] * 4, mode="replicate"), kernel[None, None], dilation=4)
    torch.testing.assert_close(blur(x, 4), wanted)


def test_wavelet_keeps_detail_and_takes_the_colour():
    image, source = tensor("image", (1, 3, 64, 64)), tensor("source", (1, 3, 64, 64)) + 0.4
    fixed = wavelet(image, source)
    torch.testing.assert_close(wavelet(image, image), image, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        fixed - image, split_bands(source)[1] - split_bands(image)[1], rtol=1e-4, atol=1e-5
    )


def cielab(x):
    """L, a, b (3 N) of sRGB C H W in -1..1, written from the standards IEC 61966-2-1 and CIE 15 (D65)."""
    rgb = (x.double().flatten(1) + 1) / 2
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    rows = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = torch.tensor(rows, dtype=torch.float64) @ linear / torch.tensor([[0.95047], [1.0], [1.08883]])
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=1e-9) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return torch.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_lab_gives_the_means_and_deviations_of_lightness_and_opponent_colours():
    """By another conversion than the one that is used. Values are kept where no colour leaves sRGB."""
    image = 0.2 * tensor("image", (1, 3, 20, 30)).tanh()
    source = torch.tensor([0.1, -0.1, 0.2]).view(1, 3, 1, 1) + 0.15 * tensor("source", (1, 3, 9, 50)).tanh()
    wanted, own = cielab(source[0]), cielab(image[0])
    whole, colours = cielab(lab(image, source)[0]), cielab(lab_ab(image, source)[0])
    torch.testing.assert_close(whole.mean(1), wanted.mean(1), rtol=0, atol=0.05)
    torch.testing.assert_close(whole.std(1), wanted.std(1), rtol=0.01, atol=0)
    torch.testing.assert_close(colours[1:], whole[1:], rtol=0, atol=0.05)
    torch.testing.assert_close(colours[0], own[0], rtol=0, atol=0.05)
    assert (whole[0] - own[0]).abs().mean() > 1
    moved = (own[0] - own[0].mean()) * wanted[0].std() / own[0].std() + wanted[0].mean()  # Eq. 10-11
    torch.testing.assert_close(whole[0], moved, rtol=0, atol=0.1)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(METHODS)),
    SIDES,
    SIDES,
    SIDES,
    SIDES,
    st.sampled_from([1, 3, 4]),
    st.sampled_from([1, 3, 4]),
)
def test_any_sizes_and_channels_stay_finite_and_in_range(method, h, w, sh, sw, channels, source_channels):
    image, source = picture(2, channels, h, w), picture(1, source_channels, sh, sw, name="source")
    fixed = color_fix(image, source, method)
    assert fixed.shape == image.shape
    assert torch.isfinite(fixed).all()
    assert 0 <= fixed.min() <= fixed.max() <= 1
    if channels == 4:
        assert torch.equal(fixed[:, 3:], image[:, 3:])


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_is_corrected_one_by_one(method):
    image, source = picture(3, 3, 24, 16), picture(3, 3, 24, 16, name="source") * 0.5
    together = color_fix(image, source, method)
    for i in range(3):
        torch.testing.assert_close(color_fix(image[i : i + 1], source[i : i + 1], method)[0], together[i])
    torch.testing.assert_close(
        color_fix(image, source[:1], method)[2], color_fix(image[2:], source[:1], method)[0]
    )


def test_none_leaves_the_picture():
    image = picture(1, 3, 5, 5)
    assert color_fix(image, picture(1, 3, 2, 2), "none") is image


@pytest.mark.parametrize(
    ("image", "source", "method", "message"),
    [
        ((2, 3, 4, 4), (3, 3, 4, 4), "adain", "3 sources for 2 pictures"),
        ((1, 2, 4, 4), (1, 3, 4, 4), "adain", "the picture must be float"),
        ((1, 3, 4, 4), (3, 4, 4), "wavelet", "the source must be float"),
        ((1, 3, 4, 4), (1, 3, 4, 4), "histogram", "none, adain, wavelet, lab, lab-ab"),
    ],
)
def test_bad_input_is_named(image, source, method, message):
    with pytest.raises(ValueError, match=message):
        color_fix(torch.zeros(image), torch.zeros(source), method)


@pytest.mark.parametrize("size", [(68, 84), (64, 79), (31, 20)])
def test_the_published_bicubic_is_torchs(size):
    x = tensor("x", (1, 3, 17, 21))
    torch.testing.assert_close(
        _bicubic(x, size), F.interpolate(x, size, mode="bicubic"), rtol=1e-4, atol=1e-5
    )
