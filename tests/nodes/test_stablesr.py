"""StableSR's parts, as far as they need no sampler of the host."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import tiny_checkpoints as tiny
import torch
from torch import nn

LAYERS, WRAP = "stablesr_000117.ckpt", "vqgan_cfw_00011.ckpt"


class Model(nn.Module):
    """Stable Diffusion in the host's form, as far as patches look at it."""

    def __init__(self, sampling):
        super().__init__()
        self.diffusion_model, self.model_sampling = tiny.lively(tiny.SDUNet(tiny.SD), 1), sampling

    def process_latent_in(self, latent):
        return latent * 0.5


class Sampling:
    sigma_max = torch.tensor(14.6)

    def noise_scaling(self, sigma, noise, latent, whole):
        return noise * (1 + sigma**2) ** 0.5 if whole else noise * sigma + latent


@pytest.fixture(scope="module")
def model(pack):
    """A MODEL of the host: what a loader of the pack gives, with another network in it."""
    prior = pack.run("LoadShippedPrior", prior="face64")[0]
    return type(prior)(Model(Sampling()), prior.load_device, prior.offload_device)


@pytest.fixture(scope="module")
def vae():
    """A VAE of the host around Stable Diffusion's autoencoder."""
    network = tiny.lively(tiny.VAE(tiny.COARSE), 2)
    return SimpleNamespace(
        first_stage_model=network,
        patcher=SimpleNamespace(
            model=network, load_device=torch.device("cpu"), offload_device=torch.device("cpu")
        ),
        latent_channels=4,
        vae_dtype=torch.float32,
        memory_used_decode=lambda shape, dtype: 0,
        vae_encode_crop_pixels=lambda pixels: pixels[
            :, : pixels.shape[1] // 8 * 8, : pixels.shape[2] // 8 * 8
        ],
    )


@pytest.fixture(scope="module")
def wrap(pack):
    return pack.run("LoadCFW", cfw=WRAP)[0]


def test_layers_patch_a_copy_of_the_model(pack, model):
    (layers,) = pack.run("LoadStableSR", stablesr=LAYERS)
    patched, report = pack.run("ApplyStableSR", model=model, stablesr=layers)
    assert report == ""
    assert patched.model is model.model
    assert not model.patches
    assert patched.patches
    with pytest.raises(ValueError, match="has StableSR's layers already"):
        pack.run("ApplyStableSR", model=patched, stablesr=layers)
    (other,) = pack.run("LoadStableSR", stablesr="webui_768v_139.ckpt")
    assert "768" in pack.run("ApplyStableSR", model=model, stablesr=other)[1]
    with pytest.raises(ValueError, match=r"tiny_adm\.safetensors"):
        pack.run("LoadStableSR", stablesr="tiny_adm.safetensors")


def test_runs_start_with_noise_or_with_the_latent(pack, model):
    sigmas = torch.tensor([10.0, 1.0, 0.0])
    latent = {"samples": torch.full((2, 4, 8, 8), 3.0)}
    for start in ("noise", "lr"):
        (noise,) = pack.run("StableSRStart", model=model, sigmas=sigmas, start=start, seed=7)
        drawn = noise.generate_noise(latent)
        state = drawn * 10 + latent["samples"] * 0.5  # what the host makes of it
        assert not torch.equal(drawn[0], drawn[1])
        second = pack.run("StableSRStart", model=model, sigmas=sigmas, start=start, seed=8)[0]
        assert torch.equal(second.generate_noise({"samples": latent["samples"][:1]})[0], drawn[1])
        assert state.mean() == pytest.approx(0.0 if start == "noise" else 1.5, abs=1.5)
        assert state.std() == pytest.approx(10, rel=0.2)
    with pytest.raises(ValueError, match="no noise level to start at"):
        pack.run("StableSRStart", model=model, sigmas=torch.zeros(1))


