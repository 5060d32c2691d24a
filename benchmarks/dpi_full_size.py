"""DPI at the published size: 32 to 256 pixels with networks laid out as ffhq_10m and the published corrector,
weights at random.

python benchmarks/dpi_full_size.py [--steps 4] [--batch 1] [--device cuda --half]

Tells seconds a step and a face, and the highest memory; the picture means nothing, but must be finite and the
condition on its grid.
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import replace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--half", action="store_true", help="networks in float16, for a GPU")
    options = parser.parse_args()

    import torch

    from priorsr.methods.dpi.corrector import Corrector
    from priorsr.methods.dpi.method import PRESETS, dpi_upscale
    from priorsr.methods.nets.adm_released import RELEASED, build_adm
    from priorsr.methods.nets.corrector import CorrectorUNet
    from priorsr.methods.priors.adm import ADMPrior

    if options.device == "cpu":
        torch.set_num_threads(1)
    torch.manual_seed(0)
    prior = ADMPrior(build_adm(RELEASED["ffhq_10m"]).eval().requires_grad_(False))
    corrector = Corrector(CorrectorUNet(RELEASED["corrector"]).eval().requires_grad_(False), 2, 8)
    for network in (prior.network, corrector.network):
        network.to(options.device, torch.float16 if options.half else torch.float32)
    settings = replace(PRESETS["x8"], respacing=str(options.steps))
    low = torch.rand(options.batch, 3, 32, 32, generator=torch.Generator().manual_seed(1)).to(options.device)
    cuda = options.device.startswith("cuda")
    if cuda:
        dpi_upscale(prior, corrector, low, 8, settings)  # warm
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    with torch.no_grad():
        result = dpi_upscale(prior, corrector, low, 8, settings, seeds=list(range(options.batch)))
    if cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    peak = (
        torch.cuda.max_memory_allocated()
        if cuda
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    assert result.shape == (options.batch, 3, 256, 256), "wrong size"
    assert torch.isfinite(result).all(), "not finite"
    per_step = seconds / options.steps / options.batch
    print(
        f"{options.steps} steps, batch {options.batch}, {'float16' if options.half else 'float32'} on "
        f"{options.device}: "
        f"{per_step:.3f} s a step and face ({1000 * per_step:.0f} s in 1000 steps), at most "
        f"{peak / 2**20:.0f} MiB"
    )


if __name__ == "__main__":
    main()
