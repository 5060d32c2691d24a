from __future__ import annotations

import pytest
import torch
from face_places import face, inverted, together

from priorsr.methods.faces.crops import cut_faces, returned
from priorsr.methods.faces.detect import no_faces
from priorsr.methods.faces.paint import RestoreSettings
from priorsr.methods.faces.restore import restore_faces
from priorsr.methods.imaging.resize import resize

SETTINGS = RestoreSettings(size=64, batch=2)
SOME = [together(face(60, 70, 90), face(30, 30, 12), face(150, 120, 80, 0.4)), no_faces(), face(130, 90, 100)]


@pytest.fixture
def pictures():
    return resize(torch.rand(3, 4, 20, 26, generator=torch.Generator().manual_seed(0)), (200, 260)).clamp(
        0, 1
    )


def test_what_is_cut_out_is_what_a_restorer_sees_and_what_comes_back_is_what_it_answers(pictures):
    seen = []

    def noted(faces, seeds):
        seen.append(faces)
        return inverted(faces, seeds)

    whole = restore_faces(pictures, noted, None, SETTINGS, faces=SOME)
    cut = cut_faces(pictures, SOME, SETTINGS)
    assert cut.shape == (3, 3, 64, 64)  # one is too small, one picture has none
    assert torch.equal(cut, torch.cat(seen))
    parts = restore_faces(pictures, returned(1 - cut, SOME), None, SETTINGS, faces=SOME)
    assert torch.equal(parts.pictures, whole.pictures)
    assert parts.describe() == whole.describe()


def test_larger_answers_serve_and_others_in_number_do_not(pictures):
    cut = cut_faces(pictures, SOME, SETTINGS)
    larger = restore_faces(
        pictures, returned(resize(cut, scale=2.0), SOME), None, SETTINGS, faces=SOME
    ).pictures
    same = restore_faces(pictures, returned(cut, SOME), None, SETTINGS, faces=SOME).pictures
    assert (larger - same).abs().mean() < 1 / 255
    with pytest.raises(ValueError, match="3 faces were cut out and 2 come back"):
        returned(cut[:2], SOME)
    none = cut_faces(pictures[:1], [no_faces()], SETTINGS)
    assert none.shape == (0, 3, 64, 64)
    assert torch.equal(
        restore_faces(
            pictures[:1], returned(none, [no_faces()]), None, SETTINGS, faces=[no_faces()]
        ).pictures,
        pictures[:1],
    )
