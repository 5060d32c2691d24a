"""Networks that diffusers and transformers themselves save answer here as they do there."""

from __future__ import annotations

import pytest
import torch

from priorsr.methods import weights
from priorsr.methods.nets.open_clip_text import BLOCKS
from priorsr.methods.nets.sd_unet import SDConfig
from priorsr.methods.priors.load import load_prior
from priorsr.methods.stablesr.load import load_text, load_unet, load_vae
from priorsr.methods.stablesr.text import tokenise

WIDTH = 64


# with the programs themselves


@pytest.fixture(scope="module")
def diffusers():
    return pytest.importorskip("diffusers", reason="its own classes: pip install diffusers transformers")


@pytest.mark.usefixtures("diffusers")
def test_networks_that_diffusers_saves_answer_as_they_do_there(diffusers, tmp_path):
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=16,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(64, 128, 128),
        layers_per_block=2,
        cross_attention_dim=24,
        attention_head_dim=(1, 2, 2),  # heads: diffusers calls them so
        use_linear_projection=True,
    ).eval()
    vae = diffusers.AutoencoderKL(
        block_out_channels=(32, 32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
    ).eval()
    unet.save_pretrained(tmp_path / "unet", max_shard_size="2MB")
    vae.save_pretrained(tmp_path / "vae")
    assert (tmp_path / "unet" / "diffusion_pytorch_model.safetensors.index.json").is_file()
    x, context, t = torch.randn(2, 4, 16, 16), torch.randn(2, 7, 24), torch.tensor([3.0, 700.0])
    with torch.no_grad():
        expected = unet(x, t, context).sample
        found = load_unet(str(tmp_path))(x, t, context)
        assert expected.std() > 0.1
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        picture, own = torch.rand(1, 3, 64, 48) * 2 - 1, load_vae(str(tmp_path))
        moments = own.encode(picture)
        torch.testing.assert_close(moments, vae.encode(picture).latent_dist.parameters, rtol=0, atol=1e-5)
        z = moments[:, :4]
        torch.testing.assert_close(own.decode(z), vae.decode(z).sample, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("diffusers")
def test_a_text_encoder_that_transformers_saves_answers_as_there(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.CLIPTextConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=BLOCKS,
        num_attention_heads=1,
        vocab_size=49408,
        hidden_act="gelu",
    )
    text = transformers.CLIPTextModel(config).eval()
    text.save_pretrained(tmp_path / "text_encoder")
    tokens = tokenise("")
    tokens[0, 2:9] = torch.arange(7)
    with torch.no_grad():
        expected = text(tokens).last_hidden_state
        found = load_text(str(tmp_path / "text_encoder"))(tokens)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", ["ddpm", "others"])
def test_a_pixel_prior_that_diffusers_saves_answers_as_there(diffusers, tmp_path, form):
    torch.manual_seed(0)
    more = {  # as google/ddpm-celebahq-256 and its sisters; and otherwise
        "ddpm": {
            "attention_head_dim": None,
            "downsample_padding": 0,
            "flip_sin_to_cos": False,
            "freq_shift": 1,
            "norm_eps": 1e-6,
        },
        "others": {"attention_head_dim": 8, "dropout": 0.1},
    }[form]
    network = diffusers.UNet2DModel(
        sample_size=32,
        block_out_channels=(32, 32, 64),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        **more,
    ).eval()
    steps = {"ddpm": 1000, "others": 500}[form]
    scheduler = diffusers.DDPMScheduler(steps, 0.1 / steps, 20 / steps)
    diffusers.DDPMPipeline(network, scheduler).save_pretrained(tmp_path / "ddpm")
    prior = load_prior(str(tmp_path / "ddpm"))
    assert (prior.size, len(prior.schedule.table), prior.schedule.table[0].t) == (32, steps, 0)
    x, t = torch.randn(2, 3, 32, 32), torch.tensor([3.0, 700.0])
    with torch.no_grad():
        torch.testing.assert_close(prior.network(x, t), network(x, t).sample, rtol=0, atol=1e-5)
    found = torch.tensor([level.alpha**2 for level in prior.schedule.table])
    torch.testing.assert_close(found.float(), scheduler.alphas_cumprod, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_the_released_size_of_diffusers_loads(diffusers, tmp_path):
    """SD 2.1's own sizes, in parts of 50 MB, half precision to spare the disk."""
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(
            sample_size=64,
            cross_attention_dim=1024,
            attention_head_dim=(5, 10, 20, 20),
            use_linear_projection=True,
        )
    generator = torch.Generator().manual_seed(0)
    unet = unet.to_empty(device="cpu").half()
    for value in unet.parameters():
        value.data.copy_(torch.randn(value.shape, generator=generator) * 0.02)
    unet.save_pretrained(tmp_path / "unet", max_shard_size="50MB")
    found = weights.list_file(tmp_path / "unet")
    assert len({e.storage.path for e in found.entries.values()}) > 20
    assert load_unet(str(tmp_path / "unet")).config == SDConfig()
