"""Diff-SR on the shipped prior: seconds of one face, and what a batch gains.

python benchmarks/diffsr_speed.py [--prior face64] [--scale 4] [--steps 20] [--batch 16] [--threads 2]
[--device cpu] [--repeat 5]

A batch and as many single faces in turn, medians of elapsed time; the level is given, so that all faces take
the same steps.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from priorsr.methods.diffsr.method import DiffSRSettings, diffsr_upscale
from priorsr.methods.priors.load import load_prior
from priorsr.samplers.noise import Noise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prior", default="face64")
    parser.add_argument("--scale", type=float, default=4.0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    prior = load_prior(options.prior)
    prior.network.to(options.device)
    side = round(prior.size / options.scale)
    low = (
        (Noise(range(options.batch))((options.batch, prior.channels, side, side)) / 6 + 0.5)
        .clamp(0, 1)
        .to(options.device)
    )
    settings = DiffSRSettings(level=20, steps=options.steps)

    def seconds(pictures: torch.Tensor) -> float:
        start = time.perf_counter()
        diffsr_upscale(prior, pictures, options.scale, settings, seeds=range(len(pictures))).cpu()
        return time.perf_counter() - start

    seconds(low), seconds(low[:1])  # the first runs warm up
    single, batch = [], []
    for _ in range(options.repeat):
        single.append(statistics.median(seconds(low[i : i + 1]) for i in range(4)))
        batch.append(seconds(low))
    one, many = statistics.median(single), statistics.median(batch) / options.batch
    print(
        f"{options.steps} steps, {prior.size} px, {options.threads} threads, {options.device}: one face "
        f"{one:.3f} s; in a batch of {options.batch}"
    )
    print(f"{many:.3f} s each, {one / many:.2f} times the throughput")


if __name__ == "__main__":
    with torch.no_grad():
        main()
