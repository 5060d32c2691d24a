"""Resize, degrade, correct, clean and measure pictures."""

from __future__ import annotations

import json

import pytest
import torch
from torch.nn import functional as F

import priorsr
from priorsr.methods.imaging.alpha import fill_hidden
from priorsr.methods.imaging.images import Picture, write
from priorsr.samplers.noise import Noise

SIZES = [
    ({"to": "scale", "to.scale": 2.0}, (30, 22)),
    ({"to": "scale", "to.scale": 0.02}, (1, 1)),
    ({"to": "size", "to.width": 7, "to.height": 20}, (20, 7)),
    ({"to": "multiple", "to.multiple": 4}, (12, 8)),
    ({"to": "multiple", "to.multiple": 64}, (64, 64)),
]


@pytest.mark.parametrize(("choice", "size"), SIZES)
def test_resize_to_a_size_with_alpha(pack, patch, choice, size):
    assert tuple(pack.image("Resize", image=patch, **choice).shape) == (2, *size, 4)


def test_resize_is_that_of_pillow_and_takes_alpha_alike(pack, patch):
    size = {"to": "size", "to.width": 5, "to.height": 6}
    done = pack.image("Resize", image=patch, **size)
    colours, alpha = patch.movedim(-1, 1).split([3, 1], 1)
    visible = torch.cat([fill_hidden(colours, alpha), alpha], 1)
    pillow = F.interpolate(visible, (6, 5), mode="bicubic", antialias=True).movedim(1, -1)
    torch.testing.assert_close(done, pillow.clamp(0, 1), rtol=0, atol=1e-5)
    mirrored = pack.image(
        "Resize", image=patch, to="size", matlab_border=True, **{"to.width": 5, "to.height": 6}
    )
    assert (mirrored - done).abs().max() > 1e-3
    patch = patch[..., :3]
    aliased = pack.image("Resize", image=patch, to="scale", method="nearest", antialias=False)
    assert (aliased[..., None, :] == patch.flatten(1, 2)[:, None, None]).all(-1).any(-1).all()


def test_resize_refuses_what_it_cannot_do(pack, patch):
    with pytest.raises(ValueError, match="unknown to None: choose one of scale, size"):
        pack.run("Resize", image=patch, to="nonsense")
    with pytest.raises(ValueError, match=r"image must be B x H x W x 1, 3 or 4, not \(2, 15, 11, 2\)"):
        pack.run("Resize", image=patch[..., :2])
    with pytest.raises(ValueError, match=r"to\.scale 99\.0 is outside"):
        pack.run("Resize", image=patch, to="scale", **{"to.scale": 99.0})


DEGRADATIONS = [
    ("bicubic", {"scale": 2.0}, (8, 6)),
    ("face", {"level": "heavy"}, (15, 11)),
    ("real-world", {"scale": 2.0}, (8, 6)),
    ("srdg", {"scale": 2.0}, (15, 11)),
    ("blur", {"sigma": 2.0, "sigma_across": 0.5, "angle": 30.0, "kernel": 13}, (15, 11)),
    ("blur", {"sigma": 2.0}, (15, 11)),
    ("ringing", {"cutoff": 1.0, "kernel": 13}, (15, 11)),
    ("noise", {"kind": "gaussian"}, (15, 11)),
    ("noise", {"kind": "poisson", "grey": True}, (15, 11)),
    ("noise", {"kind": "speckle"}, (15, 11)),
    ("compression", {"codec": "jpeg", "quality": 10}, (15, 11)),
    ("compression", {"codec": "webp", "quality": 10}, (15, 11)),
]


@pytest.mark.parametrize(("kind", "settings", "size"), DEGRADATIONS)
def test_damage_repeats_and_its_recipe_replays_it(pack, patch, kind, settings, size):
    chosen = {"degradation": kind, **{f"degradation.{name}": value for name, value in settings.items()}}
    done, recipe = pack.run("Degrade", image=patch, seed=7, **chosen)
    assert tuple(done.shape) == (2, *size, 4)
    first = json.dumps(json.loads(recipe)[0])
    again, _ = pack.run(
        "Degrade", image=patch[:1], seed=99, degradation="recipe", **{"degradation.json": first}
    )
    assert torch.equal(again, done[:1])
    if size == (15, 11):
        assert torch.equal(done[..., 3], patch[..., 3])
        assert (done - patch).abs().max() > 1e-3


