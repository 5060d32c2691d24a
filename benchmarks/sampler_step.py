"""What a step of the sampling loop costs beside the same written out by hand; sampler_overhead.py runs it."""

from __future__ import annotations

import math

from timing import alternating


def step(sizes: list[int], repeat: int) -> None:
    import torch
    from torch import nn

    from priorsr.methods.priors.adm import ADMPrior
    from priorsr.samplers.noise import Noise
    from priorsr.samplers.run import run
    from priorsr.samplers.schedule import DiscreteSchedule
    from priorsr.samplers.transition import DDPM

    torch.set_grad_enabled(False)
    schedule = DiscreteSchedule.named("linear").respace("20")
    betas, abar = schedule.betas.tolist(), schedule.alphas_cumprod.tolist()
    first, second = schedule.posterior_mean_coef1.tolist(), schedule.posterior_mean_coef2.tolist()
    small = schedule.posterior_log_variance_clipped.tolist()

    def by_hand(network, x, generator):
        """The same steps with nothing around them."""
        for i in reversed(range(len(betas))):
            eps, frac = network(x, torch.full((1,), schedule.timesteps[i])).chunk(2, 1)
            frac = (frac + 1) / 2
            x0 = (x - math.sqrt(1 - abar[i]) * eps) / math.sqrt(abar[i])
            mean = first[i] * x0 + second[i] * x
            if i:
                log_variance = frac * math.log(betas[i]) + (1 - frac) * small[i]
                mean = mean + (0.5 * log_variance).exp() * torch.randn(x.shape, generator=generator)
            x = mean
        return x

    class Precomputed(nn.Module):
        def __init__(self, answer):
            super().__init__()
            self.answer = answer

        def forward(self, x, t):
            return self.answer

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 3, padding=1)

        def forward(self, x, t):
            return torch.tanh(self.conv(x))

    print("CPU ms per DDPM step with a learned variance, RGB")
    print(f"{'size':>6}{'network':>14}{'by hand':>10}{'run':>10}{'ratio':>8}{'noise alone':>14}")
    for size in sizes:
        shape = (1, 3, size, size)
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        torch.manual_seed(0)
        for network in (Precomputed(torch.randn(1, 6, size, size).clamp(-1, 1)), Layer()):
            runs = {
                "by hand": lambda n=network, x=x: by_hand(n, x, torch.Generator().manual_seed(1)),
                "run": lambda n=network, x=x: run(
                    ADMPrior(n, schedule), x, schedule.levels(), DDPM(), noise=Noise(1)
                ),
            }
            torch.testing.assert_close(
                runs["by hand"](), runs["run"](), rtol=1e-3, atol=1e-3
            )  # else the comparison is of no use
            draws = Noise(1)
            runs["noise"] = lambda d=draws, s=shape: [d(s) for _ in betas]
            ms = {name: seconds / len(betas) * 1000 for name, seconds in alternating(runs, repeat).items()}
            name = type(network).__name__.lower()
            print(
                f"{size:>6}{name:>14}{ms['by hand']:>10.2f}{ms['run']:>10.2f}"
                f"{ms['run'] / ms['by hand']:>8.2f}{ms['noise']:>14.2f}"
            )
