"""What lies outside of restored faces: a background of one's own, filters, regions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from face_places import PLACES, face, identity, inverted, together

from priorsr.methods.faces.detect import no_faces
from priorsr.methods.faces.enhance import OUTSIDE, enhance_outside
from priorsr.methods.faces.masks import box_mask
from priorsr.methods.faces.paint import RestoreSettings
from priorsr.methods.faces.restore import restore_faces
from priorsr.methods.imaging.region import Region
from priorsr.methods.imaging.resize import resize


def test_backgrounds_take_the_place_of_the_picture(smooth):
    background = torch.zeros(1, 3, 400, 520)
    done = restore_faces(
        smooth, identity, None, RestoreSettings(size=64, scale=2), faces=[PLACES[0]], background=background
    ).pictures
    assert done[..., 0, 0].max() == 0
    assert done[..., 200, 260].min() > 0.1
    with pytest.raises(ValueError, match=r"background must be 1 pictures of 400 x 520"):
        restore_faces(smooth, identity, None, RestoreSettings(scale=2), faces=[no_faces()], background=smooth)


@pytest.mark.parametrize("name", ["unsharp", "released", "paper"])
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_what_lies_outside_the_boxes_is_filtered_at_the_end(smooth, name, scale):
    """VisionRefine, Algorithm 4: on the picture whose faces are back, the faces themselves as they are."""
    where, settings = together(face(80, 90, 60), face(190, 100, 60)), {"size": 64, "scale": scale}
    plain = restore_faces(smooth, inverted, None, RestoreSettings(**settings), faces=[where]).pictures
    chosen = RestoreSettings(**settings, enhance_outside=name)
    done = restore_faces(smooth, inverted, None, chosen, faces=[where]).pictures
    mask = box_mask(where.boxes * scale, tuple(plain.shape[-2:]))
    torch.testing.assert_close(done, enhance_outside(plain, mask, OUTSIDE[name]), rtol=0, atol=0)
    if name != "unsharp":  # whose mask is feathered
        assert torch.equal(done * mask, plain * mask)
    assert (done - plain).abs().max() > 1e-3
    grey = smooth[:, :1]
    shown = restore_faces(grey, inverted, None, chosen, faces=[where]).pictures
    assert shown.shape[1] == 1
    nothing = restore_faces(smooth, inverted, None, replace(chosen, scale=1.0), faces=[no_faces()]).pictures
    assert torch.equal(nothing, smooth)  # without a face everything would be outside


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_beyond_a_region_faces_and_all_else_stay(smooth, scale):
    """Two faces, one of them beyond it; a cleaner too works within it alone."""
    both = together(face(60, 100, 60), face(200, 100, 60))
    size = tuple(round(n * scale) for n in smooth.shape[-2:])
    mask = torch.zeros(1, 1, 20, 26)
    mask[..., :13] = 1
    settings = RestoreSettings(scale=scale)
    free = restore_faces(smooth, inverted, None, settings, faces=[both]).pictures
    done = restore_faces(smooth, inverted, None, settings, faces=[both], region=Region(mask, 4.0)).pictures
    plain = smooth if scale == 1 else resize(smooth, size).clamp(0, 1)
    edge = size[1] // 2
    assert torch.equal(done[..., edge + 24 :], plain[..., edge + 24 :])
    torch.testing.assert_close(done[..., : edge - 24], free[..., : edge - 24])
    assert (free - plain)[..., edge + 24 :].abs().max() > 0.2
    background = torch.zeros(1, 3, *size)
    put = restore_faces(
        smooth, inverted, None, settings, background=background, faces=[both], region=Region(mask, 4.0)
    ).pictures
    assert not put[..., edge + 24 :].any()
    assert put[..., : edge - 24].any()


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_hidden_colours_reach_no_filter_outside_the_faces(smooth, scale):
    alpha = torch.ones(1, 1, 200, 260)
    alpha[..., 180:, :] = 0
    settings = RestoreSettings(size=64, scale=scale, enhance_outside="paper")
    results = []
    for hidden in (0.0, 1.0):
        picture = torch.cat([torch.where(alpha > 0, smooth, hidden), alpha], 1)
        done = restore_faces(picture, inverted, None, settings, faces=[PLACES[0]]).pictures
        results.append(done[:, :3] * (done[:, 3:] > 0))
    assert torch.equal(*results)
