"""How good an unconditional prior is: restoration by null-space projection, what few steps cost, samples that
collapsed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from ..diffsr.method import DiffSRSettings, diffsr_upscale
from ..imaging.resize import resize, size_of
from ..metrics.faces import reduced
from ..metrics.fidelity import psnr, ssim
from ..priors.prior import Prior
from ..priors.unconditional import samples

DDNM = DiffSRSettings(
    level=93, steps=100, sampler="renoise", eta=0.85, consistency=1.0
)  # steps and eta of DDNM; the start holds nearly no picture
FLAT = 0.05  # standard deviation of a picture that shows nothing; faces have 0.1 to 0.3
OFTEN = 4  # samples whose mean is judged besides


def restoration(
    prior: Prior, truth: Tensor, scales: Sequence[int], on_step: Callable[[], object] = lambda: None
) -> list[dict]:
    """Rows of scale, method, psnr, ssim: bicubic, one DDNM sample (Wang et al. 2023) and the mean of four,
    for faces in 0..1.
    """
    rows = []
    for scale in scales:
        low = reduced(truth, scale)
        samples = []
        for i in range(OFTEN):
            samples.append(
                diffsr_upscale(prior, low, scale, DDNM, seeds=[i * len(low) + j for j in range(len(low))])
            )
            on_step()
        shown = {
            "bicubic": resize(low, size_of(truth)).clamp(0, 1),
            "one sample": samples[0],
            f"mean of {OFTEN}": sum(samples) / OFTEN,
        }
        rows += [
            {
                "scale": scale,
                "method": k,
                "psnr": float(psnr(x, truth).mean()),
                "ssim": float(ssim(x, truth).mean()),
            }
            for k, x in shown.items()
        ]
    return rows


def step_distance(
    prior: Prior, truth: Tensor, scale: int = 4, few: int = 20, many: int = 250
) -> dict[str, float]:
    """Root mean square in levels of 255 between results of `few` and of `many` DDIM steps from the same
    noise.

    `restored`: Diff-SR of the faces; `sampled`: pictures out of noise.
    """
    low = reduced(truth, scale)
    settings = (DiffSRSettings(steps=n, sampler="ddim", eta=0.0) for n in (few, many))
    restored = [diffsr_upscale(prior, low, scale, one, seeds=range(len(low))) for one in settings]
    sampled = [samples(prior, len(truth), n, 0.0) for n in (few, many)]
    return {
        name: 255 * float((a - b).square().mean().sqrt())
        for name, (a, b) in {"restored": restored, "sampled": sampled}.items()
    }


def collapsed(pictures: Tensor) -> list[int]:
    """Which of B C H W in 0..1 have hardly more than one tone, black and white among them."""
    return (pictures.flatten(1).std(1) < FLAT).nonzero().flatten().tolist()
