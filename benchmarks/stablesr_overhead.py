"""What StableSR adds to a call of Stable Diffusion's network: its share of the time beside its share of the
arithmetic.

python benchmarks/stablesr_overhead.py [--repeat 10] [--sizes 32 64] [--channels 64]

A UNet of Stable Diffusion 2.1's form with fewer channels answers alone and with StableSR's encoder and
layers, which are reduced alike: CPU time of one thread, the fastest of many calls in turn, because other
programs on the machine only ever add to it. Operations are those that torch counts, of convolutions, products
and attention. Aim: what is added takes at most 1.25 times the share that its operations have, both in calls
of the plain network.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from dpi_overhead import fastest

AIM = 1.25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=10, help="calls of each")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[32, 64], help="sides of the latent, multiples of 8"
    )
    parser.add_argument(
        "--channels", type=int, default=64, help="of the UNet's first level, where Stable Diffusion has 320"
    )
    options = parser.parse_args()

    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from priorsr.methods.nets import struct_encoder
    from priorsr.methods.nets.sd_unet import SDConfig, SDUNet
    from priorsr.methods.nets.spade import SFT, residual_blocks
    from priorsr.methods.nets.struct_encoder import StructEncoder
    from priorsr.methods.stablesr.layers import StableSRLayers
    from priorsr.methods.stablesr.levels import CHAIN
    from priorsr.methods.stablesr.prior import CONTEXT, LR, diffusion_prior, modulated
    from priorsr.samplers.denoiser import Cond
    from priorsr.samplers.noise import Noise

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    full, reduced = SDConfig(), options.channels / SDConfig.model_channels
    width = round(struct_encoder.RELEASED.model_channels * reduced / 32) * 32  # group norms have 32 groups
    unet = SDUNet(
        replace(full, model_channels=options.channels, context_dim=round(full.context_dim * reduced))
    ).eval()
    encoder = StructEncoder(replace(struct_encoder.RELEASED, model_channels=width, out_channels=width)).eval()
    prior = diffusion_prior(unet)
    restoring = modulated(prior, StableSRLayers(encoder, SFT(residual_blocks(unet), width).eval()))
    draws, level = Noise(0), CHAIN.table[len(CHAIN.table) // 2]
    context = draws((1, 77, unet.config.context_dim))

    print(
        f"one call with {options.channels} channels, one picture, one thread; the fastest of "
        f"{options.repeat}, CPU time"
    )
    print(
        f"{'latent':>8}{'plain':>11}{'StableSR':>11}{'plain':>11}{'StableSR':>11}{'time':>9}{'operations':>12}{'ratio':>8}"
    )
    for size in options.sizes:
        x, lr = draws((1, 4, size, size)), draws((1, 4, size, size))
        plain, spatial = Cond(flat={CONTEXT: context}), Cond({LR: lr}, {CONTEXT: context})
        runs = {
            "plain": lambda x=x, cond=plain: prior(x, level, cond),
            "StableSR": lambda x=x, cond=spatial: restoring(x, level, cond),
        }
        operations = {}
        for name, run in runs.items():
            with FlopCounterMode(display=False) as counter:
                run()
            operations[name] = counter.get_total_flops()
        seconds = fastest(runs, options.repeat)
        time, share = (found["StableSR"] / found["plain"] - 1 for found in (seconds, operations))
        met = "" if time <= AIM * share else f"   above {AIM}"
        figures = "".join(f"{seconds[name] * 1000:>8.1f} ms" for name in runs) + "".join(
            f"{operations[name] / 1e9:>7.2f} GFl" for name in runs
        )
        print(f"{size:>8}{figures}{time:>+9.1%}{share:>+12.1%}{time / share:>8.2f}{met}", flush=True)


if __name__ == "__main__":
    main()
