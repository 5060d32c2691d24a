"""Faces: found, masked, cut out, restored by every method, and put back."""

from __future__ import annotations

import pytest
import torch

from priorsr.methods.graph.standin.describing import described_node

LEFT, TOP, SIDE = 50, 30, 56
PARSER = {"parser": "parsing_parsenet.pth"}
DIFFSR = {"method": "diffsr", "method.prior": "face64", "method.level": 30.0, "method.steps": 2}
DPI = {
    "method": "dpi",
    "method.prior": "face64",
    "method.corrector": "none",
    "method.dpi_steps": 2,
    "coarse": 4.0,
}
SRDG = {
    "method": "srdg",
    "method.prior": "tiny_sr.safetensors",
    "method.srdg_preset": "sde-sr",
    "method.srdg_steps": 2,
    "coarse": 8.0,
}
SRCNN = {"method": "srcnn", "method.size": 192}
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3")
PARTS = {"kind": "parts", "kind.parser": "parsing_parsenet.pth"}


@pytest.fixture(scope="module")
def two(scene):
    """Two faces side by side, with alpha, 1 120 300 4."""
    alpha = torch.linspace(0, 1, 300).expand(1, 120, -1)[..., None]
    return torch.cat([torch.cat([scene, scene], 2), alpha], -1)


@pytest.fixture(scope="module")
def found(pack, two):
    return pack.run("DetectFaces", image=two)[0]


@pytest.fixture(scope="module")
def one(pack, scene):
    return pack.run("DetectFaces", image=scene)[0]


def edges(pictures):
    """What lies further from the portraits than the square of a face reaches."""
    return torch.cat([pictures[:, :8], pictures[:, -8:]])


def test_faces_are_found_counted_drawn_and_told(pack, two, scene):
    faces, overlay, count, report = pack.run("DetectFaces", image=two)
    assert count == 2
    assert "2 faces" in report
    assert overlay.shape == (1, 120, 300, 3)
    assert (overlay - two[..., :3]).abs().max() > 0.5
    assert faces.size == (120, 300)
    assert pack.run("DetectFaces", image=two, which="1")[2] == 1
    empty = torch.full((1, 60, 60, 3), 0.4)
    assert pack.run("DetectFaces", image=empty)[2:] == (0, "picture 0: no faces")
    assert pack.run("DetectFaces", image=scene.mean(-1, keepdim=True))[2] == 1


@pytest.mark.parametrize(
    "kind", [{"kind": "box"}, {"kind": "hull", "kind.spread": 2.0}], ids=lambda k: k["kind"]
)
def test_masks_lie_on_the_face_and_grow(pack, scene, one, kind):
    (mask,) = pack.run("FaceMask", image=scene, faces=one, **kind)
    inside = mask[:, TOP : TOP + SIDE, LEFT : LEFT + SIDE]
    assert mask.shape == (1, 120, 150)
    assert inside.mean() > 0.1
    assert mask.sum() == pytest.approx(inside.sum().item())
    (wider,) = pack.run("FaceMask", image=scene, faces=one, grow=3, **kind)
    assert (wider >= mask).all()
    assert wider.sum() > 1.1 * mask.sum()
    (soft,) = pack.run("FaceMask", image=scene, faces=one, feather=4.0, **kind)
    assert ((soft > 0.1) & (soft < 0.9)).sum() > ((mask > 0.1) & (mask < 0.9)).sum()


def test_masks_of_parts_and_their_mistakes(pack, scene, two, one):
    parts = {**PARTS, "image": scene, "faces": one}
    (mask,) = pack.run("FaceMask", **parts, **{"kind.parts": "skin, hair, nose"})
    assert mask.shape == (1, 120, 150)
    assert mask.max() <= 1
    assert torch.equal(mask[:, :4], torch.zeros(1, 4, 150))
    with pytest.raises(ValueError, match="there is no part 'beard'"):
        pack.run("FaceMask", **parts, **{"kind.parts": "skin, beard"})
    with pytest.raises(
        FileNotFoundError, match=r"detection_Resnet50_Final\.pth is missing: put it into models/priorsr"
    ):
        pack.run("DetectFaces", image=scene, detector="retinaface")
    with pytest.raises(ValueError, match="give the images in which they were found"):
        pack.run("FaceMask", image=two, faces=one)


def seen(images):
    """Colours B H W 3 as far as they are opaque: those that nobody sees may change."""
    return images[..., :3] * images[..., 3:]


def test_what_is_outside_a_mask_is_filtered(pack, patch):
    mask = torch.zeros(2, 15, 11)
    mask[:, :, :6] = 1
    hard = {"filters": "custom", "filters.feather": 0.0}
    for filters in ({"filters": "released"}, {"filters": "paper"}, hard):
        done = pack.image("EnhanceOutside", image=patch, mask=mask, **filters)
        shown, before = (
            x[..., :3] * x[..., 3:] for x in (done, patch)
        )  # colours that nobody sees may change
        torch.testing.assert_close(shown[:, :, :6], before[:, :, :6], rtol=0, atol=1e-6)
        assert torch.equal(done[..., 3], patch[..., 3])
        assert (done - patch).abs().max() > 1e-3
    soft = pack.image("EnhanceOutside", image=patch, mask=mask)
    assert not torch.equal(soft[:, :, :6], patch[:, :, :6])
    resized = pack.image("EnhanceOutside", image=patch, mask=torch.ones(64, 64), filters="paper")
    torch.testing.assert_close(seen(resized), seen(patch), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="3 masks for 2 images"):
        pack.run("EnhanceOutside", image=patch, mask=torch.ones(3, 15, 11))