def test_damage_varies_over_a_batch_when_asked(pack, patch):
    twice = patch[:1].expand(2, -1, -1, -1)
    noise = {"degradation": "noise", "degradation.amount": 40.0}
    same, _ = pack.run("Degrade", image=twice, seed=3, **noise)
    assert torch.equal(same[0], same[1])
    varied, _ = pack.run("Degrade", image=twice, seed=3, vary=True, **noise)
    assert torch.equal(varied[0], same[0])
    assert torch.equal(varied[1], pack.run("Degrade", image=patch[:1], seed=4, **noise)[0][0])


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"degradation": "nonsense"}, "unknown degradation"),
        ({"degradation": "recipe", "degradation.json": "{"}, "no JSON"),
        ({"degradation": "recipe", "degradation.json": '{"name": "x", "steps": [{"step": "Rot"}]}'}, "Rot"),
    ],
)
def test_unknown_damage_is_explained(pack, patch, choice, words):
    with pytest.raises(ValueError, match=words):
        pack.run("Degrade", image=patch, **choice)


@pytest.mark.parametrize("method", ["adain", "wavelet"])
def test_colours_become_those_of_the_source(pack, patch, method):
    source = patch[..., :3].roll(1, -1) * 0.5
    done = pack.image("ColourCorrection", image=patch, source=source, method=method)
    assert torch.equal(done[..., 3], patch[..., 3])
    assert (done[..., :3].mean((1, 2)) - source.mean((1, 2))).abs().max() < 0.05
    assert (patch[..., :3].mean((1, 2)) - source.mean((1, 2))).abs().max() > 0.1
    with pytest.raises(ValueError, match="2 sources for 1 images"):
        pack.run("ColourCorrection", image=patch[:1], source=source, method=method)


def test_cleaned_pictures_are_reduced(pack, patch):
    patch[..., 3] = 1.0  # else the model sees other colours than the other node did
    cleaned = patch[..., :3].repeat_interleave(4, 1).repeat_interleave(4, 2)
    by_hand = pack.image("PreClean", image=patch, cleaned=cleaned, reduction=2.0)
    by_model = pack.image("PreClean", image=patch, upscale_model=lambda x: _four_times(x), reduction=2.0)
    assert torch.equal(by_hand, by_model)
    assert by_hand.shape[0] == 2
    assert by_hand.shape[-1] == 4
    with pytest.raises(ValueError, match="connect one of them"):
        pack.run("PreClean", image=patch)
    with pytest.raises(ValueError, match="1 cleaned images for 2 damaged ones"):
        pack.run("PreClean", image=patch, cleaned=cleaned[:1])


def test_aligned_faces_are_cleaned_by_codeformer(pack, photograph):
    """As the same network does it before the other node's picture is reduced, each face by itself."""
    (network,) = pack.run("LoadCodeFormer", codeformer="codeformer.safetensors")
    faces = torch.cat([photograph, photograph.flip(2)])[:, ::2, ::2]
    made = pack.image("PreClean", image=faces, codeformer=network)
    size = network.config.image_size
    restored = pack.image("RestoreAlignedFace", codeformer=network, image=faces)
    assert restored.shape[1:3] == (size, size)
    by_hand = pack.image("PreClean", image=faces, cleaned=restored, reduction=size / 64)
    assert made.shape == faces.shape
    torch.testing.assert_close(made, by_hand, rtol=0, atol=0.1)
    assert (made - faces).abs().max() > 0.1
    with pytest.raises(ValueError, match="which are square"):
        pack.run("PreClean", image=faces[:, :50], codeformer=network)
    with pytest.raises(ValueError, match="connect one of them"):
        pack.run("PreClean", image=faces, codeformer=network, cleaned=faces)


def _four_times(image):
    return image.repeat_interleave(4, 1).repeat_interleave(4, 2)


def test_quality_in_numbers_words_and_a_picture(pack, photograph):
    patch = torch.stack([photograph[0, 30:62, 40:64], photograph[0, 60:92, 40:64]])
    noisy = (patch + 0.1).clamp(0, 1)
    report, decibels, structure, shown, told = pack.run(
        "ImageQuality", image=noisy, reference=patch, border=2
    )
    eight, other = ((x * 255).round()[:, 2:-2, 2:-2] / 255 for x in (noisy, patch))
    error = (eight - other).pow(2).mean((1, 2, 3))
    assert decibels == pytest.approx((-10 * error.log10()).mean().item(), abs=1e-3)
    assert 0 < structure < 1
    assert [line.split(":")[0] for line in report.splitlines()] == ["0", "1"]
    assert shown.shape[0] == 2
    assert shown.shape[2] >= 3 * 24
    assert [set(row) for row in json.loads(told)["images"]] == 2 * [{"psnr", "ssim", "mae"}]
    report, decibels, structure, *_ = pack.run(
        "ImageQuality", image=patch[:1], reference=patch[:1], channels="luma"
    )
    assert (decibels, structure) == (100.0, pytest.approx(1.0))
    assert "PSNR" in report


