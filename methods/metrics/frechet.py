"""Frechet distance between two sets of embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

from ..device import doubled


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared 2-Wasserstein distance of the Gaussians fitted to embeddings (N, D) and (M, D), float64; 0 for
    equal sets.

    |mean_a - mean_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), Dowson and Landau 1982, Eq. 4. With Identity's
    embeddings it is an offline stand-in for FID that sees faces only; it is not FID, and like FID it grows as
    the sets shrink: compare sets of one size.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"two sets of embeddings must be (N, D) and (M, D), not {tuple(a.shape)} and {tuple(b.shape)}"
        )
    if min(len(a), len(b)) < 2:
        raise ValueError(f"sets of {len(a)} and {len(b)} have no covariance: give at least 2 embeddings each")
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        raise ValueError("an embedding holds NaN or infinite values: no figure can be given")
    (mean_a, root_a), (mean_b, root_b) = _moments(doubled(a)), _moments(doubled(b))
    # C = R^T R, so the eigenvalues of C_a C_b are the squared singular values of R_a R_b^T: no square root of
    # a singular matrix
    shared = torch.linalg.svdvals(root_a @ root_b.T).sum()
    squares = (mean_a - mean_b).square().sum() + root_a.square().sum() + root_b.square().sum()
    return (squares - 2 * shared).clamp(min=0).item()


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and a factor R of the covariance R^T R, with at most D rows."""
    mean = x.mean(0)
    return mean, torch.linalg.qr((x - mean) / (len(x) - 1) ** 0.5, mode="r").R
