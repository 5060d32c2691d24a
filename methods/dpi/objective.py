"""What a corrector is trained to do (Yang et al. 2025, Eq. 15-18), and the single error that the released
code trains on.

Pure functions: the noise is given, t holds a step 0 .. 999 of the original schedule (timestep.py) for each
picture, losses are (B,).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ...samplers.denoiser import Denoiser
from ...samplers.run import Draw
from ...samplers.schedule import Level
from ...samplers.transition import DDPM
from ..nets.corrector import CorrectorUNet
from .masks import on_grid, sparse
from .timestep import ORIGINAL, STEPS

OMEGAS = ("linear", "cosine", "constant")


def posterior_sample(clean: Tensor, t: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """A draw of x_{t-1} from q(x_{t-1} | x_t, clean), x_t from q(x_t | clean):

    Eq. 2 with the noise `first`, Eq. 3 and 4 with `second`.

    B C H W, t (B,) indices of the original schedule; at t = 0 the mean. The variance is the small one, of the
    true posterior.
    """
    at = lambda table: table[t.cpu()].to(clean).view(-1, 1, 1, 1)  # noqa: E731
    abar = ORIGINAL.alphas_cumprod
    noisy = at(abar.sqrt()) * clean + at((1 - abar).sqrt()) * first
    mean = at(ORIGINAL.posterior_mean_coef1) * clean + at(ORIGINAL.posterior_mean_coef2) * noisy
    return mean + at(ORIGINAL.posterior_variance.sqrt()) * second


@torch.no_grad()
def prior_sample(prior: Denoiser, clean: Tensor, cur: Level, nxt: Level, draw: Draw) -> Tensor:
    """The same draw by a frozen prior in place of the closed form: x_t is noised `clean`, one ancestral step
    follows.

    All pictures share one step of the prior's own levels; the corrector's t is then `corrector_time(nxt)`. x0
    is not clipped. Scaled to unit variance, as a corrector sees it.
    """
    noisy = cur.alpha * clean + cur.sigma * draw(clean.shape).to(clean)
    step = DDPM().begin((cur, nxt))(
        lambda x, level: prior(x, level), noisy, 0, lambda shape: draw(shape).to(clean)
    )
    sample = step.mean if step.noise is None else step.mean + step.std * step.noise
    return sample / math.hypot(nxt.alpha, nxt.sigma)


def omega(t: Tensor, form: str = "linear", level: float = 0.5) -> Tensor:
    """Omega of Eq. 18 for steps 0 .. 999: how much L_prior counts against L_gap, 1 at the noisiest step down
    to 0 at the last.

    The paper says only that it decreases along the sampling. `constant` is `level` everywhere.
    """
    if form not in OMEGAS:
        raise ValueError(f"omega form {form!r} is not one of {', '.join(OMEGAS)}")
    share = t.float() / (STEPS - 1)
    if form == "constant":
        return torch.full_like(share, level)
    return share if form == "linear" else (1 - torch.cos(math.pi * share)) / 2


def on_grid_only(x: Tensor, k: int) -> Tensor:
    """m_f x, B C H W."""
    return sparse(on_grid(x, k), k)


def grid_error(output: Tensor, truth: Tensor, k: int) -> Tensor:
    """Squared error on the grid, the mean over its pixels, (B,)."""
    return (on_grid(output, k) - on_grid(truth, k)).square().flatten(1).mean(1)


class CRTLoss(NamedTuple):
    """Eq. 18 and its parts, each (B,), and the corrector's answer to `refined`, to keep for a later step:
    detached, B C H W.
    """

    total: Tensor
    prior: Tensor
    gap: Tensor
    refined: Tensor


def crt_loss(
    network: CorrectorUNet,
    truth: Tensor,
    base: Tensor,
    t: Tensor,
    noisy: Tensor,
    refined: Tensor,
    weight: Tensor,
    k: int = 2,
) -> CRTLoss:
    """Eq. 15, 17 and 18. truth B C H W in -1..1, base B C H/k W/k its base condition, t (B,), weight (B,)
    from `omega`.

    noisy: x_{t-1} of the truth, from `posterior_sample` or `prior_sample`. refined: the same draw around an
    earlier answer of the corrector, because that is what it will see.
    """
    y_T = sparse(base, k)
    one, other = (network(on_grid_only(x, k), t, y_T) for x in (noisy, refined))
    prior, gap = grid_error(one, truth, k), grid_error(other, truth, k)
    return CRTLoss(weight * prior + (1 - weight) * gap, prior, gap, on_grid_only(other.detach(), k))


def released_input(
    base: Tensor, t: Tensor, first: Tensor, second: Tensor, k: int = 2
) -> tuple[Tensor, Tensor]:
    """What the released training shows the corrector: a posterior draw around the low-resolution condition,
    and y_T; both B C H W.
    """
    y_T = sparse(base, k)
    return on_grid_only(posterior_sample(y_T, t, first, second), k), y_T


def released_loss(
    network: CorrectorUNet, truth: Tensor, base: Tensor, t: Tensor, first: Tensor, second: Tensor, k: int = 2
) -> Tensor:
    """The released recipe in place of Eq. 15-18, (B,): one squared error, whose mean runs over the zeros off
    the grid too.
    """
    seen, y_T = released_input(base, t, first, second, k)
    return grid_error(network(seen, t, y_T), truth, k) / k**2
