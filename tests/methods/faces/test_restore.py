"""Faces put back into pictures: seams, strength, batches, greys and alpha, what is left and told."""

from __future__ import annotations

import pytest
import torch
from face_places import LARGER, PLACES, face, identity, inverted, together

from priorsr.methods.faces.detect import DetectSettings, Faces, no_faces
from priorsr.methods.faces.paint import RestoreSettings
from priorsr.methods.faces.paste import PasteSettings, parse_mask, place
from priorsr.methods.faces.restore import restore_faces
from priorsr.methods.imaging.resize import resize


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("size", [128, 256])
def test_the_identity_gives_back_the_picture(smooth, where, size):
    done = restore_faces(smooth, identity, None, RestoreSettings(size=size), faces=[where])
    difference = (done.pictures - smooth).abs() * 255
    painted = (
        restore_faces(smooth, inverted, None, RestoreSettings(size=size), faces=[where]).pictures != smooth
    )
    assert difference[~painted].sum() < 1e-3
    if (
        where is LARGER
    ):  # than the picture: reduced to the aligned face, which costs detail, most where the picture ends
        difference = difference[..., 10:-10, 10:-10]
    assert difference.max() < 1
    assert done.reports[0][0].outcome == "restored"


@pytest.mark.parametrize("where", PLACES)
def test_differences_keep_every_detail(where):
    noise = torch.rand(1, 3, 200, 260, generator=torch.Generator().manual_seed(0))
    settings = RestoreSettings(size=64, blend="difference")
    torch.testing.assert_close(
        restore_faces(noise, identity, None, settings, faces=[where]).pictures, noise, rtol=0, atol=1e-6
    )
    brighter = (
        restore_faces(noise / 2, lambda x, seeds: x + 0.25, None, settings, faces=[where]).pictures
        - noise / 2
    )
    assert brighter.max() == pytest.approx(0.25, abs=1e-3)
    assert -1e-6 < brighter.min() < 0.01 or where is LARGER


@pytest.mark.parametrize("scale", [2.0, 1.5])
def test_the_identity_agrees_with_an_enlarged_picture(smooth, scale):
    done = restore_faces(smooth, identity, None, RestoreSettings(size=256, scale=scale), faces=[PLACES[1]])
    plain = resize(smooth, scale=scale).clamp(0, 1)
    assert done.pictures.shape == plain.shape
    assert ((done.pictures - plain).abs() * 255).max() < 1


def test_no_seam_shows_on_a_smooth_picture(smooth):
    """Along the feathered edge the gradient is that of the picture, within 5 percent of its mean."""
    done = restore_faces(smooth, identity, None, RestoreSettings(size=256), faces=[PLACES[0]]).pictures
    shown, true = (
        torch.stack([x.diff(dim=2)[..., :-1], x.diff(dim=3)[..., :-1, :]]).norm(dim=0) for x in (done, smooth)
    )
    band = (
        restore_faces(smooth, inverted, None, RestoreSettings(size=256), faces=[PLACES[0]]).pictures - smooth
    ).abs()[..., :-1, :-1]
    edge = (band > 0.01) & (band < 0.25)
    assert edge.sum() > 500
    assert ((shown - true)[edge].abs().mean() / true[edge].mean()) < 0.05


def test_a_constant_shift_fades_out_over_the_edge(smooth):
    placed = place(
        torch.ones(1, 3, 128, 128),
        torch.tensor([[1.0, 0, 60], [0, 1, 40]], dtype=torch.float64),
        (200, 260),
        1.0,
        PasteSettings(),
    )
    row = placed.mask[0, 0, placed.mask.shape[2] // 2]
    assert row.max() == pytest.approx(1, abs=1e-6)
    assert row.diff().abs().max() < 1.2 / placed.edge
    assert (row[:60].diff() >= -1e-6).all()


def test_pictures_without_faces_stay_as_they_are(smooth):
    for x in (smooth, smooth[:, :1]):
        done = restore_faces(x, inverted, lambda picture, smallest: no_faces())
        assert torch.equal(done.pictures, x)
        assert done.reports == ((),)
        assert "no face found, unchanged" in done.describe()


def test_faces_are_restored_alike_in_any_batch_with_a_seed_each(smooth):
    seen = []

    def noted(faces, seeds):
        seen.append(list(seeds))
        return faces.flip(3)

    some, results = together(PLACES[1], PLACES[4], PLACES[2]), []
    for batch in (1, 2, 8):
        results.append(
            restore_faces(
                smooth, noted, None, RestoreSettings(size=64, batch=batch), faces=[some], seed=10
            ).pictures
        )
    assert seen == [[10], [11], [12], [10, 11], [12], [10, 11, 12]]
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=1e-6)


def test_each_picture_of_a_batch_has_its_own_faces(smooth):
    pair = torch.cat([smooth, smooth.flip(2)])
    done = restore_faces(pair, inverted, None, RestoreSettings(size=64), faces=[PLACES[0], no_faces()])
    assert not torch.equal(done.pictures[0], pair[0])
    assert torch.equal(done.pictures[1], pair[1])
    assert [len(r) for r in done.reports] == [1, 0]


def test_grey_stays_grey_and_alpha_stays(smooth):
    grey = smooth.mean(1, keepdim=True)

    def reddened(faces, seeds):
        return faces * torch.tensor([1.0, 0.5, 0.5])[:, None, None]

    three = restore_faces(
        grey.expand(-1, 3, -1, -1), reddened, None, RestoreSettings(size=128), faces=[PLACES[0]]
    ).pictures
    assert three.std(1).max() < 0.02
    one = restore_faces(grey, identity, None, RestoreSettings(size=128), faces=[PLACES[0]]).pictures
    assert one.shape == grey.shape
    assert ((one - grey).abs() * 255).max() < 1
    alpha = torch.rand(1, 1, 200, 260, generator=torch.Generator().manual_seed(0))
    for colour in (smooth, grey):
        done = restore_faces(
            torch.cat([colour, alpha], 1), inverted, None, RestoreSettings(size=64), faces=[PLACES[0]]
        ).pictures
        assert torch.equal(done[:, -1:], alpha)
        assert not torch.equal(done[:, :1], colour[:, :1])


