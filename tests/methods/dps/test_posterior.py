from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from adm_tiny import UNET as ADM

from priorsr.methods import weights
from priorsr.methods.cli import main as cli
from priorsr.methods.dps.edm_dps import PRINTED, EDMDPSSettings, edm_dps, pixels
from priorsr.methods.dps.posterior import posterior_upscale
from priorsr.methods.dps.sampling import DPSSettings
from priorsr.methods.imaging.canvas import TileSettings
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.operators import Blurring, Masking, Reduction
from priorsr.methods.metrics.compare import consistency
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.nets.edm_precond import build_edm
from priorsr.methods.priors.adm import ADMPrior
from priorsr.methods.priors.edm import EDMPrior
from priorsr.methods.priors.load import PriorSettings, load_classifier, load_prior
from priorsr.methods.visionrefine.guided import GuidedSettings, guided_upsample
from priorsr.samplers.noise import Noise

CLASSIFIER = dataclasses.replace(ADM, out_channels=5, num_head_channels=32, pool="attention")
EDM = {
    "img_resolution": 16,
    "img_channels": 3,
    "label_dim": 0,
    "model_type": "SongUNet",
    "model_channels": 16,
    "channel_mult": [1, 2],
    "num_blocks": 1,
    "attn_resolutions": [8],
}
DPS = DPSSettings(respacing="8", guidance=4.0)
EDMDPS = EDMDPSSettings(steps=6, zeta=0.5, weight="plain")