def test_quality_tells_agreement_and_refuses_other_sizes(pack, patch):
    low = pack.image("Resize", image=patch[:1, ..., :3], to="scale")
    report = pack.run("ImageQuality", image=patch[:1], reference=patch[:1], low_resolution=low)[0]
    assert "consistency" in report
    with pytest.raises(ValueError, match="differ in size"):
        pack.run("ImageQuality", image=patch[:1], reference=low)
    resized = pack.run("ImageQuality", image=patch[:1], reference=low, when_sizes_differ="resize reference")
    assert 10 < resized[1] < 60


def larger(photograph):
    """Large enough for NIQE."""
    return F.interpolate(photograph.movedim(-1, 1), (200, 200), mode="bilinear").movedim(1, -1)


def test_all_figures_are_those_of_the_command(pack, photograph, tmp_path):
    whole = larger(photograph)[0]
    truth = torch.stack([whole, whole.flip(1)])
    low = truth[:, ::2, ::2]
    noisy = (truth + 0.05 * Noise([0, 1])(truth.shape)).clamp(0, 1)
    report, decibels, _, _, told = pack.run(
        "ImageQuality",
        image=noisy,
        reference=truth,
        low_resolution=low,
        figures="all",
        channels="luma",
        border=2,
    )
    record = json.loads(told)
    for name, x in (("results", noisy), ("truth", truth), ("inputs", low)):
        for i in range(2):
            write(Picture(x[i].movedim(-1, 0)[None]), tmp_path / name / f"{i}.png")
    other = priorsr.judge(
        tmp_path / "results", tmp_path / "truth", tmp_path / "inputs", colour="luma", border=2
    )
    assert (
        set(record["figures"]) == set(other.figures) - {"fid", "kid"} > {"niqe", "consistency", "sharpness"}
    )
    assert decibels == pytest.approx(record["figures"]["psnr"]["value"], abs=1e-6)
    for name, one in other.figures.items():
        if name in record["figures"]:
            assert record["figures"][name]["value"] == pytest.approx(one.value, rel=0.02)
    assert "95 % interval" in report
    assert [row["file"] for row in record["pictures"]] == ["1", "2"]


def test_without_a_reference_all_is_told_that_needs_none(pack, photograph):
    report, decibels, structure, shown, told = pack.run("ImageQuality", image=larger(photograph))
    record = json.loads(told)
    assert set(record["figures"]) >= {"niqe"}
    assert "psnr" in record["lacking"]
    assert "needs the true pictures" in report
    assert (decibels, structure) == (0.0, 0.0)
    assert shown.shape[0] == 1


def test_faces_of_a_batch_are_recognised_and_compared_with_a_set(pack, photograph):
    pytest.importorskip("dlib")
    face = photograph[:, 20:148, 60:188].expand(3, -1, -1, -1)
    face = torch.stack([face[0], face[1].flip(1), (face[2] * 0.7)])
    *_, told = pack.run(
        "ImageQuality", image=face, reference=face, figures="all", faces="ffhq", reference_set=face[:2]
    )
    record = json.loads(told)
    assert record["figures"]["identity"]["value"] == pytest.approx(0, abs=1e-6)
    assert record["figures"]["recognised"]["value"] == 1
    assert record["figures"]["frechet"]["value"] > 0


@pytest.mark.parametrize(
    ("name", "choice", "more"),
    [
        ("EnhanceOutside", "filters", {"mask": torch.zeros(1, 15, 11)}),
        ("Degrade", "degradation", {}),
        ("Resize", "to", {}),
        ("Sampler", "transition", {}),
        ("GuideClip", "limit", {}),
    ],
)
def test_a_choice_that_there_is_not_is_told(pack, patch, name, choice, more):
    """The host passes nothing on for keys that it does not know, such as those of links."""
    picture = {"image": patch} if name not in ("Sampler", "GuideClip") else {}
    with pytest.raises(ValueError, match=f"unknown {choice} None: choose one of"):
        pack.run(name, **picture, **more, **{choice: "nonsense"})


def test_masks_of_dpi_are_as_many_as_the_images(pack, patch):
    fixed, probability, adaptive, preview = pack.run("DPIMasks", image=patch, scale=2.0)
    assert len(fixed) == len(probability) == len(adaptive) == len(preview) == len(patch)
    assert torch.equal(fixed[0], fixed[1])


def test_samples_come_damaged_and_whole(pack):
    image, original = pack.run("SamplePicture", picture="face", damage="small x4")
    assert image.shape == (1, 32, 32, 3)
    assert original.shape == (1, 128, 128, 3)
