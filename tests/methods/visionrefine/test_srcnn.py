from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from priorsr.methods.imaging.resize import resize
from priorsr.methods.nets.srcnn import SRCNN
from priorsr.methods.visionrefine.srcnn import SCALES, SRCNNSettings, load_srcnn, native_scale, srcnn_upscale


def random_network(channels=1, seed=0):
    """Weights that see their whole window and change the picture, unlike those of a trained network."""
    generator = torch.Generator().manual_seed(seed)
    network = SRCNN(channels).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.copy_(torch.empty_like(parameter).normal_(0, 0.06, generator=generator))
    network.conv3.bias += 0.4
    return network


def test_reach_is_what_an_output_pixel_sees():
    network = random_network()
    x = torch.rand(1, 1, 33, 33, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x)[0, 0, 16, 16], x)
    seen = gradient[0, 0].abs().sum(0).nonzero().flatten()
    assert network.reach == 8
    assert (seen.min(), seen.max()) == (16 - 8, 16 + 8)


@given(
    st.integers(1, 23),
    st.integers(1, 23),
    st.sampled_from([2, 3, 4]),
    st.integers(16, 40),
    st.sampled_from(["replicate", "zero"]),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_tiles_of_any_size_give_the_untiled_result(height, width, scale, tile, border, rgb):
    network, x = random_network(), torch.rand(1, 3 if rgb else 1, height, width)
    whole = srcnn_upscale(network, x, scale, settings=SRCNNSettings(tile=0, border=border))
    tiled = srcnn_upscale(network, x, scale, settings=SRCNNSettings(tile=tile, border=border))
    assert whole.shape == (1, x.shape[1], height * scale, width * scale)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=2e-6)


def test_zero_border_is_the_published_forward_pass(photo):
    network = random_network()
    enlarged = resize(photo[:, :1], (106, 142), border="mirror")
    result = srcnn_upscale(network, photo[:, :1], 2, settings=SRCNNSettings(channels="rgb", border="zero"))
    torch.testing.assert_close(result, network(enlarged).clamp(0, 1), rtol=0, atol=2e-6)


def test_luma_mode_leaves_chroma_to_bicubic_and_grey_stays_grey(photo):
    network, _ = load_srcnn(2)
    colour = srcnn_upscale(network, photo, 2)
    grey = srcnn_upscale(network, photo[:, :1].expand(-1, 3, -1, -1), 2)
    torch.testing.assert_close(grey[:, 0], grey[:, 1], atol=1e-4, rtol=0)
    torch.testing.assert_close(grey[:, :1], srcnn_upscale(network, photo[:, :1], 2), atol=1e-4, rtol=0)
    assert not torch.allclose(
        colour, srcnn_upscale(network, photo, 2, settings=SRCNNSettings(channels="rgb")), atol=1e-3
    )


def test_an_image_in_a_batch_equals_the_image_alone(photo):
    network, _ = load_srcnn(3)
    batch = torch.cat([photo, photo.flip(3), photo])
    assert torch.equal(srcnn_upscale(network, batch, 3)[1:2], srcnn_upscale(network, photo.flip(3), 3))


@pytest.mark.parametrize("scale", SCALES)
def test_shipped_weights_beat_bicubic(photo, scale):
    high = photo[..., : 53 // scale * scale, : 71 // scale * scale]
    low = resize(high, (high.shape[-2] // scale, high.shape[-1] // scale), border="mirror")
    network, native = load_srcnn(scale)
    restored = srcnn_upscale(network, low, scale)
    enlarged = resize(low, tuple(high.shape[-2:])).clamp(0, 1)
    assert native == scale
    assert (restored - high).square().mean() < 0.8 * (enlarged - high).square().mean()


@pytest.mark.parametrize(("scale", "native"), [(1, 2), (1.3, 2), (2.5, 2), (2.8, 3), (3.7, 4), (6, 4)])
def test_other_scales_go_through_the_nearest_one(photo, scale, native):
    network, found = load_srcnn(scale)
    result = srcnn_upscale(network, photo, scale)
    assert native_scale(scale) == found == native
    assert result.shape[-2:] == (round(53 * scale + 0.4999), round(71 * scale + 0.4999))
    assert 0 <= result.min() <= result.max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 1)])
def test_tiny_images(size):
    network, _ = load_srcnn(4)
    x = torch.full((2, 3, *size), 0.25)
    torch.testing.assert_close(
        srcnn_upscale(network, x, 4), torch.full((2, 3, size[0] * 4, size[1] * 4), 0.25), atol=0.01, rtol=0
    )


def test_half_precision_stays_within_half_a_level(photo):
    # bfloat16 on processors, where float16 is slow: a few levels at single pixels, far less on the whole
    network, _ = load_srcnn(2)
    exact, half = (srcnn_upscale(network, photo, 2, settings=SRCNNSettings(half=h)) for h in (False, True))
    assert 0 < (exact - half).abs().mean() < 0.5 / 255
    assert (exact - half).abs().max() < 4 / 255
    assert half.dtype == torch.float32


@pytest.mark.gpu
def test_on_a_gpu_within_half_a_level_and_the_image_may_stay_on_the_cpu(photo):
    network, _ = load_srcnn(2)
    expected = srcnn_upscale(network, photo, 2)
    result = srcnn_upscale(network.cuda(), photo, 2)
    assert result.device.type == "cpu"
    assert (result - expected).abs().max() < 0.5 / 255


def test_progress_reaches_its_total(photo):
    seen = []
    srcnn_upscale(
        load_srcnn(2)[0],
        photo.expand(2, -1, -1, -1),
        2,
        settings=SRCNNSettings(tile=64),
        progress=lambda *p: seen.append(p),
    )
    assert seen == [(i + 1, 2 * 2 * 3) for i in range(12)]


def test_rgb_weights_see_grey_as_equal_channels_and_others_are_refused(photo):
    network = random_network(3)
    assert srcnn_upscale(network, photo, 2).shape == (1, 3, 106, 142)
    grey = srcnn_upscale(network, photo[:, :1], 2)
    three = srcnn_upscale(network, photo[:, :1].expand(-1, 3, -1, -1), 2)
    torch.testing.assert_close(grey, three.mean(1, keepdim=True), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="these weights take 2 channels: choose some for luma or for RGB"):
        srcnn_upscale(random_network(2), photo, 2)


@pytest.mark.parametrize(
    ("x", "scale", "message"),
    [
        (torch.rand(1, 3, 4, 4) * float("nan"), 2, "NaN or infinite"),
        (torch.rand(1, 3, 0, 4), 2, "no pixels"),
        (torch.rand(1, 4, 4, 4), 2, "split alpha off"),
        (torch.rand(1, 3, 4, 4), 0.5, "would shrink"),
        (torch.rand(1, 3, 4, 4), 0, "outside 1/64 .. 64"),
        (torch.rand(1, 3, 4, 4), float("inf"), "outside 1/64 .. 64"),
        (torch.rand(1, 1, 1, 3000), 60, "at most 65536 pixels a side"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), 2, "float tensor"),
    ],
)
def test_bad_input_is_refused(x, scale, message):
    with pytest.raises(ValueError, match=message):
        srcnn_upscale(random_network(), x, scale)


@pytest.mark.parametrize(
    "wrong", [{"tile": 5}, {"channels": "hsv"}, {"border": "wrap"}, {"space": "rec709"}, {"tile": -1}]
)
def test_bad_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        SRCNNSettings(**wrong)


def test_weights_of_another_scale_are_refused():
    with pytest.raises(ValueError, match="trained for scale 2, a scale of 3 needs x3 weights"):
        load_srcnn(3, "srcnn_x2")
