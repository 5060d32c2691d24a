"""Several restorations of a face, and which of them is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from priorsr.methods.faces.align import template
from priorsr.methods.faces.candidates import STRIDE, Candidates, reference_embeddings
from priorsr.methods.faces.detect import Faces
from priorsr.methods.faces.load import load_detector, recogniser_for
from priorsr.methods.faces.paint import RestoreSettings
from priorsr.methods.faces.restore import restore_faces
from priorsr.methods.imaging.images import read
from priorsr.methods.imaging.resize import resize
from priorsr.methods.metrics.identity import available

SAMPLE = Path(__file__).parents[3] / "docs" / "sample" / "astronaut.png"
needs_recogniser = pytest.mark.skipif(available() is not None, reason=str(available()))


@pytest.fixture(scope="module")
def portrait():
    return read(SAMPLE).pixels


def noisy(faces):
    """The faces with noise that each candidate has less of, but the third."""

    def restore(seeds):
        amounts = [{0: 0.1, 1: 0.05, 2: 0.02, 3: 0.2}[seed // STRIDE] for seed in seeds]
        draw = torch.randn(faces.shape, generator=torch.Generator().manual_seed(1))
        return faces + draw * torch.tensor(amounts)[:, None, None, None]

    return restore


def test_the_best_candidate_is_kept_for_each_face(portrait):
    faces = torch.cat([portrait, portrait.flip(3)])
    restore = noisy(faces)
    kept, words = Candidates(4, "consistency").best(restore, faces, [0, 1], [1.0, 1.0])
    assert torch.equal(kept, restore([2 * STRIDE, 2 * STRIDE + 1]))
    assert words[0].startswith("candidate 3 of 4, consistency ")
    kept, words = Candidates(4, "sharpness").best(restore, faces, [0, 1], [])
    assert torch.equal(kept, restore([3 * STRIDE, 3 * STRIDE + 1]))
    assert "candidate 4 of 4, sharpness" in words[1]
    kept, words = Candidates().best(restore, faces, [5, 6], [])
    assert torch.equal(kept, restore([5, 6]))
    assert words == ["", ""]


def test_a_candidate_that_is_no_number_is_not_kept(portrait):
    def restore(seeds):
        return portrait * (torch.nan if seeds[0] < STRIDE else 1)

    kept, words = Candidates(2, "sharpness").best(restore, portrait, [0], [])
    assert torch.equal(kept, portrait)
    assert "candidate 2" in words[0]


def test_candidates_of_a_picture_are_told_in_the_report(portrait):
    picture = resize(portrait, (64, 64))
    face = Faces(torch.tensor([[0.0, 0, 64, 64]]), torch.ones(1), template(64)[None].float())

    def restore(faces, seeds):
        return noisy(faces)(seeds)

    settings = RestoreSettings(size=64, candidates=3)
    done = restore_faces(picture, restore, None, settings, faces=[face])
    assert done.reports[0][0].kept.startswith("candidate 3 of 3, consistency")
    assert done.reports[0][0].kept in done.describe()
    plain = restore_faces(picture, restore, None, RestoreSettings(size=64), faces=[face])
    assert (done.pictures - picture).abs().mean() < 0.5 * (plain.pictures - picture).abs().mean()
    with pytest.raises(ValueError, match="to pick by identity faces must be recognised"):
        restore_faces(picture, restore, None, RestoreSettings(candidates=2, pick="identity"), faces=[face])


@needs_recogniser
def test_identity_is_that_of_the_reference(portrait):
    recogniser, detector = recogniser_for(128, "ffhq"), load_detector()
    scene = torch.full((1, 3, 300, 300), 0.4)
    scene[..., 60:240, 60:240] = resize(portrait, (180, 180)).clamp(0, 1)
    person = reference_embeddings([scene, torch.full((1, 3, 90, 90), 0.4)], detector, recogniser, "ffhq")
    assert person.shape == (1, 128)
    other = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))

    def restore(seeds):
        return torch.cat([portrait if seed // STRIDE == 1 else other for seed in seeds])

    kept, words = Candidates(3, "identity", recogniser, person).best(restore, other, [0], [])
    assert torch.equal(kept, portrait)
    assert words[0].startswith("candidate 2 of 3, identity ")
    kept, _ = Candidates(3, "identity", recogniser).best(restore, other, [0], [])
    assert torch.equal(kept, other)
    with pytest.raises(ValueError, match="no face is found in the reference photographs"):
        reference_embeddings([torch.full((1, 3, 90, 90), 0.4)], detector, recogniser, "ffhq")
