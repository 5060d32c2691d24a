"""What the sampling loop costs beside the network: time of a step, of a guided step, and memory of a tiled
picture.

python benchmarks/sampler_overhead.py [--parts step guided share memory] [--repeat 15] [--sizes 64 128 256]
[--side 2048]

step    a DDPM step on a precomputed answer and on a one-layer network, beside the same step written out by
  hand
guided  a DPS step on ADM networks, the FFHQ one among them, beside a plain step (at most 2.2 of those)
share   time outside the network in a 256 x 256 step of the FFHQ network (at most 3 %), with random weights
memory  peak of denoising a large picture in 256-pixel tiles, beside one batch of tiles plus the images (at
  most 1.2 of those): freely, and
        guided by a measurement of it, where the batch is a forward and a backward pass

CPU time of one thread, which other programs on the machine disturb less than elapsed time; medians. Every
part runs in a process of its own, and so does every measurement of memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

from sampler_step import step
from timing import alternating

PARTS = ("step", "guided", "share", "memory")
# whose memory is measured: its name, the batch it is compared with, and how many pictures it holds. Those are
# x, x0, eps, frac, and in a
# run its own copy of x; under guidance also x0 before it was clipped, the gradients to both x0 and to x, and
# the state after the step
ACTIONS = {
    "batch": ("one batch of tiles", "batch", 0),
    "tiled": ("the picture, denoised once", "batch", 4),
    "ddpm": ("the picture, one DDPM step", "batch", 5),
    "gradient": ("one batch of tiles, its gradient", "gradient", 0),
    "dps": ("the picture, one DPS step", "gradient", 10),
}
TILE, OVERLAP, BATCH = 256, 32, 4


def adm(**settings):
    """An ADM network with random weights everywhere, and the time and calls of its passes."""
    import torch

    from priorsr.methods.nets.adm_config import ADMConfig
    from priorsr.methods.nets.adm_released import RELEASED, build_adm

    class Counted(torch.nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network, self.forwards, self.backwards, self.seconds = network, 0, 0, 0.0

        def forward(self, x, t):
            start = time.process_time()
            out = self.network(x, t)
            self.seconds += time.process_time() - start
            self.forwards += 1
            if out.requires_grad:
                out.register_hook(self.count)
            return out

        def count(self, gradient):
            self.backwards += 1

    torch.manual_seed(0)
    network = (
        build_adm(RELEASED[settings["released"]] if "released" in settings else ADMConfig(**settings))
        .eval()
        .requires_grad_(False)
    )
    for parameter in network.parameters():
        if (
            parameter.ndim > 1 and not parameter.any()
        ):  # layers that start at zero would make every gradient zero
            torch.nn.init.normal_(parameter, std=0.02)
    return Counted(network)


def guided(repeat: int) -> None:
    import torch

    from priorsr.methods.dps.sampling import DPSSettings, guide
    from priorsr.methods.imaging.operators import Reduction
    from priorsr.methods.priors.adm import ADMPrior
    from priorsr.samplers.hooks import ClipX0
    from priorsr.samplers.noise import Noise
    from priorsr.samplers.run import run
    from priorsr.samplers.schedule import DiscreteSchedule
    from priorsr.samplers.transition import DDPM

    schedule = DiscreteSchedule.named("linear").respace("2")
    steps = len(schedule.betas)
    small = {
        "model_channels": 32,
        "num_res_blocks": 1,
        "channel_mult": (1, 2, 2),
        "attention_factors": (4,),
        "num_head_channels": 32,
    }
    print("DPS with x4 reduction beside plain DDPM (x0 clipped in both), ADM networks, CPU ms per step")
    print(
        f"{'network':>8}{'size':>6}{'forward':>9}{'+backward':>11}{'plain':>8}{'DPS':>8}{'ratio':>8}   "
        "network calls a step"
    )
    for name, size, settings in (
        ("small", 64, small),
        ("FFHQ", 64, {"released": "ffhq_10m"}),
        ("FFHQ", 128, {"released": "ffhq_10m"}),
    ):
        network = adm(**settings)
        prior, operator = ADMPrior(network, schedule), Reduction((size, size), 4)
        x = Noise(0)((1, 3, size, size))
        hooks = {"plain": [ClipX0()], "DPS": guide(operator(x), operator, DPSSettings())}
        runs = {
            what: lambda p=prior, x=x, h=h: run(p, x, schedule.levels(), DDPM(), h, Noise(1))
            for what, h in hooks.items()
        }
        calls = {}
        for what in runs:
            network.forwards = network.backwards = 0
            runs[what]()
            calls[what] = (
                f"{what} {network.forwards / steps:g} forward {network.backwards / steps:g} backward"
            )
        runs["forward"] = lambda n=network, x=x: n(x, torch.zeros(1))  # the network on its own
        runs["both"] = lambda n=network, x=x.clone().requires_grad_(): torch.autograd.grad(
            n(x, torch.zeros(1)).sum(), x
        )
        ms = {what: seconds * 1000 for what, seconds in alternating(runs, repeat).items()}
        plain, dps = ms["plain"] / steps, ms["DPS"] / steps
        network_ms = f"{ms['forward']:>9.0f}{ms['both']:>11.0f}"
        print(
            f"{name:>8}{size:>6}{network_ms}{plain:>8.0f}{dps:>8.0f}{dps / plain:>8.2f}   "
            f"{', '.join(calls.values())}"
        )


def share(repeat: int) -> None:
    from priorsr.methods.priors.adm import ADMPrior
    from priorsr.samplers.hooks import ClipX0
    from priorsr.samplers.noise import Noise
    from priorsr.samplers.run import run
    from priorsr.samplers.schedule import DiscreteSchedule
    from priorsr.samplers.transition import DDPM

    network = adm(released="ffhq_10m")
    schedule = DiscreteSchedule.named("linear").respace("100")
    rows: list[tuple[float, float]] = []  # CPU seconds of a step, and of the network in it
    last = [time.process_time(), 0.0]

    def on_step(step, x):
        rows.append((time.process_time() - last[0], network.seconds - last[1]))
        last[:] = time.process_time(), network.seconds

    x = Noise(0)((1, 3, 256, 256))
    levels = schedule.levels()[: min(repeat, 4) + 2]
    last[0] = time.process_time()
    run(ADMPrior(network, schedule), x, levels, DDPM(), [ClipX0()], Noise(1), on_step=on_step)
    whole = statistics.median(a for a, _ in rows[1:])  # the first step warms up
    outside = statistics.median(a - b for a, b in rows[1:])
    print(f"FFHQ network at 256 x 256, DDPM with clipped x0, {len(rows) - 1} steps")
    print(f"{'step, s':>10}{'outside the network, ms':>26}{'share':>9}")
    print(f"{whole:>10.2f}{outside * 1000:>26.1f}{outside / whole:>9.2%}")


def memory(what: str, side: int, width: int) -> dict:
    """MB that one action adds to the peak of the loaded program, and those that its images take."""
    import torch

    from priorsr.methods.dps.sampling import DPSSettings, guide
    from priorsr.methods.imaging.operators import ReduceTo
    from priorsr.methods.priors.adm import ADMPrior
    from priorsr.samplers.noise import Noise
    from priorsr.samplers.run import run
    from priorsr.samplers.schedule import DiscreteSchedule
    from priorsr.samplers.tiled import Tiled
    from priorsr.samplers.transition import DDPM

    guided = what in ("gradient", "dps")
    torch.set_grad_enabled(guided)
    network = adm(
        model_channels=width,
        num_res_blocks=1,
        channel_mult=(1,) * 4,
        attention_factors=(),
        resblock_updown=False,
        num_head_channels=32,
    )
    schedule = DiscreteSchedule.named("linear").respace("10")
    prior, levels = ADMPrior(network, schedule), schedule.levels()
    tiled = Tiled(prior, TILE, OVERLAP, BATCH)

    def step(denoiser, x):
        size = x.shape[-1] // 4
        hooks = guide(torch.zeros(1, 3, size, size), ReduceTo((size, size)), DPSSettings()) if guided else []
        return run(denoiser, x, levels[:2], DDPM(), hooks, Noise(1))

    step(prior, torch.zeros(1, 3, 64, 64))  # loads what is loaded once
    network.forwards = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    x = torch.zeros(BATCH, 3, TILE, TILE) if what in ("batch", "gradient") else Noise(0)((1, 3, side, side))
    result = {
        "batch": lambda: prior(x, levels[0]),
        "tiled": lambda: tiled(x, levels[0]),
        "ddpm": lambda: step(tiled, x),
        "gradient": lambda: torch.autograd.grad(prior(x.requires_grad_(), levels[0]).x0.sum(), x),
        "dps": lambda: step(tiled, x),
    }[what]()
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    del result
    return {"peak": peak, "image": x.nbytes / 2**20, "calls": network.forwards}


def memory_table(side: int, width: int) -> None:
    print(
        f"{side} x {side} RGB, tiles of {TILE}, overlap {OVERLAP}, {BATCH} a batch, ADM network of {width} "
        "channels; MB beyond the loaded program"
    )
    print(f"{'':<34}{'network calls':>14}{'peak':>8}{'batch':>8}{'images':>8}{'ratio':>8}")
    peaks = {}
    for what, (name, base, count) in ACTIONS.items():
        found = json.loads(child("--one", what, "--side", str(side), "--width", str(width)))
        peak, images = found["peak"], count * found["image"]
        peaks[what] = peak
        compared = f"{peaks[base]:>8.0f}{images:>8.0f}{peak / (peaks[base] + images):>8.2f}" if count else ""
        print(f"{name:<34}{found['calls']:>14}{peak:>8.0f}{compared}", flush=True)


def child(*options: str) -> str:
    """This program in a fresh process: a parent without torch leaves no trace in its peak memory."""
    return subprocess.run(
        [sys.executable, __file__, *options], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument(
        "--repeat",
        type=int,
        default=15,
        help="runs of each timing; at most 4 steps of the FFHQ network, 1 of memory",
    )
    parser.add_argument("--side", type=int, default=2048, help="of the tiled picture")
    parser.add_argument("--width", type=int, default=32, help="channels of the network it is tiled on")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is None:
        for part in options.parts:
            if part == "memory":
                memory_table(options.side, options.width)
            else:
                print(
                    child(
                        "--one", part, "--repeat", str(options.repeat), "--sizes", *map(str, options.sizes)
                    ),
                    end="",
                )
            print(flush=True)
        return
    import torch

    torch.set_num_threads(1)
    if options.one == "step":
        step(options.sizes, options.repeat)
    elif options.one == "guided":
        guided(options.repeat)
    elif options.one == "share":
        share(options.repeat)
    else:
        print(json.dumps(memory(options.one, options.side, options.width)))


if __name__ == "__main__":
    main()