def randomised(network):
    """Small random weights everywhere, zero-initialised layers included, so that the prior depends on what it
    sees.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.empty_like(parameter).normal_(0, 0.05, generator=generator))
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def adm():
    return ADMPrior(randomised(build_adm(ADM)))


@pytest.fixture(scope="module")
def edm():
    return EDMPrior(randomised(build_edm(EDM)))


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 3, 5, 7), (1, 1, 6, 4), (2, 3, 3, 1)])
@pytest.mark.parametrize("scale", [2, 2.5, 1])
def test_any_picture_and_scale(adm, shape, scale):
    low = torch.rand(shape)
    result = posterior_upscale(adm, low, scale, DPS)
    assert result.shape == (*shape[:2], *[-(-round(n * scale * 2) // 2) for n in shape[2:]])
    assert 0 <= result.min() <= result.max() <= 1


def test_the_measurement_is_met_the_better_the_harder_it_guides(adm, edm, photo):
    low = photo[..., :12, :12]
    for prior, weak, strong in (
        (adm, dataclasses.replace(DPS, guidance=0.0), DPS),
        (edm, dataclasses.replace(EDMDPS, zeta=0.0), EDMDPS),
    ):
        agreement = [
            consistency(posterior_upscale(prior, low, 2, settings), low).item() for settings in (weak, strong)
        ]
        assert agreement[1] > agreement[0] + 1, agreement


def test_an_image_alone_equals_the_image_in_a_batch(adm, edm):
    low = torch.rand(2, 3, 6, 6)
    for prior, settings in ((adm, DPS), (edm, EDMDPS)):
        together = posterior_upscale(prior, low, 2, settings, seeds=[3, 4])
        torch.testing.assert_close(
            together[1:], posterior_upscale(prior, low[1:], 2, settings, seeds=[4]), atol=1e-5, rtol=0
        )
        assert not torch.allclose(together, posterior_upscale(prior, low, 2, settings, seeds=[5, 6]))


@pytest.mark.parametrize("batch", [1, 3])
def test_larger_pictures_go_through_tiles_whatever_their_batch(adm, batch):
    low, sizes = torch.rand(1, 3, 12, 17), []
    inner = adm.network.forward
    adm.network.forward = lambda x, *a, **k: (sizes.append(tuple(x.shape)), inner(x, *a, **k))[1]
    try:
        result = posterior_upscale(
            adm, low, 2, dataclasses.replace(DPS, respacing="3"), TileSettings(16, 4, batch)
        )
    finally:
        adm.network.forward = inner
    assert result.shape == (1, 3, 24, 34)
    assert {s[2:] for s in sizes} == {(16, 16)}
    assert max(s[0] for s in sizes) == batch
    single = posterior_upscale(adm, low, 2, dataclasses.replace(DPS, respacing="3"), TileSettings(16, 4, 1))
    torch.testing.assert_close(result, single, atol=1e-5, rtol=0)


def test_a_luma_prior_keeps_the_colours(photo):
    grey = ADMPrior(randomised(build_adm(dataclasses.replace(ADM, in_channels=1, out_channels=2))))
    low = photo[..., :8, :8]
    result = posterior_upscale(grey, low, 2, DPS)
    assert result.shape == (1, 3, 16, 16)
    difference = result - torch.nn.functional.interpolate(low, scale_factor=2, mode="bicubic", antialias=True)
    inside = ((result > 0) & (result < 1)).all(1)[0]
    torch.testing.assert_close(
        (difference[:, 0] - difference[:, 1])[0][inside], torch.zeros(int(inside.sum())), atol=0.02, rtol=0
    )


def test_operators_are_adjoint_to_themselves_transposed():
    size, kernel = (9, 11), torch.rand(3, 3)
    for operator in (
        Reduction(size, 2),
        Blurring(size, kernel),
        Masking(size, (torch.rand(size) > 0.5).float()),
    ):
        x = torch.rand(2, 3, *size)
        y = operator(x)
        g = torch.rand_like(y)
        torch.testing.assert_close((y * g).sum(), (x * operator.adjoint(g)).sum())
    with pytest.raises(ValueError, match="resize the mask"):
        Masking(size, torch.ones(3, 3))


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_the_guided_upsampler_follows_its_classifier(sampler):
    upsampler = ADMPrior(randomised(build_adm(dataclasses.replace(ADM, superres=True, num_classes=5))))
    classifier = randomised(build_adm(CLASSIFIER))
    low, labels = torch.rand(2, 3, 4, 4) * 2 - 1, torch.tensor([1, 3])
    free = GuidedSettings(sampler, "4", classifier_scale=0.0)
    results = [
        guided_upsample(upsampler, classifier, low, labels, (16, 16), s)
        for s in (free, dataclasses.replace(free, classifier_scale=900.0))
    ]
    t = torch.zeros(2)
    before, after = (classifier.log_prob(r, t, labels).sum() for r in results)
    assert after > before
    torch.testing.assert_close(results[0], guided_upsample(upsampler, None, low, labels, (16, 16), free))
    with pytest.raises(ValueError, match="as many labels"):
        guided_upsample(upsampler, classifier, low, labels[:1], (16, 16))
    with pytest.raises(ValueError, match=r"outside 0\.\.4"):
        guided_upsample(upsampler, classifier, low, torch.tensor([0, 5]), (16, 16), free)


@pytest.fixture
def files(tmp_path, adm, edm, photo):
    weights.save(adm.network, tmp_path / "adm.safetensors", {"settings": json.dumps(dataclasses.asdict(ADM))})
    weights.save(edm.network, tmp_path / "edm.safetensors", {"settings": json.dumps(EDM)})
    weights.save(
        randomised(build_adm(CLASSIFIER)),
        tmp_path / "classifier.safetensors",
        {"settings": json.dumps(dataclasses.asdict(CLASSIFIER))},
    )
    write(Picture(photo[..., :7, :6], photo[:, :1, :7, :6]), tmp_path / "low.png")
    return tmp_path


def test_priors_come_back_from_their_files(files, adm, edm):
    x = torch.rand(1, 3, 16, 16)
    for name, prior in (("adm", adm), ("edm", edm)):
        loaded = load_prior(str(files / f"{name}.safetensors"))
        level = prior.schedule.table[500] if name == "adm" else prior.levels(5)[2]
        torch.testing.assert_close(loaded(x, level).x0, prior(x, level).x0, rtol=1e-4, atol=1e-4)
    assert load_classifier(str(files / "classifier.safetensors")).config == CLASSIFIER
    assert (
        load_prior(str(files / "adm.safetensors"), PriorSettings("cosine", 500)).schedule.table[499].sigma
        > 0.99
    )
    with pytest.raises(ValueError, match="not a diffusion prior"):
        load_prior("srcnn_x2")
    with pytest.raises(ValueError, match="holds ADM prior weights where adm-classifier weights are needed"):
        load_classifier(str(files / "adm.safetensors"))
    weights.save(edm.network, files / "silent.safetensors", {})
    with pytest.raises(ValueError, match="does not say how its network is built"):
        load_prior(str(files / "silent.safetensors"))


@pytest.mark.parametrize(
    ("method", "extra"),
    [("dps", ("--dps-respacing", "4")), ("edm-dps", ("--edm-steps", "3", "--edm-weight", "plain"))],
)
def test_the_command(files, method, extra):
    prior = files / ("adm.safetensors" if method == "dps" else "edm.safetensors")
    arguments = [
        "upscale",
        str(files / "low.png"),
        str(files / "out.png"),
        "--method",
        method,
        "--prior",
        str(prior),
        "--scale",
        "2",
        *extra,
    ]
    assert cli.main(arguments) == 0
    assert read(files / "out.png").pixels.shape == (1, 3, 14, 12)
    assert read(files / "out.png").alpha is not None
    assert cli.main([*arguments, "--overwrite", "--seed", "1"]) == 0


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (("--method", "dps"), "needs prior"),
        (("--method", "dps", "--prior", "edm.safetensors"), "use EDM-DPS for EDM priors"),
        (("--method", "edm-dps", "--prior", "adm.safetensors"), "use EDM-DPS for EDM priors"),
        (("--method", "dps", "--prior", "classifier.safetensors"), "not a diffusion prior"),
        (("--method", "dps", "--prior", "adm.safetensors", "--dps-respacing", "9999"), "give at most 1000"),
        (("--method", "dps", "--prior", "adm.safetensors", "--scale", "0.5"), "enlarges by 1 to 64"),
    ],
)
def test_mistakes_are_explained(files, extra, words, monkeypatch, caplog):
    monkeypatch.chdir(files)
    assert cli.main(["upscale", "low.png", "out.png", *extra]) in (1, 2)
    assert words in caplog.text
    assert not (files / "out.png").exists()


def test_algorithm_3_runs_as_it_is_printed(edm):
    """Written out from the listing of VisionRefine: the squared norm, the corrector's estimate, the
    gradient to x_i through both calls, and nothing at the last step.
    """
    draw, steps, zeta = torch.Generator().manual_seed(0), 4, 1e-3
    y = torch.rand(1, 3, 8, 8, generator=draw) * 255
    operator = lambda p: torch.nn.functional.avg_pool2d(p, 2)  # noqa: E731
    settings = dataclasses.replace(PRINTED, steps=steps, zeta=zeta)
    found = edm_dps(edm, y.double(), operator, (16, 16), settings, Noise([3]))

    t = [level.sigma for level in edm.levels(steps)]
    x = Noise([3])((1, 3, 16, 16)).double() * t[0]
    network = lambda x, t: edm.network(x, torch.tensor([t])).double()  # noqa: E731
    for i in range(steps):
        start = x.detach().requires_grad_()
        d = (start - network(start, t[i])) / t[i]
        x = start + (t[i + 1] - t[i]) * d
        if t[i + 1] != 0:
            estimate = network(x, t[i + 1])
            slope = (x - estimate) / t[i + 1]
            x = start + (t[i + 1] - t[i]) * (d / 2 + slope / 2)
            residual = (y - operator(pixels(estimate))).square().sum()
            x = x - zeta * torch.autograd.grad(residual, start)[0]
    torch.testing.assert_close(found, x.detach(), rtol=1e-4, atol=1e-4)
    released = edm_dps(
        edm, y.double(), operator, (16, 16), dataclasses.replace(settings, guide_last=True), Noise([3])
    )
    assert (released - found).abs().max() > 1e-3
    assert (PRINTED.weight, PRINTED.squared, PRINTED.guide_last) == ("plain", True, False)
