"""Detectors with weights that others trained, on real pictures: only where the data pack lies beside the
repository, or at PRIORSR_DATA.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from priorsr.methods.faces.detect import detect
from priorsr.methods.faces.load import load_detector
from priorsr.methods.imaging.images import read

DATA = Path(os.environ.get("PRIORSR_DATA") or Path(__file__).parents[4] / "shared" / "data")
RETINAFACE = DATA / "weights" / "mobilenet0.25_Final.pth"
PICTURES = sorted((DATA / "faces_colour" / "lq_whole").glob("*.*"))
COUNTS = (4, 4, 1, 1, 1)

pytestmark = pytest.mark.skipif(
    not RETINAFACE.is_file() or len(PICTURES) != len(COUNTS),
    reason=f"needs weights/{RETINAFACE.name} and faces_colour/lq_whole of the data pack",
)


@pytest.fixture(scope="module")
def detectors():
    return load_detector("mtcnn"), load_detector(str(RETINAFACE))


@pytest.mark.parametrize("number", range(len(COUNTS)))
def test_a_retinaface_of_others_finds_the_faces_that_mtcnn_finds(detectors, number):
    picture = read(PICTURES[number]).pixels
    known, found = (detect(picture, detector)[0].faces for detector in detectors)
    assert len(known) == len(found) == COUNTS[number]
    assert found.sides.tolist() == pytest.approx(known.sides.tolist(), rel=0.15)
    distances = (found.landmarks - known.landmarks).norm(dim=-1).mean(1) / known.eye_distances
    assert distances.max() < 0.2