def test_faces_are_cut_out_and_pasted_back(pack, two, found):
    aligned, crops, count = pack.run("CropFaces", image=two, faces=found, size=128)
    assert count == 2
    assert aligned.shape == (2, 128, 128, 3)
    paste = {"image": two, "crops": crops}
    same, report = pack.run("PasteFaces", restored=aligned, **paste)
    assert "2 of 2 faces restored" in report
    assert torch.equal(same[..., 3], two[..., 3])
    assert (same - two).abs().mean() < 0.01
    inverted, _ = pack.run("PasteFaces", restored=1 - aligned, **paste)
    assert (inverted - two).abs().max() > 0.2
    assert torch.equal(edges(inverted), edges(two))
    with pytest.raises(ValueError, match="2 faces were cut out and 1 come back"):
        pack.run("PasteFaces", restored=aligned[:1], **paste)


def test_a_picture_without_faces_goes_through_cut_and_paste(pack):
    empty = torch.full((1, 60, 60, 3), 0.4)
    faces = pack.run("DetectFaces", image=empty)[0]
    aligned, crops, count = pack.run("CropFaces", image=empty, faces=faces, size=64)
    assert count == 0
    assert torch.equal(aligned, torch.full((1, 64, 64, 3), 0.5))
    pasted, report = pack.run("PasteFaces", image=empty, crops=crops, restored=aligned)
    assert torch.equal(pasted, empty)
    assert "no face found, unchanged" in report


@pytest.mark.parametrize("method", [DIFFSR, DPI, SRDG, SRCNN], ids=lambda m: m["method"])
def test_every_method_restores_the_face_alone(pack, two, found, method):
    given = {"image": two[:, :, :150], "scale": 1.0, "clean": False, **method}
    moves, (done, report) = pack.watched("RestoreFaces", **given)
    assert "1 of 1 faces restored" in report
    assert torch.equal(edges(done), edges(two[:, :, :150]))
    assert torch.equal(done[..., 3], two[:, :, :150, 3])
    assert (done - two[:, :, :150]).abs().max() > 8 / 255
    assert moves[-1][0] == moves[-1][1]


def test_cancel_stops_between_faces(pack, two, found):
    moves, _ = pack.watched("RestoreFaces", stop_after=1, image=two, faces=found, batch=1, **SRCNN)
    assert moves == [(1, 2)]


def test_attributes_pull_faces(pack, scene, one):
    given = {"image": scene, "faces": one, "scale": 1.0, **SRDG}
    classifier = {"method.classifier": "tiny_happy.safetensors", "method.h": 200.0}
    plain, told = pack.run("RestoreFaces", **given)
    happy, asked = pack.run("RestoreFaces", **given, **classifier, **{"method.attributes": "happy=1"})
    assert "no attribute is asked for" in told
    assert "happy: happy (of" in asked
    assert not torch.equal(plain, happy)
    with pytest.raises(ValueError, match="no classifier tells 'happy'"):
        pack.run("RestoreFaces", **given, **{"method.attributes": "happy=1"})


def test_backgrounds_and_upscale_models_lie_behind(pack, two, found, scene):
    doubled = two[..., :3].repeat_interleave(2, 1).repeat_interleave(2, 2)
    first = pack.run("DetectFaces", image=two, which="0")[0]
    given = {"image": two[..., :3], "faces": first, **SRCNN}
    done = pack.image("RestoreFaces", background=doubled, **given)
    assert torch.equal(done[:, :, 300:], doubled[:, :, 300:])
    assert not torch.equal(done[:, :, :300], doubled[:, :, :300])
    model = lambda x: x.repeat_interleave(2, 1).repeat_interleave(2, 2)  # noqa: E731
    same = pack.image(
        "RestoreFaces", image=two[..., :3], faces=first, upscale_model=model, scale=2.0, **SRCNN
    )
    assert torch.equal(edges(same), edges(doubled))
    with pytest.raises(ValueError, match="connect one of the two"):
        pack.run("RestoreFaces", image=scene, background=scene, upscale_model=model, **SRCNN)


@pytest.mark.parametrize(
    "change", [{}, {"w": 0.0}, {"half": True}, {"mask": "parse", **PARSER}, {"scale": 1.5}]
)
def test_codeformer_restores_whole_pictures(pack, scene, one, change):
    given = {"image": scene, "codeformer": "codeformer.safetensors", "faces": one, "scale": 1.0}
    done, report = pack.run("CodeFormer", **{**given, **change})
    assert "1 of 1 faces restored" in report
    if "scale" in change:
        assert done.shape == (1, 180, 225, 3)
        return
    assert (done - scene).abs().max() > 8 / 255
    assert torch.equal(done[:, :2], scene[:, :2])


