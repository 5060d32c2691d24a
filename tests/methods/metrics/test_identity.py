"""astronaut.webp is the face of NASA's portrait of Eileen Collins, in the public domain, as distributed with
scikit-image.
"""

from __future__ import annotations

import builtins
import sys
from pathlib import Path

import pytest
import torch

from priorsr.methods.imaging.images import read
from priorsr.methods.imaging.resize import resize
from priorsr.methods.metrics import identity
from priorsr.methods.metrics.frechet import frechet_distance
from priorsr.methods.metrics.identity import (
    FFHQ,
    THRESHOLDS,
    Identity,
    available,
    balanced_accuracy,
    best_threshold,
    identity_distance,
    pair_distances,
    recognition,
    verification,
)

needs_recogniser = pytest.mark.skipif(available() is not None, reason=str(available()))
FACES = Path(__file__).resolve().parents[4] / "shared" / "data" / "faces"


@pytest.fixture(scope="module")
def recognise():
    return Identity()


@pytest.fixture(scope="module")
def face() -> torch.Tensor:
    return read(Path(__file__).parent / "astronaut.webp").pixels


@pytest.fixture
def gaussian():
    return lambda *shape: torch.randn(
        *shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64
    )


@needs_recogniser
def test_each_face_of_a_batch_is_embedded_alone_and_the_same_way(recognise, face):
    grey = face.mean(1, keepdim=True)
    batch = torch.cat([face, grey.expand(-1, 3, -1, -1), face.flip(3)])
    embeddings = recognise(batch)
    assert embeddings.shape == (3, 128)
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(Identity(batch=1)(batch), embeddings)
    torch.testing.assert_close(recognise(grey), embeddings[1:2])


@needs_recogniser
def test_a_person_stays_herself_through_blur_light_and_tilt_but_not_through_noise(recognise, face):
    small = resize(resize(face, (32, 32)), (64, 64)).clamp(0, 1)
    turned = torch.nn.functional.grid_sample(
        face,
        torch.nn.functional.affine_grid(
            torch.tensor([[[0.97, -0.26, 0], [0.26, 0.97, 0]]]), face.shape, False
        ),
        padding_mode="border",
        align_corners=False,
    )
    known = recognise(face)
    for changed in (small, turned, face.flip(3), face**1.4):
        assert verification(known, recognise(changed)).all()
    other = recognise(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert not verification(known, other).any()
    assert not verification(known, other, kind="cosine").any()


@needs_recogniser
def test_the_box_says_where_the_face_lies(recognise, face):
    left, top, right, bottom = (round(v * 256) for v in FFHQ)
    wide = torch.zeros(1, 3, 256, 256)
    wide[..., top:bottom, left:right] = resize(face, (bottom - top, right - left)).clamp(0, 1)
    known = recognise(face)
    told, untold = (identity_distance(by(wide), known) for by in (Identity(FFHQ), recognise))
    assert told < 0.3 < untold


@needs_recogniser
@pytest.mark.skipif(not FACES.is_dir(), reason="the data pack is not beside the repository")
def test_people_of_the_data_pack_are_told_apart(recognise):
    sys.path.append(str(FACES.parent))
    from load import faces

    pixels, rows = faces("val", 64)
    names = [row["identity"] for row in rows]
    several = [n for n in dict.fromkeys(names) if names.count(n) == 2][:5]
    chosen = [i for i, n in enumerate(names) if n in several]
    embeddings = recognise(torch.from_numpy(pixels[chosen])[:, None] / 255)
    genuine, impostor = pair_distances(embeddings, [names[i] for i in chosen])
    assert (len(genuine), len(impostor)) == (5, 40)
    assert balanced_accuracy(genuine, impostor, THRESHOLDS["euclidean"]) > 0.9


def test_crops_that_cannot_be_recognised_are_refused_before_anything_is_loaded():
    lazy = Identity()
    for bad, words in (
        (torch.zeros(1, 3, 63, 64), "64 px or more"),
        (torch.zeros(1, 2, 64, 64), "1 or 3 channels"),
        (torch.full((1, 1, 64, 64), float("nan")), "NaN"),
        (torch.zeros(64, 64), "float tensor B C H W"),
    ):
        with pytest.raises(ValueError, match=words):
            lazy(bad)
    assert "_models" not in vars(lazy)
    with pytest.raises(ValueError, match="as fractions"):
        Identity((0.5, 0, 0.2, 1))
    with pytest.raises(ValueError, match="batch 0"):
        Identity(batch=0)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(identity, "find_spec", lambda module: None)
    with pytest.raises(
        ImportError, match=r"dlib-bin and face-recognition-models: pip install \"priorsr\[eval\]\""
    ):
        Identity()(torch.zeros(1, 1, 64, 64))


@needs_recogniser
def test_the_weights_are_read_without_the_package_that_needs_pkg_resources(monkeypatch, face):
    real = builtins.__import__

    def refuse(name, *arguments, **options):
        if name.partition(".")[0] in ("pkg_resources", "face_recognition_models"):
            raise ModuleNotFoundError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert Identity()(face).shape == (1, 128)


@needs_recogniser
def test_damaged_weights_are_named(monkeypatch, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / identity.NETWORK).write_bytes(b"nothing")
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})()
    monkeypatch.setattr(identity, "find_spec", lambda module: spec)
    with pytest.raises(RuntimeError, match="Install it again"):
        Identity()(torch.zeros(1, 1, 64, 64))


