from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fill import filled, tensor
from stablesr_tiny import COARSE, STRUCT, UNET, context, tiny

from priorsr.methods.nets.cfw import CFW
from priorsr.methods.nets.sd_unet import SDConfig, SDUNet
from priorsr.methods.nets.sd_vae import VAE, VAEConfig, split_moments
from priorsr.methods.nets.spade import SFT, SPADE, residual_blocks
from priorsr.methods.nets.stablesr_released import infer_sft
from priorsr.methods.nets.struct_encoder import RELEASED, StructEncoder
from priorsr.methods.stablesr.layers import StableSRLayers
from priorsr.methods.stablesr.load import layers_of
from priorsr.methods.weights import network_of

MANIFESTS = {
    p.stem: json.loads(p.read_text())
    for p in (Path(__file__).parents[2] / "golden" / "cases" / "stablesr" / "manifests").glob("*.json")
}


def released(name):
    return {key: torch.empty(shape, device="meta") for key, shape in MANIFESTS[name].items()}


def shapes(state):
    return {key: list(value.shape) for key, value in state.items()}


def millions(*networks):
    return round(sum(p.numel() for network in networks for p in network.parameters()) / 1e6, 2)


def hooks(network):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


@pytest.mark.parametrize("name", ["stablesr_full_ckpt", "stablesr_webui_stripped"])
def test_released_layers_fit_key_for_key(name):
    layers = layers_of(network_of("stablesr-layers", released(name)))
    assert shapes(layers.released_state()) == MANIFESTS["stablesr_webui_stripped"]
    assert layers.encoder.config == RELEASED
    assert len(layers.sft.widths) == 22
    assert (millions(layers.encoder), millions(layers.sft)) == (52.49, 53.02)


def test_the_halves_of_the_released_layers_are_the_two_manifests():
    halves = MANIFESTS["stablesr_spade_only"].keys() | MANIFESTS["stablesr_struct_encoder_only"].keys()
    assert halves == MANIFESTS["stablesr_webui_stripped"].keys()


def test_released_base_model_fits_key_for_key_and_takes_the_layers():
    full = released("stablesr_full_ckpt")
    unet = network_of("sd-unet", full)
    vae = network_of("sd-vae", full)
    assert unet.config == SDConfig()
    assert vae.config == VAEConfig()
    assert (millions(unet), millions(vae)) == (865.91, 83.65)
    layers_of(network_of("stablesr-layers", full)).check(unet)


@pytest.mark.parametrize("name", ["vqgan_cfw_ckpt", "vqgan_cfw_fusion_only"])
def test_released_fusion_fits_key_for_key(name):
    cfw = network_of("cfw", released(name))
    assert (
        shapes({f"decoder.{k}": v for k, v in cfw.state_dict().items()}) == MANIFESTS["vqgan_cfw_fusion_only"]
    )
    assert millions(cfw) == 44.39
    with torch.device("meta"):
        cfw.check(VAE())


def test_the_autoencoder_beside_the_fusion_is_the_released_one():
    assert network_of("sd-vae", released("vqgan_cfw_ckpt")).config == VAEConfig()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (replace(SDConfig(), context_dim=768), "takes prompts of 768 channels"),
        (replace(SDConfig(), channel_mult=(1, 2, 4)), "residual blocks differ"),
        (replace(SDConfig(), in_channels=9), "no inpainting"),
    ],
    ids=["1.5", "fewer levels", "inpainting"],
)
def test_another_base_model_is_refused(other, message):
    with torch.device("meta"):
        unet = SDUNet(other)
    with pytest.raises(ValueError, match=message):
        layers_of(network_of("stablesr-layers", released("stablesr_webui_stripped"))).check(unet)


def test_features_halve_with_any_size_and_do_not_depend_on_the_batch():
    encoder, latent, t = (
        filled(StructEncoder(STRUCT)),
        tensor("latent", (2, 4, 17, 6)),
        torch.tensor([3.0, 900.0]),
    )
    together = encoder(latent, t)
    assert [tuple(f.shape) for f in together] == [(2, 32, 17, 6), (2, 32, 9, 3)]
    for i in range(2):
        for alone, both in zip(encoder(latent[i : i + 1], t[i : i + 1]), together, strict=True):
            torch.testing.assert_close(alone[0], both[i], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[0], encoder(latent, t + 50)[0])
    with pytest.raises(ValueError, match=r"\(B, 4, H, W\)"):
        encoder(latent[:, :3], t)


def test_a_stacked_batch_shares_its_features():
    layer, feature = filled(SPADE(32, 8)), tensor("feature", (2, 8, 5, 4))
    x = tensor("x", (6, 32, 5, 4))
    torch.testing.assert_close(layer(x, feature), layer(x, feature.repeat(3, 1, 1, 1)))
    assert layer(x.half(), feature).dtype == torch.half


