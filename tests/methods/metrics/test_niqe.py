"""NIQE: its fits on known distributions, its order of pictures, its model files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from priorsr.methods.imaging.images import read
from priorsr.methods.imaging.resize import resize
from priorsr.methods.metrics.niqe import (
    FEATURES,
    Statistics,
    _fitted,
    features,
    fit,
    niqe,
    read_model,
    save_model,
)
from priorsr.samplers.noise import Noise


@pytest.fixture(scope="module")
def dogs(request):
    return read(request.config.rootpath / "docs" / "sample" / "dogs.png").pixels


@pytest.mark.parametrize(("shape", "scales"), [(2.0, (0.5, 0.5)), (1.0, (0.3, 0.9)), (0.7, (1.0, 0.4))])
def test_the_fit_finds_shape_and_scales(shape, scales):
    """Draws |x| = scale * gamma(1/shape)^(1/shape), on the side that its scale weighs."""
    rng = np.random.default_rng(0)
    side = rng.random(200_000) < scales[0] / sum(scales)
    size = rng.gamma(1 / shape, 1, 200_000) ** (1 / shape)
    x = np.where(side, -scales[0] * size, scales[1] * size)[None]
    found = _fitted(x, symmetric=False)[0]
    assert found[0] == pytest.approx(shape, rel=0.03)
    assert found[2:] == pytest.approx(scales, rel=0.03)
    assert found[1] == pytest.approx(x.mean(), abs=0.02)


def test_more_noise_and_more_blur_are_worse(dogs):
    draw = Noise([1])(dogs.shape)
    noisy = [niqe((dogs + s * draw).clamp(0, 1))[0] for s in (0.0, 0.06, 0.12)]
    assert noisy == sorted(noisy)
    height, width = dogs.shape[-2:]
    blurred = resize(resize(dogs, (height // 4, width // 4)), (height, width)).clamp(0, 1)
    assert niqe(blurred)[0] > 1.5 * niqe(dogs)[0]
    batch = torch.cat([dogs, dogs.flip(-1)])
    assert niqe(batch)[0] == pytest.approx(niqe(dogs)[0], abs=1e-9)
    assert niqe(dogs[..., :191, :96]) == [None]
    assert niqe(torch.full((1, 1, 192, 192), 0.5)) == [None]


def test_a_model_is_fitted_to_sharp_patches_and_kept(dogs, tmp_path):
    model = fit([dogs[0], dogs[0].flip(-2), resize(dogs, scale=3)[0]])
    save_model(model, tmp_path / "own.npz")
    again = read_model(tmp_path / "own.npz")
    assert np.array_equal(again.mean, model.mean)
    assert np.array_equal(again.covariance, model.covariance)
    assert niqe(dogs, model)[0] < niqe(dogs)[0]
    with pytest.raises(ValueError, match="too few"):
        fit([dogs[0, :, :192, :192]])
    assert features(dogs[0])[0].shape[1] == FEATURES
    for name, text in (("bad.npz", b"PK"), ("bad.mat", b"no")):
        (tmp_path / name).write_bytes(text)
        with pytest.raises((ValueError, ImportError), match="bad"):
            read_model(tmp_path / name)
    with pytest.raises(ValueError, match="mean of 36"):
        Statistics(np.zeros(3), np.zeros((3, 3)))


def test_the_published_form_is_read(tmp_path):
    io = pytest.importorskip("scipy.io")
    held = {"mu_prisparam": np.arange(36.0)[None], "cov_prisparam": np.eye(36)}
    io.savemat(tmp_path / "modelparameters.mat", held)
    model = read_model(tmp_path / "modelparameters.mat")
    assert model.mean.tolist() == list(range(36))
    assert np.array_equal(model.covariance, np.eye(36))
