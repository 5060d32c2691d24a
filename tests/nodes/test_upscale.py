"""Nodes that enlarge in one step, with the weights that ship or with random ones."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from priorsr.methods.cli import main as cli

TILES = {"tile": 16, "overlap": 4}
DPS = {"prior": "tiny_adm.safetensors", "respacing": "3", **TILES}
EDM = {"prior": "tiny_edm.safetensors", "steps": 2, **TILES}
GUIDED = {"prior": "tiny_upsampler.safetensors", "respacing": "3", "label": 1, **TILES}
DIFFSR = {"prior": "face64", "steps": 2}
DPI = {"prior": "face64", "steps": 2}
SRDG = {"prior": "tiny_sr.safetensors", "preset": "custom", "steps": 2, "corrections": 0}
UPSCALERS = [
    ("UpscaleSRCNN", {"tile": 16}, 2.0, 2),
    ("UpscaleSRCNN", {"channels": "rgb", "tile": 16}, 3.0, 2),
    ("UpscaleDPS", DPS, 2.0, 2),
    ("UpscaleEDMDPS", EDM, 2.0, 2),
    ("UpscaleGuided", GUIDED, 2.0, 1),
    ("UpscaleDiffSR", DIFFSR, 4.0, 1),
    ("UpscaleDPI", DPI, 4.0, 1),
    ("UpscaleSRDG", SRDG, 4.0, 1),
]
FACE = "--scale 4 --prior face64 --seed 3"
CASE = ("name", "settings", "scale", "count")


def named(value: object) -> str:
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize(CASE, UPSCALERS, ids=named)
def test_pictures_come_out_larger_and_the_bar_moves_to_its_end(pack, patch, name, settings, scale, count):
    """Each picture of a batch is as alone, alpha is enlarged with it, and the input stays as it was."""
    given = {**settings, "scale": scale}
    pictures = patch[:count].clone()
    moves, (done, *_) = pack.watched(name, image=pictures, **given)
    assert torch.equal(pictures, patch[:count])
    assert tuple(done.shape) == (count, 15 * scale, 11 * scale, 4)
    assert (done[:, 0, 0, 3] < 0.1).all()
    assert (done[:, -1, -1, 3] > 0.9).all()
    assert moves[-1][0] == moves[-1][1]
    assert len(moves) > 1
    last = patch[count - 1 : count]
    own = {} if name == "UpscaleSRCNN" else {"seed": count - 1}
    alone = pack.image(name, image=last, **own, **given)
    torch.testing.assert_close(done[count - 1 :], alone, rtol=0, atol=1e-3)
    if own:
        assert (pack.image(name, image=last, seed=7, **given) - alone).abs().max() > 1e-2


def test_pictures_of_a_batch_get_seeds_of_their_own_unless_told_otherwise(pack, patch):
    """Seed and place decide: the first has the seed itself."""
    twins = patch[:1].expand(2, -1, -1, -1)
    given = {"scale": 2.0, **DPS}
    done = pack.image("UpscaleDPS", image=twins, **given)
    alone = pack.image("UpscaleDPS", image=patch[:1], **given)
    torch.testing.assert_close(done[:1], alone, rtol=0, atol=1e-3)
    assert (done[1:] - alone).abs().max() > 1e-2
    alike = pack.image("UpscaleDPS", image=twins, vary=False, **given)
    torch.testing.assert_close(alike, alone.expand(2, -1, -1, -1), rtol=0, atol=1e-3)


@pytest.mark.parametrize(CASE, UPSCALERS, ids=named)
def test_cancel_stops_a_run(pack, patch, name, settings, scale, count):
    moves, _ = pack.watched(name, stop_after=1, image=patch[:1], scale=scale, **settings)
    assert len(moves) == 1
    assert moves[0][0] < moves[0][1]


@pytest.mark.parametrize(("name", "settings"), [(name, settings) for name, settings, *_ in UPSCALERS[1:]])
def test_the_longer_side_decides_in_place_of_the_scale(pack, patch, name, settings):
    done = pack.image(name, image=patch[:1], longest=60, scale=2.0, **settings)
    assert tuple(done.shape) == (1, 60, 44, 4)


def test_a_longer_side_that_cannot_be_is_told_as_it_was_asked(pack, patch):
    for name, settings, least in (("UpscaleSRCNN", {}, 15), ("UpscaleDPI", DPI, 30)):
        with pytest.raises(ValueError, match=rf"longest 10 is outside {least} \.\. 960 pixels"):
            pack.run(name, image=patch[:1], longest=10, **settings)


def test_presets_leave_what_was_set(pack, patch):
    """A widget at its default is the preset's, any other value is the user's; with custom, every widget."""
    square = patch[:1, :8, :8, :3]

    def calls(**given):
        moves, _ = pack.watched("UpscaleSRDG", image=square, prior="srdg_face64", scale=8.0, **given)
        return moves[-1][1]

    assert calls() == 50  # of the network that comes along
    assert calls(steps=3) == 3
    assert calls(preset="paper", steps=4) == 4
    assert calls(preset="custom", steps=5, corrections=0) == 5
    own = {"prior": "face64", "corrector": "none", "image": square, "scale": 8.0}
    plain, *_ = pack.run("UpscaleDPI", **own, preset="dpi20", k=2)
    assert not torch.equal(plain, pack.run("UpscaleDPI", **own, preset="dpi20", k=4)[0])
    compound = pack.run("UpscaleDPI", **own, steps=4)[0]
    assert not torch.equal(compound, pack.run("UpscaleDPI", **own, steps=4, compound=False)[0])


def test_grey_pictures_are_enlarged(pack, patch):
    grey = patch[:1, ..., :1]
    for name, settings, scale in (("UpscaleSRCNN", {}, 2.0), ("UpscaleDiffSR", DIFFSR, 4.0)):
        done = pack.image(name, image=grey, scale=scale, **settings)
        assert tuple(done.shape[1:3]) == (15 * scale, 11 * scale)
        assert (done - done.mean(-1, keepdim=True)).abs().max() < 1e-6


def test_reports_tell_what_was_chosen(pack, patch):
    face = patch[:1, ..., :3]
    assert "noise level" in pack.run("UpscaleDiffSR", image=face, **DIFFSR)[1]
    assert pack.run("UpscaleDiffSR", image=face, level=30.0, **DIFFSR)[1].splitlines()
    report = pack.run("UpscaleDPI", image=face, preset="x8", corrector="none", **DPI)[1]
    assert "2 steps" in report
    own = {"preset": "custom", "preset.tau": 123.0, "preset.s": 0.5, "preset.omega": 456.0}
    assert "tau 123, s 0.5, omega 456" in pack.run("UpscaleDPI", image=face, **own, **DPI)[1]
    asked = {"classifier": "tiny_happy.safetensors", "attributes": "happy=1", "weights": "happy=0.5"}
    report = pack.run("UpscaleSRDG", image=face[:, :8, :8], **SRDG, **asked)[1].splitlines()
    assert report[0] == "happy: happy (of 0 neutral, 1 happy), weight 0.5"
    assert report[1].startswith("image 1: happy: neutral 0.")
    report = pack.run("UpscaleSRDG", image=face, scale=2.0, **{**SRDG, "prior": "srdg_face64"})[1]
    assert "not for x2: the picture is enlarged x4 and resized" in report


def test_attributes_pull_and_chained_classifiers_count(pack, patch):
    gender = pack.run("LoadAttributeClassifier", classifier="tiny_gender.safetensors")[0]
    square = patch[:1, :8, :8, :3]
    given = {**SRDG, "image": square, "scale": 8.0, "h": 200.0, "classifier": "tiny_happy.safetensors"}
    plain = pack.image("UpscaleSRDG", **given)
    happy = pack.image("UpscaleSRDG", **given, attributes="happy=1")
    both = pack.image("UpscaleSRDG", **given, attributes="happy=1, gender=male", classifiers=gender)
    assert not torch.equal(plain, happy)
    assert not torch.equal(happy, both)


def test_a_classifier_guides_the_upsampler(pack, patch):
    given = {**GUIDED, "image": patch[:1], "classifier_scale": 300.0}
    judged = pack.image("UpscaleGuided", **given, classifier="tiny_classifier.safetensors")
    assert not torch.equal(judged, pack.image("UpscaleGuided", **given))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("UpscaleSRCNN", {"weights": "broken.safetensors"}, "cannot read broken.safetensors"),
        ("UpscaleSRCNN", {"tile": 5}, "tile 5 is too small"),
        ("UpscaleSRCNN", {"scale": 99.0}, "outside"),
        ("UpscaleSRCNN", {"weights": "../../secret.pt"}, "there is no weight file"),
        ("UpscaleDPS", {"prior": "broken.safetensors"}, "cannot read broken.safetensors"),
        ("UpscaleDPS", {"prior": "tiny_adm.safetensors", "respacing": "ddim999"}, "no whole stride"),
        ("UpscaleGuided", {"prior": "tiny_upsampler.safetensors"}, "label"),
        ("UpscaleGuided", {"prior": "tiny_adm.safetensors", "label": 1}, "upsampler"),
        ("UpscaleDPI", {**DPI, "preset": "nonsense"}, "preset"),
        ("UpscaleDPI", {**DPI, "corrector": "broken.safetensors"}, "cannot read broken.safetensors"),
        ("UpscaleDPI", {**DPI, "scale": 3.0, "corrector": "dpi_x4"}, "x4"),
        ("UpscaleSRDG", {**SRDG, "scale": 4.0, "attributes": "happy=1"}, "no classifier tells 'happy'"),
    ],
)
def test_mistakes_are_explained(pack, patch, name, change, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        pack.run(name, image=patch[:1], **change)


@pytest.mark.parametrize(
    ("name", "file", "more", "words"),
    [
        ("UpscaleDPS", "tiny_edm", {"prior": "tiny_adm.safetensors"}, "use EDM-DPS for EDM priors"),
        ("UpscaleEDMDPS", "tiny_adm", {"prior": "tiny_edm.safetensors"}, "DPS for ADM ones"),
        ("UpscaleDiffSR", "tiny_sr", DIFFSR, "not a diffusion prior"),
        ("UpscaleSRDG", "tiny_adm", SRDG, "^tiny_adm.* where ncsnpp weights"),
    ],
)
def test_files_of_other_kinds_are_not_in_lists_and_by_links_explained(pack, patch, name, file, more, words):
    path = f"{file}.safetensors"
    with pytest.raises(ValueError, match=f"prior: '{path}' is of another kind"):
        pack.run(name, **{**more, "image": patch[:1], "prior": path})
    with pytest.raises(ValueError, match=words):
        pack.linked(name, {"prior": path}, image=patch[:1], **more)


def test_nodes_and_commands_give_the_same_picture(pack, photograph, tmp_path):
    """Up to the rounding to 8 bits of the file."""
    small = photograph[:, 40:56, 50:66]
    eight = small.mul(255).round()
    Image.fromarray(eight[0].byte().numpy()).save(tmp_path / "in.png")
    for name, settings, arguments in (
        ("UpscaleSRCNN", {"scale": 2.5}, "--method srcnn --scale 2.5"),
        (
            "UpscaleDiffSR",
            {**DIFFSR, "seed": 3},
            "--method diffsr --scale 4 --prior face64 --diffsr-steps 2 --seed 3",
        ),
        ("UpscaleDPI", {**DPI, "seed": 3}, "--method dpi --scale 4 --prior face64 --dpi-steps 2 --seed 3"),
    ):
        target = tmp_path / f"{name}.png"
        assert cli.main(["upscale", str(tmp_path / "in.png"), str(target), *arguments.split()]) == 0
        with Image.open(target) as picture:
            written = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8)
        done = pack.image(name, image=eight / 255, **settings)
        torch.testing.assert_close(done.flatten() * 255, written.float(), rtol=0, atol=0.51)


@pytest.mark.parametrize(CASE, UPSCALERS, ids=named)
def test_a_region_limits_every_upscale_node(pack, patch, name, settings, scale, count):
    """A mask of another size, of the left half; beyond its edge the images are those of Bicubic Upscale."""
    mask = torch.zeros(1, 6, 4)
    mask[:, :, :2] = 1
    given = {**settings, "scale": scale, "image": patch[:count]}
    plain, free = pack.image("UpscaleBicubic", image=patch[:count], scale=scale), pack.image(name, **given)
    done = pack.image(name, **given, region=mask, feather=1.0)
    edge, reach = done.shape[2] // 2, 2 * round(scale) + 1
    assert torch.equal(done[:, :, edge + reach :], plain[:, :, edge + reach :])
    torch.testing.assert_close(done[:, :, : edge - reach], free[:, :, : edge - reach], rtol=0, atol=1e-3)
    assert (done - plain)[:, :, : edge - reach].abs().max() > 1e-3
    report = pack.run(name, **given, region=mask[:, :0].new_zeros(1, 64, 64))[1]
    assert "the region is empty" in report