def test_modulation_leaves_the_base_model_as_it_was():
    model = tiny()
    unet, layers, x, t = model.prior.network, model.layers, tensor("x", (1, 4, 8, 8)), torch.tensor([500.0])
    plain = unet(x, t, context())
    features = layers.encoder(tensor("lr", (1, 4, 8, 8)), t)
    with layers.sft.modulating(unet, features):
        assert not torch.allclose(unet(x, t, context()), plain, atol=1e-2)
    with pytest.raises(RuntimeError, match="stop"), layers.sft.modulating(unet, features):
        raise RuntimeError("stop")
    assert hooks(unet) == 0
    assert torch.equal(unet(x, t, context()), plain)
    handles = layers.sft.attach(unet)
    with pytest.raises(ValueError, match="there are: none"):
        unet(x, t, context())
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize(
    ("lr", "batch", "message"),
    [
        ((1, 4, 8, 12), 1, r"no feature map of 8x8 .*8x12, 4x6"),
        ((2, 4, 8, 8), 3, "a batch of 3 cannot share"),
    ],
)
def test_features_that_do_not_fit_are_refused(lr, batch, message):
    model = tiny()
    unet, layers = model.prior.network, model.layers
    x, t = tensor("x", (batch, 4, 8, 8)), torch.full((batch,), 500.0)
    features = layers.encoder(tensor("lr", lr), t[:1].expand(lr[0]))
    with layers.sft.modulating(unet, features), pytest.raises(ValueError, match=message):
        unet(x, t, context(batch))


def test_layers_of_other_widths_do_not_fit():
    layers = StableSRLayers(tiny().layers.encoder, SFT({"input_blocks.1.0": 32}, 8))
    with pytest.raises(ValueError, match=r"8 residual blocks differ .*32 channels expected, 64 found"):
        layers.check(tiny().prior.network)
    assert len(residual_blocks(tiny().prior.network)) == 8


@pytest.mark.parametrize(
    ("mult", "blocks"), [((1, 2, 4, 4), 2), ((1, 2), 1), ((1, 1, 2), 3), ((2,), 2)], ids=str
)
def test_layers_tell_every_residual_block_that_they_are_made_for(mult, blocks):
    """In the UNet's own order."""
    config = SDConfig(model_channels=32, channel_mult=mult, num_res_blocks=blocks, attention_factors=())
    with torch.device("meta"):
        places = residual_blocks(SDUNet(config))
        state = SFT(places, 4).state_dict()
    assert list(infer_sft(state, len(mult)).items()) == list(places.items())


def test_the_unet_tells_what_prompt_it_needs():
    unet, x, t = tiny().prior.network, tensor("x", (1, 4, 8, 8)), torch.tensor([500.0])
    with pytest.raises(ValueError, match=rf"\(1, tokens, {UNET.context_dim}\)"):
        unet(x, t, context()[..., :5])
    with pytest.raises(ValueError, match="multiples of 2"):
        unet(x[..., :7], t, context())


def test_a_sample_alone_equals_the_sample_in_a_batch():
    unet, x, t = tiny().prior.network, tensor("x", (2, 4, 8, 6)), torch.tensor([10.0, 700.0])
    together = unet(x, t, context(2))
    torch.testing.assert_close(unet(x[1:], t[1:], context(2)[1:]), together[1:], rtol=1e-4, atol=1e-4)


def test_fusion_leaves_the_autoencoder_as_it_was():
    model = tiny()
    vae, cfw, image, z = model.vae, model.cfw, tensor("image", (1, 3, 32, 16)), tensor("z", (1, 4, 4, 2))
    plain = vae.decode(z)
    with cfw.collecting(vae.encoder) as maps:
        vae.encode(image)
    assert {level: tuple(m.shape) for level, m in maps.items()} == {1: (1, 32, 16, 8), 2: (1, 64, 8, 4)}
    with cfw.fusing(vae.decoder, maps, 1.0):
        fused = vae.decode(z)
    with cfw.fusing(vae.decoder, {}, 0.0):
        assert torch.equal(vae.decode(z), plain)
    assert hooks(vae) == 0
    assert torch.equal(vae.decode(z), plain)
    assert not torch.allclose(fused, plain, atol=1e-3)


def test_fusion_for_another_autoencoder_is_refused():
    with (
        pytest.raises(ValueError, match="256 channels at level 1, the encoder's has 32"),
        torch.device("meta"),
    ):
        CFW().check(VAE(COARSE))


def test_the_autoencoder_refuses_what_it_cannot_take():
    vae = tiny().vae
    with pytest.raises(ValueError, match="multiples of 8"):
        vae.encode(torch.zeros(1, 3, 30, 32))
    with pytest.raises(ValueError, match=r"latents \(B, 4, h, w\)"):
        vae.decode(torch.zeros(1, 3, 4, 4))
    mean, deviation = split_moments(torch.tensor([[0.5], [100.0]]).view(1, 2, 1, 1))
    assert (mean.item(), deviation.item()) == (0.5, pytest.approx(2.718281828**10, rel=1e-4))
