from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from priorsr.methods.nets.edm_precond import build_edm, edm_scalings
from priorsr.methods.nets.fir import fir_down, fir_kernel, fir_up
from priorsr.methods.precision import cast

MANIFESTS = Path(__file__).parents[2] / "golden" / "cases" / "manifests"
RELEASED = sorted(p.name.removesuffix(".config.json") for p in MANIFESTS.glob("edm_*.config.json"))

SMALL = {
    "img_resolution": 16,
    "img_channels": 3,
    "model_channels": 16,
    "channel_mult": [1, 2],
    "num_blocks": 1,
    "attn_resolutions": [8],
}
DDPMPP = {**SMALL, "model_type": "SongUNet", "augment_dim": 9}
NCSNPP = {
    **SMALL,
    "model_type": "SongUNet",
    "embedding_type": "fourier",
    "encoder_type": "residual",
    "channel_mult_noise": 2,
    "resample_filter": [1, 3, 3, 1],
    "label_dim": 5,
}
ADM = {
    **SMALL,
    "model_type": "DhariwalUNet",
    "model_channels": 32,
    "channel_mult": [1, 2],
    "label_dim": 7,
    "augment_dim": 9,
}
KINDS = {"ddpmpp": DDPMPP, "ncsnpp": NCSNPP, "adm": ADM}


def made(settings, seed=0):
    torch.manual_seed(seed)
    return build_edm(settings).eval()


def waves(*shape):
    return torch.sin(torch.arange(math.prod(shape), dtype=torch.float32) * 0.7).reshape(shape)


@pytest.fixture(params=KINDS)
def denoiser(request):
    return made(KINDS[request.param])


@pytest.mark.parametrize("name", RELEASED)
def test_released_keys_and_shapes(name):
    settings = json.loads((MANIFESTS / f"{name}.config.json").read_text())
    parameters = settings.pop("parameters")
    with torch.device("meta"):
        network = build_edm(settings)
    manifest = json.loads((MANIFESTS / f"{name}.json").read_text())
    assert {k: list(v.shape) for k, v in network.state_dict().items()} == manifest
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_every_architecture_has_a_manifest():
    assert len(RELEASED) >= 4


