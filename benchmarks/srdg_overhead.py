"""What SRDG costs beside its networks: time of a guided step beside a plain one of the core, and how often
classifiers are asked.

python benchmarks/srdg_overhead.py [--repeat 100] [--sizes 64 128] [--steps 50] [--full]

Score network and classifier answer at once with what was computed before, a gradient included, so that only
the rest is measured: CPU time of one thread, the fastest of many short runs taken in turn, because other
programs on the machine only ever add to it. `asked` is a plain run that also asks the classifier for its
gradient and does nothing with it; what that adds counts as a network and is taken off the guided runs. `1 +
2` steps have two Langevin corrections as published. Aim: at most 1.6 plain steps, one classifier call for
every network call inside the window, none outside. --full runs two steps of the published layout, 128 pixels
and three classifiers, on random weights.
"""

from __future__ import annotations

import argparse
import time
from functools import partial

from timing import fastest

AIM = 1.6


def overhead(sizes: list[int], steps: int, repeat: int) -> None:
    import torch
    from torch import nn

    from priorsr.methods.nets.densenet import DenseNetConfig
    from priorsr.methods.nets.ncsnpp import NCSNppConfig
    from priorsr.methods.priors.ncsnpp import NCSNppPrior
    from priorsr.methods.srdg.attributes import AttributeClassifier, AttributeTarget
    from priorsr.methods.srdg.method import SRDGSettings, guidance_of, levels_of
    from priorsr.samplers.denoiser import Cond
    from priorsr.samplers.noise import Noise
    from priorsr.samplers.run import Hook, run
    from priorsr.samplers.sde import ReverseDiffusion

    class Precomputed(torch.autograd.Function):
        @staticmethod
        def forward(context, x, gradient):
            context.save_for_backward(gradient)
            return x.new_zeros(len(x))

        @staticmethod
        def backward(context, seed):
            return context.saved_tensors[0], None

    class Score(nn.Module):
        def __init__(self, size, answer):
            super().__init__()
            self.config, self.answer, self.calls = NCSNppConfig(size), answer, 0

        def forward(self, x, sigma, low):
            self.calls += 1
            return self.answer

    class Judge(nn.Module):
        def __init__(self, size, gradient):
            super().__init__()
            self.config, self.gradient, self.calls = DenseNetConfig(size), gradient, 0

        def log_prob(self, x, sigma, labels):
            self.calls += 1
            return Precomputed.apply(x, self.gradient)

    class Asked(Hook):
        """The calls of a guided run, which come to nothing."""

        def __init__(self, judge):
            self.judge = judge

        def predict(self, x, level, pred):
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                torch.autograd.grad(self.judge.log_prob(x, None, None), x, torch.ones(len(x)))
            return pred

    window = {"first": 0.6, "last": 0.2}
    print(
        f"CPU ms per step, RGB, one picture; the fastest of {repeat} runs of {steps} steps; classifier "
        "calls by network calls, h 500"
    )
    names = "".join(f"{name:>9}" for name in ("plain", "guided", "limited", "asked", "guided", "limited"))
    print(f"{'size':>6}{'step':>7}{names}   asked everywhere, inside and outside of t 0.6 .. 0.2", flush=True)
    for size in sizes:
        draws = Noise(0)
        x, low = draws((1, 3, size, size)) * 348, draws((1, 3, size, size)) / 4 + 0.5
        prior = NCSNppPrior(Score(size, draws(x.shape)))
        judge = Judge(size, draws(x.shape) * 1e-6)
        levels, wanted = (
            levels_of(prior, SRDGSettings(steps=steps)),
            [AttributeTarget(AttributeClassifier(judge, "gender", ("female", "male")), (1,))],
        )
        cond = Cond({"low_res": low})
        for corrections in (0, 2):
            transition = ReverseDiffusion(corrections)

            def sample(hooks, x=x, prior=prior, levels=levels, transition=transition, cond=cond):
                return run(prior, x, levels, transition, hooks, Noise(1), cond)

            guided, limited, narrow = (
                guidance_of(prior, wanted, SRDGSettings(steps=steps, **own))
                for own in ({}, {"limit": 1.0}, window)
            )
            runs = {"plain": (), "guided": guided, "limited": limited, "asked": (Asked(judge),)}
            runs = {name: partial(sample, hooks) for name, hooks in runs.items()}
            ms = {name: seconds / steps * 1000 for name, seconds in fastest(runs, repeat).items()}
            counts = []
            for hooks, walked in (
                (guided, levels),
                (narrow, levels),
                (narrow, [level for level in levels if not _within(narrow[0], level)]),
            ):
                prior.network.calls = judge.calls = 0
                run(prior, x, walked, transition, hooks, Noise(1), cond)
                counts.append(f"{judge.calls}/{prior.network.calls}")
            ratios = [(ms[name] - ms["asked"]) / ms["plain"] + 1 for name in ("guided", "limited")]
            met = "" if max(ratios) <= AIM else f"   above {AIM}"
            figures = "".join(f"{v:>9.3f}" for v in ms.values()) + "".join(f"{r:>8.2f}x" for r in ratios)
            print(f"{size:>6}{f'1 + {corrections}':>7}{figures}   {', '.join(counts)}{met}", flush=True)


def _within(hook, level) -> bool:
    return level.sigma > 0 and hook.window[0] <= level.sigma / level.alpha <= hook.window[1]


def full() -> None:
    """Two steps as published of the released sizes."""
    import torch

    from priorsr.methods.nets.densenet import DenseNet
    from priorsr.methods.nets.ncsnpp import NCSNpp
    from priorsr.methods.priors.ncsnpp import NCSNppPrior
    from priorsr.methods.srdg.attributes import CLASSES, AttributeClassifier, AttributeTarget
    from priorsr.methods.srdg.method import PRESETS, preset, srdg_upscale
    from priorsr.samplers.noise import Noise

    torch.manual_seed(0)
    prior = NCSNppPrior(NCSNpp().eval().requires_grad_(False))
    prior.network.all_modules[-1].weight.normal_(
        0, 0.02
    )  # new ones answer next to nothing, by whose size a correction divides
    wanted = [
        AttributeTarget(AttributeClassifier(DenseNet().eval().requires_grad_(False), name, classes), (1,))
        for name, classes in CLASSES.items()
    ]
    low = Noise(0).uniform((1, 3, 16, 16))
    steps = PRESETS["published"].steps
    for name, asked in (("without attributes", ()), ("three classifiers", wanted)):
        start, cpu = time.perf_counter(), time.process_time()
        result = srdg_upscale(prior, low, 8, asked, preset("published", steps=2), seeds=[0])
        cpu, elapsed = (time.process_time() - cpu) / 2, (time.perf_counter() - start) / 2
        assert result.shape == (1, 3, 128, 128)
        print(
            f"16 to 128 pixels, {name}: {cpu:.1f} CPU s a step ({elapsed:.1f} elapsed), "
            f"{steps * cpu / 3600:.1f} hours for {steps} steps",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=100, help="runs of each timing")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--steps", type=int, default=50, help="steps of a run")
    parser.add_argument(
        "--full", action="store_true", help="run the published layout, too: some 20 seconds and 1.5 GB"
    )
    options = parser.parse_args()

    import torch

    torch.set_num_threads(1)
    overhead(options.sizes, options.steps, options.repeat)
    if options.full:
        full()


if __name__ == "__main__":
    main()
