"""What DPI costs beside its two networks: time of a step in either stage, beside a plain DDPM step with x0
clipped.

python benchmarks/dpi_overhead.py [--repeat 100] [--sizes 64 128 256] [--steps 50]

Both networks answer at once with what was computed before, so that only the rest is measured: CPU time of one
thread, the fastest of many short runs taken in turn, because other programs on the machine only ever add to
it. `mask` is the part of stage 2 that makes the adaptive one. Aim: at most 1.6 plain steps, and less than the
published implementation.
"""

from __future__ import annotations

import argparse

from timing import fastest

PUBLISHED = {
    64: (0.65, 1.04, 0.20, 0.34),
    128: (3.5, 4.3, 0.27, 0.63),
    256: (12.5, 13.8, 0.50, 5.5),
}  # ms on a similar machine
AIM = 1.6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=100, help="runs of each timing")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--steps", type=int, default=50, help="steps of a run")
    options = parser.parse_args()

    import torch
    from torch import nn

    from priorsr.methods.dpi.conditions import Conditions
    from priorsr.methods.dpi.masks import UniformDraws, adaptive_mask
    from priorsr.methods.priors.adm import ADMPrior
    from priorsr.samplers.hooks import ClipX0
    from priorsr.samplers.noise import Noise
    from priorsr.samplers.run import run
    from priorsr.samplers.schedule import DiscreteSchedule
    from priorsr.samplers.transition import DDPM

    class Precomputed(nn.Module):
        def __init__(self, answer):
            super().__init__()
            self.answer = answer

        def forward(self, x, t):
            return self.answer

    torch.set_num_threads(1)
    schedule = DiscreteSchedule.named("linear")
    half = len(schedule.table) // 2
    levels = schedule.levels(half)[
        : options.steps + 1
    ]  # all in one stage or all in the other, whatever tau says
    print(
        f"CPU ms per step, RGB, k = 2, ancestral with a learned variance; the fastest of {options.repeat} "
        f"runs of {options.steps} steps"
    )
    print(
        f"{'size':>6}{'plain':>9}{'stage 1':>9}{'stage 2':>9}{'mask':>9}{'ratio 1':>9}{'ratio 2':>9}   "
        "published: plain, stage 1, stage 2, mask"
    )
    for size in options.sizes:
        draws = Noise(0)
        x, low, corrected = (
            draws((1, 3, size, size)),
            draws((1, 3, size // 8, size // 8)) / 2,
            draws((1, 3, size, size)) / 2,
        )
        prior = ADMPrior(Precomputed(draws((1, 6, size, size)).clamp(-1, 1)), schedule)
        crt = lambda x, t, y_T, answer=corrected: answer  # noqa: E731

        def sample(hooks, x=x, prior=prior):
            return run(prior, x, levels, DDPM(), [*hooks, ClipX0()], Noise(1))

        stages = {
            "stage 1": Conditions(low, crt, 0, 1.2, 750),
            "stage 2": Conditions(low, crt, 1000, 1.2, 1000),
        }
        uniform, on_grid = UniformDraws(Noise(2)), corrected[..., ::2, ::2].contiguous()
        runs = {
            "plain": lambda: sample([]),
            **{name: lambda hook=hook: sample([hook]) for name, hook in stages.items()},
            "mask": lambda y=on_grid, u=uniform: [adaptive_mask(y, 1.2, u) for _ in range(options.steps)],
        }
        ms = {name: seconds / options.steps * 1000 for name, seconds in fastest(runs, options.repeat).items()}
        ratios = [ms[name] / ms["plain"] for name in stages]
        seen = PUBLISHED.get(size)
        line = f"{seen[3]}, {seen[0]}, {seen[1]}, {seen[2]}" if seen else "none"
        met = "" if max(ratios) <= AIM else f"   above {AIM}"
        figures = "".join(f"{ms[name]:>9.2f}" for name in ("plain", "stage 1", "stage 2", "mask"))
        print(f"{size:>6}{figures}{ratios[0]:>9.2f}{ratios[1]:>9.2f}   {line}{met}", flush=True)


if __name__ == "__main__":
    main()