@torch.no_grad()
def test_a_sample_alone_equals_the_sample_in_a_batch(denoiser):
    x, sigma = waves(3, 3, 16, 24), torch.tensor([0.05, 1.0, 40.0])
    labels = waves(3, denoiser.label_dim) if denoiser.label_dim else None
    together = denoiser(x, sigma, labels)
    for i in range(3):
        alone = denoiser(x[i : i + 1], sigma[i : i + 1], None if labels is None else labels[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_one_noise_level_serves_the_whole_batch(denoiser):
    x = waves(2, 3, 16, 16)
    torch.testing.assert_close(
        denoiser(x, 3.0), denoiser(x.double(), torch.tensor([3.0, 3.0], dtype=torch.float64))
    )
    assert denoiser(x.double(), 3.0).dtype == torch.float32


def test_gradients_reach_the_image_and_every_weight(denoiser):
    x = waves(2, 3, 16, 16).requires_grad_()
    labels = torch.ones(2, denoiser.label_dim) if denoiser.label_dim else None
    augment = torch.ones(2, 9) if denoiser.model.augment_dim else None
    denoiser(x, torch.tensor([0.5, 2.0]), labels, augment).square().mean().backward()
    assert x.grad.abs().amin((1, 2, 3)).isfinite().all()
    assert (x.grad.abs().sum((1, 2, 3)) > 0).all()
    assert [k for k, p in denoiser.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@torch.no_grad()
def test_labels_are_zeros_when_left_out_and_matter_when_given():
    for settings in (NCSNPP, ADM):
        denoiser = made(settings)
        x, zeros = waves(2, 3, 16, 16), torch.zeros(2, denoiser.label_dim)
        torch.testing.assert_close(denoiser(x, 1.0), denoiser(x, 1.0, zeros))
        assert not torch.allclose(denoiser(x, 1.0), denoiser(x, 1.0, zeros + 1))


@torch.no_grad()
def test_augment_labels_matter_and_may_be_left_out():
    for settings in (DDPMPP, ADM):
        denoiser = made(settings)
        x = waves(1, 3, 16, 16)
        torch.testing.assert_close(denoiser(x, 1.0), denoiser(x, 1.0, augment_labels=torch.zeros(1, 9)))
        assert not torch.allclose(denoiser(x, 1.0), denoiser(x, 1.0, augment_labels=torch.ones(1, 9)))


@torch.no_grad()
def test_only_the_network_runs_in_another_precision(denoiser):
    x = waves(1, 3, 16, 16)
    full = denoiser(x, 2.0)
    low = cast(denoiser, torch.bfloat16)(x, 2.0)
    assert low.dtype == torch.float32
    assert {k for k, v in denoiser.state_dict().items() if v.dtype == torch.float32} <= {
        "model.map_noise.freqs"
    }
    assert 0 < (low - full).abs().max() < 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": (2, 4, 16, 16)}, r"takes images of shape B 3 H W, not \(2, 4, 16, 16\): give it 3 channels"),
        ({"x": (2, 3, 15, 16)}, r"multiples of 2, not 15 x 16: pad or crop"),
        ({"sigma": 3}, "3 noise levels for 2 images: give one per image"),
        ({"labels": (2, 4)}, r"class labels have shape \(2, 4\) for 2 images: this network takes 2 x 7"),
        ({"labels": (3, 7)}, r"class labels have shape \(3, 7\)"),
        ({"labels": (7,)}, r"class labels have shape \(7,\)"),
        ({"augment": (2, 4)}, r"augment labels have shape \(2, 4\)"),
    ],
)
def test_mistakes_are_explained(change, message):
    shapes = {"x": (2, 3, 16, 16), "sigma": 2, "labels": (2, 7), "augment": (2, 9)} | change
    with pytest.raises(ValueError, match=message):
        made(ADM)(
            waves(*shapes["x"]),
            torch.ones(shapes["sigma"]),
            waves(*shapes["labels"]),
            waves(*shapes["augment"]),
        )


def test_labels_must_fit_the_network():
    x = waves(1, 3, 16, 16)
    with pytest.raises(ValueError, match="built without class labels: leave them out"):
        made(DDPMPP)(x, 1.0, torch.zeros(1, 3))
    with pytest.raises(ValueError, match="needs class labels: give 1 x 7"):
        made(ADM).model(x, torch.ones(1))
    with pytest.raises(ValueError, match="noise labels have shape"):
        made(DDPMPP).model(x, torch.ones(1, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "ncsnpp"}, "network is ncsnpp"),
        ({"colour": 3}, "no argument colour"),
        ({"embedding_type": "learned"}, "embedding_type 'learned' is not supported"),
        (
            {"encoder_type": "skip"},
            "encoder_type 'skip' is not supported: choose a network with standard or residual",
        ),
        ({"decoder_type": "skip"}, "decoder_type 'skip'"),
        ({"resample_filter": [1, 2, 1]}, "even number of taps"),
    ],
)
def test_settings_that_cannot_be_built_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build_edm({**DDPMPP, **change})


def test_the_sizes_must_be_recorded():
    with pytest.raises(ValueError, match="does not record img_channels, img_resolution"):
        build_edm({"model_type": "SongUNet"})


def test_scalings_keep_unit_variance():
    sigma = torch.tensor([0.002, 0.5, 80.0], dtype=torch.float64)
    c = edm_scalings(sigma, 0.5)
    torch.testing.assert_close(c.input**2 * (sigma**2 + 0.25), torch.ones(3, dtype=torch.float64))
    # the target of the network, (x0 - skip x) / out, has unit variance for data of deviation 0.5
    torch.testing.assert_close(
        ((1 - c.skip) ** 2 * 0.25 + c.skip**2 * sigma**2) / c.out**2, torch.ones(3, dtype=torch.float64)
    )
    torch.testing.assert_close(c.noise, sigma.log() / 4)


@pytest.mark.parametrize("taps", [[1, 1], [1, 3, 3, 1]])
def test_fir_resampling_keeps_flat_pictures_and_is_its_own_adjoint(taps):
    kernel = fir_kernel(taps)
    flat = torch.full((1, 2, 12, 16), 0.7)
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    torch.testing.assert_close(fir_down(flat, kernel)[inside], torch.full((1, 2, 2, 4), 0.7))
    torch.testing.assert_close(fir_up(flat, kernel)[inside], torch.full((1, 2, 20, 28), 0.7))
    x, y = waves(1, 2, 6, 8), waves(1, 2, 12, 16).flip(-1)
    assert fir_up(x, kernel).shape == y.shape
    torch.testing.assert_close((fir_up(x, kernel) * y).sum(), 4 * (x * fir_down(y, kernel)).sum())


def test_the_box_filter_averages_and_repeats():
    x, kernel = waves(2, 3, 4, 6), fir_kernel([1, 1])
    torch.testing.assert_close(fir_down(x, kernel), torch.nn.functional.avg_pool2d(x, 2))
    torch.testing.assert_close(fir_up(x, kernel), x.repeat_interleave(2, 2).repeat_interleave(2, 3))