def test_strength_and_larger_answers(smooth):
    assert torch.equal(
        restore_faces(
            smooth, inverted, None, RestoreSettings(size=64, strength=0), faces=[PLACES[0]]
        ).pictures,
        smooth,
    )
    whole, half = (
        restore_faces(
            smooth, inverted, None, RestoreSettings(size=64, strength=s), faces=[PLACES[0]]
        ).pictures
        for s in (1, 0.5)
    )
    torch.testing.assert_close(half, (whole + smooth) / 2, rtol=0, atol=1e-5)
    done = restore_faces(
        smooth, lambda x, seeds: resize(x, scale=4.0), None, RestoreSettings(size=64), faces=[PLACES[0]]
    ).pictures
    assert ((done - smooth).abs() * 255).max() < 2


def test_tiny_faces_are_left_and_reported(smooth):
    done = restore_faces(
        smooth, inverted, None, RestoreSettings(size=64), faces=[together(face(60, 60, 12), PLACES[0])]
    )
    assert [r.outcome for r in done.reports[0]] == ["left as it is: eyes closer than 5 pixels", "restored"]
    assert torch.equal(done.pictures[..., 50:56, 50:60], smooth[..., 50:56, 50:60])
    assert "1 of 2 faces restored" in done.describe()


def test_hundreds_of_faces_are_limited_and_said(smooth):
    crowd = together(*(face(20 + 2 * i, 60, 40 + i) for i in range(30)))
    done = restore_faces(
        smooth, identity, lambda *_: crowd, RestoreSettings(size=16), DetectSettings(limit=3, smallest=1)
    )
    assert len(done.reports[0]) == 3
    assert "27 beyond the limit of 3" in done.describe()


def test_a_parse_mask_needs_a_parser_and_keeps_its_classes(smooth):
    settings = RestoreSettings(size=128, mask="parse")
    with pytest.raises(ValueError, match=r"parsing_parsenet\.pth"):
        restore_faces(smooth, inverted, None, settings, faces=[PLACES[0]])
    left = torch.zeros(1, 512, 512, dtype=torch.long)
    left[..., :256] = 1
    done = restore_faces(smooth, inverted, None, settings, faces=[PLACES[0]], parser=lambda x: left).pictures
    changed = (done - smooth).abs().amax((0, 1, 2))
    assert changed[90:110].min() > 0.02
    assert changed[165:].max() == 0
    assert parse_mask(left, 128).shape == (1, 1, 128, 128)
    assert parse_mask(left * 16, 512).max() == 0


def test_bad_arguments_are_refused(smooth):
    with pytest.raises(ValueError, match="give a detector"):
        restore_faces(smooth, identity, None)
    with pytest.raises(ValueError, match="1 pictures need as many sets of faces, not 2"):
        restore_faces(smooth, identity, None, faces=[no_faces()] * 2)
    with pytest.raises(ValueError, match="must keep their number and shape"):
        restore_faces(smooth, lambda x, seeds: x[..., :5], None, RestoreSettings(size=64), faces=[PLACES[0]])
    with pytest.raises(ValueError, match="NaN"):
        restore_faces(smooth * torch.nan, identity, lambda *_: no_faces())
    with pytest.raises(ValueError, match="scale"):
        RestoreSettings(scale=0.5)


def test_a_face_outside_the_picture_changes_nothing(smooth):
    assert torch.equal(
        restore_faces(smooth, inverted, None, RestoreSettings(size=64), faces=[face(900, 900, 80)]).pictures,
        smooth,
    )


@pytest.mark.gpu
def test_pictures_on_a_gpu_come_out_as_on_the_cpu(smooth):
    settings = RestoreSettings(size=128, scale=2)
    here, there = (
        restore_faces(x, inverted, None, settings, faces=[PLACES[1]]).pictures
        for x in (smooth, smooth.cuda())
    )
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), here, rtol=0, atol=1e-3)


def over_the_corner() -> Faces:
    """A face that lies partly beyond the picture."""
    marks = torch.tensor([[[4.0, 6], [20, 6], [12, 14], [6, 22], [18, 22]]])
    return Faces(torch.tensor([[-10.0, -10, 34, 36]]), torch.tensor([0.99]), marks)


@pytest.mark.parametrize("blend", ["replace", "difference"])
def test_grey_faces_stay_grey_at_the_border_too(blend):
    """What the face is filled with beyond the picture has a colour."""
    grey = torch.rand(1, 1, 96, 96, generator=torch.Generator().manual_seed(0)).expand(1, 3, -1, -1)
    settings = RestoreSettings(blend=blend)
    done = restore_faces(grey.contiguous(), lambda x, s: x, None, settings, faces=[over_the_corner()])
    levels = (done.pictures * 255).round()
    assert done.reports[0][0].outcome == "restored"
    assert (levels.amax(1) == levels.amin(1)).all()


def test_faces_that_come_back_as_no_numbers_stay():
    picture = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    done = restore_faces(picture, lambda x, s: x * torch.nan, None, faces=[over_the_corner()])
    assert torch.equal(done.pictures, picture)
    assert done.reports[0][0].outcome == "left as it is: the restorer answers what is no number"
    assert done.reports[0][0].identity is None