@pytest.mark.parametrize("tile", [0, 64])
def test_latents_are_decoded_around_the_picture(pack, vae, wrap, photograph, tile):
    latent = {"samples": torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))}
    given = {"latent": latent, "vae": vae, "cfw": wrap, "vae_tile": tile, "vae_overlap": 16}
    pack.run("DecodeCFW", image=photograph, fidelity=1.0, **given)  # both networks stay with the host
    moves, (plain,) = pack.watched("DecodeCFW", image=photograph, fidelity=0.0, **given)
    assert moves[0][0] == 0
    assert [done for done, _ in moves] == list(range(moves[-1][1] + 1))  # the last one is its end
    assert plain.shape == (1, 128, 128, 3)
    wrapped = pack.image("DecodeCFW", image=photograph, fidelity=1.0, **given)
    small = pack.image("DecodeCFW", image=photograph[:, ::2, ::2], fidelity=1.0, **given)
    assert not torch.equal(wrapped, plain)
    assert not torch.equal(wrapped, small)
    if tile:
        cancelled, _ = pack.watched("DecodeCFW", stop_after=1, image=photograph, **given)
        assert len(cancelled) == 1
    else:
        with torch.no_grad():
            network = vae.first_stage_model
            own = network.decoder(network.post_quant_conv(latent["samples"]))
        torch.testing.assert_close(plain, ((own + 1) / 2).clamp(0, 1).movedim(1, -1), rtol=0, atol=1e-4)


def test_pictures_that_are_not_the_latents_are_refused(pack, vae, wrap, photograph):
    latent = {"samples": torch.zeros(1, 4, 16, 16)}
    given = {"vae": vae, "cfw": wrap}
    with pytest.raises(ValueError, match="the image is of 60 x 128"):
        pack.run("DecodeCFW", latent=latent, image=photograph[:, :, :60], fidelity=0.5, **given)
    with pytest.raises(ValueError, match="2 images for 1 latents"):
        pack.run("DecodeCFW", latent=latent, image=photograph.expand(2, -1, -1, -1), fidelity=0.5, **given)
    with pytest.raises(ValueError, match="the latents have 16 channels, this VAE's have 4"):
        pack.run("DecodeCFW", latent={"samples": torch.zeros(1, 16, 16, 16)}, image=photograph, **given)
    with pytest.raises(ValueError, match="are not Stable Diffusion's"):
        pack.run("DecodeCFW", latent={"samples": torch.zeros(4, 16, 16)}, image=photograph, **given)
    other = SimpleNamespace(first_stage_model=nn.Identity())
    with pytest.raises(ValueError, match="needs the autoencoder of Stable Diffusion"):
        pack.run("DecodeCFW", latent=latent, image=photograph, vae=other, cfw=wrap)
    level = SimpleNamespace(down=[nn.Identity()] * 4, up=[nn.Identity()] * 4)  # blocks of another make
    parts = {"encoder": level, "decoder": level, "quant_conv": nn.Conv2d(8, 8, 1)}
    other = SimpleNamespace(first_stage_model=SimpleNamespace(**parts, post_quant_conv=nn.Conv2d(4, 4, 1)))
    with pytest.raises(ValueError, match="no such level: choose the autoencoder of Stable Diffusion"):
        pack.run("DecodeCFW", latent=latent, image=photograph, vae=other, cfw=wrap)


class Begun(Exception):
    """In place of a run."""


def test_the_result_is_held_to_a_reference(pack, model, vae, photograph, monkeypatch):
    """To its latent, in the sampler's units, whatever its size."""
    hooks = []

    def begun(transition, given, *rest):
        hooks.append(given)
        raise Begun

    monkeypatch.setattr(sys.modules["priorsr.nodes.stablesr_upscale"].host_model, "as_sampler", begun)
    (layers,) = pack.run("LoadStableSR", stablesr=LAYERS)
    tiles = {"tiles": "manual", "tiles.tile": 64, "tiles.overlap": 32}
    given = {"model": model, "vae": vae, "stablesr": layers, "positive": [], "negative": [], **tiles}
    small, whole = photograph[:, ::8, ::8], photograph[:, ::2, ::2]
    for more in ({}, {"reference": whole}, {"reference": photograph}):
        with pytest.raises(Begun):
            pack.run("UpscaleStableSR", image=small, **given, **more)
    with torch.no_grad():
        network = vae.first_stage_model
        own = network.quant_conv(network.encoder(whole.movedim(-1, 1) * 2 - 1))[:, :4] * 0.18215
    assert hooks[0] == []
    (held,), (larger,) = hooks[1:]
    torch.testing.assert_close(held.reference, own)
    assert larger.reference.shape == own.shape
    assert not torch.equal(larger.reference, own)
    with pytest.raises(ValueError, match="2 references for 1 images: give one, or one for each"):
        pack.run("UpscaleStableSR", image=small, **given, reference=whole.expand(2, -1, -1, -1))