def test_distances_of_known_vectors():
    a, b = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    assert identity_distance(a, b).tolist() == pytest.approx([2**0.5, 1])
    assert identity_distance(a, b, "cosine").tolist() == pytest.approx([1, 0], abs=1e-6)
    assert verification(a, b, 1.2).tolist() == [False, True]
    found = recognition(a, b, 0.5)
    assert (found.acc, found.cs, found.threshold) == (0.5, pytest.approx(0.5), 0.5)
    with pytest.raises(ValueError, match="'manhattan' is not one of euclidean, cosine"):
        identity_distance(a, b, "manhattan")
    with pytest.raises(ValueError, match="must pair"):
        identity_distance(a, b[:1])


def test_the_threshold_parts_the_pairs_as_well_as_any():
    genuine, impostor = torch.tensor([0.1, 0.2, 0.5]), torch.tensor([0.4, 0.7, 0.8, 0.9])
    threshold = best_threshold(genuine, impostor)
    every = [balanced_accuracy(genuine, impostor, t / 100) for t in range(101)]
    assert balanced_accuracy(genuine, impostor, threshold) == max(every) == pytest.approx((1 + 3 / 4) / 2)
    assert threshold == pytest.approx(0.6)
    with pytest.raises(ValueError, match="needs both kinds"):
        best_threshold(genuine, impostor[:0])


def test_pairs_are_sorted_into_genuine_and_impostor():
    genuine, impostor = pair_distances(torch.tensor([[0.0], [1.0], [5.0]]), ["a", "b", "a"])
    assert genuine.tolist() == [5]
    assert impostor.tolist() == [1, 4]
    with pytest.raises(ValueError, match="3 embeddings need as many identities, not 2"):
        pair_distances(torch.zeros(3, 1), ["a", "b"])


def test_frechet_distance_of_known_moments(gaussian):
    x = gaussian(200, 5)
    x = (x - x.mean(0)) @ torch.linalg.inv(
        torch.linalg.cholesky(torch.cov(x.T))
    ).T  # covariance exactly the identity
    scale, shift = (
        torch.tensor([1.0, 2.0, 0.5, 3.0, 1.0]).double(),
        torch.tensor([1.0, 0.0, 0.0, -2.0, 0.0]).double(),
    )
    commuting = (shift.square().sum() + (scale - 1).square().sum()).item()
    assert frechet_distance(x, x * scale + shift) == pytest.approx(commuting)
    turn = torch.linalg.qr(
        gaussian(5, 5)
    ).Q  # covariances that do not commute: the definition through an eigendecomposition
    a, b = x * scale, x * scale.flip(0).sqrt() @ turn
    ca, cb = torch.cov(a.T), torch.cov(b.T)
    roots = torch.linalg.eigvals(ca @ cb).real.clamp(min=0).sqrt().sum()
    expected = (a.mean(0) - b.mean(0)).square().sum() + ca.trace() + cb.trace() - 2 * roots
    assert frechet_distance(a, b) == pytest.approx(expected.item())
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))


def test_frechet_distance_without_full_rank(gaussian):
    few, many = gaussian(4, 128), gaussian(300, 128)
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(many, many.flip(0)) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(few, few + 0.5) == pytest.approx(0.25 * 128)
    constant = torch.ones(3, 128)
    assert frechet_distance(constant, constant) == 0
    assert frechet_distance(constant, few) == pytest.approx(
        ((few.mean(0) - 1).square().sum() + few.var(0).sum()).item()
    )
    assert frechet_distance(few, many) > 0


def test_sets_without_a_frechet_distance_are_refused(gaussian):
    with pytest.raises(ValueError, match="at least 2"):
        frechet_distance(gaussian(1, 3), gaussian(5, 3))
    with pytest.raises(ValueError, match=r"not \(5, 3\) and \(5, 4\)"):
        frechet_distance(gaussian(5, 3), gaussian(5, 4))
    with pytest.raises(ValueError, match="NaN"):
        frechet_distance(gaussian(5, 3), gaussian(5, 3) / 0)