def test_aligned_faces_of_a_batch_are_restored_one_by_one(pack, scene):
    (network,) = pack.run("LoadCodeFormer", codeformer="codeformer.safetensors")
    batch = torch.cat([scene, scene, scene])
    given = {"codeformer": network, "image": torch.cat([batch, batch[..., :1]], -1)}
    moves, (done,) = pack.watched("RestoreAlignedFace", batch=2, **given)
    assert moves == [(2, 3), (3, 3)]
    assert done.shape == (3, 64, 64, 4)
    torch.testing.assert_close(done[2], done[0], rtol=0, atol=1e-4)
    assert pack.watched("RestoreAlignedFace", stop_after=1, batch=2, **given)[0] == [(2, 3)]


MISTAKES = [
    ("RestoreFaces", {**SRCNN, "detector": "retinaface"}, "detection_Resnet50_Final.pth is missing"),
    ("RestoreFaces", {**SRCNN, "which": "3"}, "there is no face 3"),
    ("RestoreFaces", {**SRCNN, "which": "all"}, "does not number faces"),
    ("RestoreFaces", {**SRCNN, "coarse": 1.0}, "coarse 1 is outside"),
    ("RestoreFaces", {"method": "gan"}, "choose one of diffsr, dpi, srdg, srcnn"),
]


@pytest.mark.parametrize(("name", "change", "words"), MISTAKES)
def test_mistakes_are_explained(pack, scene, name, change, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        pack.run(name, image=scene, **change)


@pytest.mark.parametrize(
    ("name", "given", "one", "words"),
    [
        ("RestoreFaces", SRCNN, "detector", "no face detector"),
        ("CodeFormer", {}, "codeformer", "where codeformer weights are needed"),
    ],
)
def test_files_of_other_kinds_that_links_bring_are_explained(pack, scene, name, given, one, words):
    with pytest.raises(ValueError, match=words):
        pack.linked(name, {one: "tiny_adm.safetensors"}, image=scene, **given)


def test_large_faces_are_left_with_a_hint(pack, scene):
    given = {"image": scene, "scale": 1.0, "method": "srcnn", "method.size": 48}
    done, report = pack.run("RestoreFaces", **given, clean=False)
    assert "take it as coarser to restore it anyway" in report
    assert torch.equal(done, scene)
    cleaned, _ = pack.run("RestoreFaces", **given)
    assert 0.5 / 255 < (cleaned - scene).abs().mean() < 5 / 255


def test_the_best_of_several_candidates_is_kept(pack, two, found, scene):
    given = {"image": two, "faces": found, "scale": 1.0, "candidates": 2, **DIFFSR}
    _, report = pack.run("RestoreFaces", **given, pick="sharpness")
    assert report.count(" of 2, sharpness ") == 2


def test_what_is_done_outside_the_faces_is_asked_last(pack, bare, two, found):
    given = {"image": two, "faces": found, "scale": 1.0, **DIFFSR}
    plain, _ = pack.run("RestoreFaces", **given)
    done, _ = pack.run("RestoreFaces", **given, enhance_outside="released")
    assert (plain - done).abs().max() > 1e-3
    for name in ("PriorSRRestoreFaces", "PriorSRCodeFormer"):
        inputs = described_node(bare.nodes[name])["inputs"]
        widgets = [one["id"] for one in inputs if one["type"] in WIDGETS and one.get("optional")]
        assert widgets[-2:] == ["enhance_outside", "feather"]


def test_a_region_limits_nodes_that_put_faces_back(pack, scene, one):
    mask = torch.zeros(1, 60, 75)
    mask[:, :, :38] = 1
    given = {"image": scene, "faces": one, "clean": False}
    done = pack.image("RestoreFaces", **given, **DIFFSR, region=mask, feather=2.0)
    assert torch.equal(done[:, :, 82:], scene[:, :, 82:])
    assert not torch.equal(done[:, :, :70], scene[:, :, :70])
    aligned, crops, _ = pack.run("CropFaces", image=scene, faces=one)
    given = {"image": scene, "crops": crops, "restored": 1 - aligned}
    pasted, report = pack.run("PasteFaces", **given, region=torch.zeros(1, 64, 64))
    assert torch.equal(pasted, scene)
    assert "the region is empty" in report


def test_what_was_not_done_is_shown_on_the_node(pack, photograph):
    empty = torch.full_like(photograph, 0.4)
    for name, words in (("RestoreFaces", "no face found"), ("DetectFaces", "no faces")):
        pack.host.shown.clear()
        pack.run(name, image=empty)
        (shown,) = pack.host.shown
        assert words in shown
    faces = pack.run("DetectFaces", image=empty)[0]
    pack.host.shown.clear()
    assert pack.run("CropFaces", image=empty, faces=faces)[2] == 0
    assert pack.host.shown == ["no face to cut out: the grey picture stands for none"]
