from __future__ import annotations

import pytest
import torch

from priorsr.methods.diffsr.method import DiffSRSettings, diffsr_upscale
from priorsr.methods.dpi.choice import choose_corrector, choose_settings
from priorsr.methods.dpi.method import dpi_upscale
from priorsr.methods.faces.align import template
from priorsr.methods.faces.detect import Faces
from priorsr.methods.faces.restore import RestoreSettings, restore_faces
from priorsr.methods.faces.restorers import EnlargingRestorer, by_diffsr, by_dpi, by_srcnn, frame_of, nearest
from priorsr.methods.priors.load import load_prior
from priorsr.methods.resize import resize

FEW = DiffSRSettings(steps=2, level=10)


@pytest.fixture(scope="module")
def prior():
    return load_prior("face64")


@pytest.fixture
def faces():
    return resize(torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)), (64, 64)).clamp(0, 1)


def upright(*places):
    """Faces whose aligned squares have a corner at x, y and so many pixels a side."""
    points = torch.stack([template(side) + torch.tensor([x, y]) for x, y, side in places]).float()
    boxes = torch.tensor([[x, y, x + side, y + side] for x, y, side in places]).float()
    return Faces(boxes, torch.full((len(places),), 0.99), points)


def bicubic(seen, scales=(), coarse=0.0, size=64):
    def enlarge(low, scale, seeds):
        seen.append((low.shape[-1], list(seeds)))
        return resize(low, (size, size))

    return EnlargingRestorer(enlarge, (), size, "ffhq", coarse=coarse, scales=scales)


def test_faces_are_reduced_to_the_pixels_they_have_and_computed_together_where_these_agree(faces):
    seen: list = []
    bicubic(seen)(faces, [7, 8, 9], [4.0, 2.0, 3.97])
    assert seen == [(16, [7, 9]), (32, [8])]
    bicubic(seen, scales=(2.0, 4.0))(faces, [7, 8, 9], [3.0, 1.2, 9.0])
    assert seen[2:] == [(16, [7, 9]), (32, [8])]
    bicubic(seen, coarse=8.0)(faces, [7, 8, 9], [1.0, 1.0, 1.0])
    assert seen[4:] == [(8, [7, 8, 9])]


def test_the_zoom_of_a_face_is_that_of_its_cut_and_large_ones_are_left():
    picture = resize(torch.rand(1, 3, 20, 26, generator=torch.Generator().manual_seed(0)), (200, 260)).clamp(0, 1)
    seen: list = []
    some = upright((44, 44, 32), (106, 36, 128))
    done = restore_faces(picture, bicubic(seen), None, RestoreSettings(size=64), faces=[some])
    assert seen == [(32, [0])]
    assert [r.outcome.split(":")[0] for r in done.reports[0]] == ["restored", "left as it is"]
    assert "it has 128 pixels across, and the method is for 58 or fewer" in done.describe()
    assert "1 of 2 faces restored" in done.describe()
    assert torch.equal(done.pictures[..., 110:], picture[..., 110:])
    restore_faces(picture, bicubic(seen, coarse=4.0), None, RestoreSettings(size=64), faces=[some])
    assert seen[1:] == [(16, [0, 1])]


def test_diffsr_restores_as_on_its_own_with_the_seed_of_each_face(prior, faces):
    said: list[str] = []
    restored = by_diffsr(prior, "tight", FEW, report=said.append)(faces, [3, 4, 5], [4.0, 4.0, 2.0])
    low = resize(faces, (16, 16)).clamp(0, 1)
    torch.testing.assert_close(restored[:2], diffsr_upscale(prior, low[:2], 4.0, FEW, seeds=[3, 4]), rtol=0, atol=1e-5)
    assert not torch.equal(restored, faces)


def test_dpi_takes_the_scale_that_correctors_are_trained_for(prior, faces):
    said: list[str] = []
    restorer = by_dpi(prior, "tight", steps=2, report=said.append)
    assert (restorer.steps, restorer.size) == (2, 64)
    restored = restorer(faces, [3, 4, 5], [3.3, 8.0, 2.5])
    assert [bool(restorer.leaves(zoom)) for zoom in (1.5, 2.1, 9.0)] == [True, False, False]
    assert sum("x4" in text for text in said) == 1
    low = resize(faces[[0, 2]], (16, 16)).clamp(0, 1)
    corrector = choose_corrector("auto", 1, 4.0)
    alone = dpi_upscale(prior, corrector, low, 4.0, choose_settings("auto", 4.0, 2), seeds=[3, 5])
    torch.testing.assert_close(restored[[0, 2]], alone, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="unknown preset"):
        by_dpi(prior, "tight", "x3")


def test_srcnn_keeps_the_picture(faces):
    restorer = by_srcnn(64)
    restored = restorer(faces, [0, 0, 0], [2.0, 3.0, 2.5])
    assert (restored - faces).abs().mean() < 0.02
    assert len(restorer.networks) == 3


def test_wrong_sizes_and_names():
    with pytest.raises(ValueError, match=r"coarse 1 is outside 1\.1 \.\. 32"):
        bicubic([], coarse=1.0)
    assert (frame_of("face64"), frame_of("ffhq_10m.pt")) == ("tight", "ffhq")
    assert nearest((2.0, 4.0), 2.9) == 4.0
