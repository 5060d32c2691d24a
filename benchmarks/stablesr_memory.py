"""Memory of StableSR on a large picture beside that of one tile: sampling in tiles, then decoding in tiles
with feature wrapping.

python benchmarks/stablesr_memory.py [--side 2048] [--tile 512] [--overlap 64] [--batch 1]

Small networks of random weights, float32, one thread. The peak of the large picture, less its pictures and
latents, is to be at most 1.15 times that of pictures as large as a tile, as many of them as tiles go into one
call. Each measurement has a process of its own; large blocks of memory go back to the system at once, so that
the peak is what is held and not what the allocator keeps.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys

AIM = 1.15
PICTURES, LATENTS = (
    2,
    8,
    # the input and the result; x, its two answers, noise, the step's mean, the new x, the input's, its random
    # part
)


def networks():
    """StableSR in its released form but for the widths, with random weights that keep the size of what passes
    through.
    """
    import math

    import torch

    from priorsr.methods.nets.adm_config import ADMConfig
    from priorsr.methods.nets.cfw import CFW
    from priorsr.methods.nets.sd_unet import SDConfig, SDUNet
    from priorsr.methods.nets.sd_vae import VAE, VAEConfig
    from priorsr.methods.nets.spade import SFT, residual_blocks
    from priorsr.methods.nets.struct_encoder import StructEncoder
    from priorsr.methods.stablesr.layers import StableSRLayers
    from priorsr.methods.stablesr.method import StableSR
    from priorsr.methods.stablesr.prior import diffusion_prior

    torch.manual_seed(0)
    unet = SDUNet(
        SDConfig(
            model_channels=64, num_res_blocks=1, channel_mult=(1, 2), attention_factors=(2,), context_dim=24
        )
    )
    plain = {
        "attention_factors": (),
        "num_head_channels": None,
        "scale_shift": False,
        "resblock_updown": False,
    }
    encoder = StructEncoder(
        ADMConfig(
            image_size=96,
            in_channels=4,
            out_channels=32,
            model_channels=32,
            num_res_blocks=1,
            channel_mult=(1, 2),
            **plain,
        )
    )
    vae, cfw = (
        VAE(VAEConfig(channels=32, channel_mult=(1, 1, 2, 2), num_res_blocks=1)),
        CFW({1: 32, 2: 64}, blocks=1, growth=8),
    )
    sft = SFT(residual_blocks(unet), 32)
    for network in (unet, encoder, sft, vae, cfw):
        network.eval().requires_grad_(False)
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=1 / math.sqrt(parameter[0].numel()))
            else:
                torch.nn.init.constant_(parameter, float(name.endswith("weight")))
    return StableSR(diffusion_prior(unet), StableSRLayers(encoder, sft), vae, cfw)


def measure(side: int, pictures: int, tile: int, overlap: int, batch: int) -> dict[str, float]:
    """MB beyond the loaded program at the end of sampling and at the end of decoding, and those of a picture
    and of a latent.
    """
    import torch

    from priorsr.methods.stablesr.autoencoder import Autoencoder
    from priorsr.methods.stablesr.method import StableSRSettings, sample
    from priorsr.methods.stablesr.prior import CONTEXT, LR, modulated
    from priorsr.samplers.denoiser import Cond
    from priorsr.samplers.noise import Noise

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    model, settings = (
        networks(),
        StableSRSettings(
            steps=2, tile=tile, overlap=overlap, tile_batch=batch, vae_tile=tile, vae_overlap=overlap
        ),
    )
    coder, denoiser = Autoencoder(model.vae, model.cfw, tile, overlap), modulated(model.prior, model.layers)

    def run(side: int, pictures: int) -> dict[str, float]:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak = lambda: (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024  # noqa: E731
        noise = Noise(list(range(pictures)))
        image = noise((pictures, 3, side, side)).clamp_(-1, 1)
        lr = noise((pictures, 4, side // 8, side // 8))  # of an encoder that is not measured
        latent = sample(
            denoiser, Cond({LR: lr}, {CONTEXT: torch.zeros(1, 7, 24)}).expand(pictures), settings, noise
        )
        sampled = peak()
        decoded = torch.empty(0)
        for i in range(pictures):  # one by one, as the nodes do
            decoded = coder.decode(latent[i : i + 1], image[i : i + 1], 0.5)
        return {
            "sampling": sampled,
            "decoding": peak(),
            "picture": decoded.nbytes / 2**20,
            "latent": latent.nbytes / pictures / 2**20,
        }

    run(64, 1)  # loads what is loaded once
    return run(side, pictures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=2048, help="of the large picture, in pixels")
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--overlap", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1, help="tiles in one call of the UNet")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        pictures = options.batch if options.one == options.tile else 1
        print(json.dumps(measure(options.one, pictures, options.tile, options.overlap, options.batch)))
        return
    print(
        f"MB beyond the loaded program; tiles of {options.tile} that overlap by {options.overlap}, "
        f"{options.batch} in one call of the UNet"
    )
    print(f"{'picture':>14}{'sampling':>10}{'and decoding':>14}{'pictures, latents':>19}{'less those':>12}")
    left = {}
    for side, count in ((options.tile, options.batch), (options.side, 1)):
        command = [sys.executable, __file__, "--one", str(side)]
        command += [f"--{name}={getattr(options, name)}" for name in ("tile", "overlap", "batch")]
        made = subprocess.run(
            command,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"},
        )
        found = json.loads(made.stdout)
        images = count * (PICTURES * found["picture"] + LATENTS * found["latent"])
        left[side] = found["decoding"] - images
        title = f"{count} x {side}^2"
        print(
            f"{title:>14}{found['sampling']:>10.0f}{found['decoding']:>14.0f}{images:>19.0f}{left[side]:>12.0f}",
            flush=True,
        )
    ratio = left[options.side] / left[options.tile]
    print(f"ratio {ratio:.3f}, to be at most {AIM}{'' if ratio <= AIM else ': missed'}")


if __name__ == "__main__":
    main()
