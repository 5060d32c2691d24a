from __future__ import annotations

from pathlib import Path

import pytest
import torch
from stablesr_tiny import context, tiny
from tiny_checkpoints import attribute, score_network

from priorsr.methods.diffsr.method import DiffSRSettings, diffsr_upscale
from priorsr.methods.diffsr.upscaler import DiffSRUpscaler
from priorsr.methods.dpi.method import dpi_upscale
from priorsr.methods.dpi.presets import choose_corrector, choose_settings
from priorsr.methods.faces.align import template
from priorsr.methods.faces.detail import detail_side
from priorsr.methods.faces.detect import Faces
from priorsr.methods.faces.paint import RestoreSettings
from priorsr.methods.faces.restore import restore_faces
from priorsr.methods.faces.restorers import (
    EnlargingRestorer,
    nearest,
    restorer_of,
)
from priorsr.methods.imaging.canvas import TileSettings
from priorsr.methods.imaging.images import read
from priorsr.methods.imaging.resize import resize, size_of
from priorsr.methods.inputs import FaceUse
from priorsr.methods.method import Plan, Upscaler
from priorsr.methods.priors.load import frame_of, load_prior
from priorsr.methods.registry import method_named
from priorsr.methods.srdg.attributes import load_wishes
from priorsr.methods.srdg.method import (
    RELEASED,
    SRDGSettings,
    load_sr_prior,
    network_name,
    scales_of,
    srdg_upscale,
)
from priorsr.methods.srdg.upscaler import SRDGUpscaler
from priorsr.methods.stablesr.method import StableSRSettings, stablesr_upscale
from priorsr.methods.stablesr.upscaler import StableSRUpscaler
from priorsr.methods.weights import load, save

SAMPLE = Path(__file__).parents[3] / "docs" / "sample" / "astronaut.png"
FEW = DiffSRSettings(steps=2, level=10)


@pytest.fixture(scope="module")
def prior():
    return load_prior("face64")


@pytest.fixture(scope="module")
def portrait():
    return read(SAMPLE).pixels


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


def test_faces_with_more_detail_than_the_method_makes_are_left_and_soft_ones_of_any_size_are_not():
    some = upright((44, 44, 32), (106, 36, 128))
    crisp = torch.rand(1, 3, 200, 260, generator=torch.Generator().manual_seed(0))
    seen: list = []
    settings = RestoreSettings(size=64)
    done = restore_faces(crisp, bicubic(seen), None, settings, faces=[some])
    assert seen == [(32, [0])]
    assert [r.outcome.split(":")[0] for r in done.reports[0]] == ["restored", "left as it is"]
    assert "it has the detail of 128 pixels across, and the method is for 77 or fewer" in done.describe()
    assert "1 of 2 faces restored" in done.describe()
    assert torch.equal(done.pictures[..., 110:], crisp[..., 110:])
    restore_faces(crisp, bicubic(seen, coarse=4.0), None, settings, faces=[some])
    assert seen[1:] == [(16, [0, 1])]
    soft = resize(resize(crisp, (25, 32)), (200, 260)).clamp(0, 1)  # 16 pixels across the large face
    done = restore_faces(soft, bicubic(seen), None, settings, faces=[some])
    assert [r.outcome for r in done.reports[0]] == ["restored", "restored"]
    assert max(side for side, _ in seen[2:]) < 48
    assert done.reports[0][1].detail < 48


@pytest.mark.parametrize(("pixels", "side"), [(128, 256), (64, 256), (64, 128), (48, 200)])
def test_detail_is_that_of_the_pixels_that_a_face_was_enlarged_from(portrait, pixels, side):
    crisp = resize(portrait, (pixels, pixels)).clamp(0, 1)
    shown = resize(crisp, (side, side)).clamp(0, 1)
    assert detail_side(shown) == pytest.approx(pixels, rel=0.3)
    assert detail_side(crisp) == pixels
    noise = torch.randn(shown.shape, generator=torch.Generator().manual_seed(0)) / 255
    assert detail_side(shown + noise) == pytest.approx(pixels, rel=0.4)
    assert detail_side(torch.full((1, 3, side, side), 0.5)) == side


def test_a_cleaner_sees_the_whole_picture_and_what_faces_are_cut_from():
    class Halving(Upscaler):
        def plan(self, size, scale):
            return Plan(self.result_size(size, scale))

        def enlarge(self, low, scale, seeds, step, report):
            return resize(low, self.result_size(size_of(low), scale)).clamp(0, 1) / 2

    picture = torch.full((2, 4, 60, 80), 0.8)
    seen = []

    def watch(low, scale, seeds):
        seen.append(low.max().item())
        return resize(low, (64, 64))

    aware = EnlargingRestorer(watch, (), 64, "ffhq", coarse=2.0)
    faces = [upright((20, 20, 30)), upright((20, 20, 30))[[]]]
    settings = RestoreSettings(size=64, scale=2)
    done = restore_faces(picture, aware, None, settings, faces=faces, cleaner=Halving())
    assert done.pictures.shape == (2, 4, 120, 160)
    assert done.pictures[:, :3].max() == pytest.approx(0.4, abs=1e-3)
    assert done.pictures[:, 3].min() == pytest.approx(0.8)
    assert max(seen) == pytest.approx(0.4, abs=0.2)
    assert "no face found, cleaned" in done.describe()
    behind = torch.full((2, 3, 120, 160), 0.1)
    given = restore_faces(picture, aware, None, settings, background=behind, faces=faces, cleaner=Halving())
    assert torch.equal(given.pictures[1, :3], behind[1])


def test_small_faces_keep_the_detail_that_they_have():
    low = resize(torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0)), (40, 40)).clamp(0, 1)
    some, settings = upright((9.3, 7.6, 24)), RestoreSettings(size=96, scale=4)
    plain = resize(low, scale=4.0).clamp(0, 1)[..., 60:110, 60:110]

    def error(restorer):
        done = restore_faces(low, restorer, None, settings, faces=[some]).pictures[..., 60:110, 60:110]
        return (done - plain).square().mean().sqrt()

    blurred = error(
        lambda faces, seeds: resize(resize(faces, (24, 24)), (96, 96))
    )  # cut bilinearly, as a plain restorer's
    assert 0 < error(bicubic([], size=96)) < 0.5 * blurred


def test_diffsr_restores_as_on_its_own_with_the_seed_of_each_face(prior, faces):
    said: list[str] = []
    restored = restorer_of(
        DiffSRUpscaler(prior, FEW, TileSettings(), "tight"), FaceUse(), report=said.append
    )(faces, [3, 4, 5], [4.0, 4.0, 2.0])
    low = resize(faces, (16, 16)).clamp(0, 1)
    torch.testing.assert_close(
        restored[:2], diffsr_upscale(prior, low[:2], 4.0, FEW, seeds=[3, 4]), rtol=0, atol=1e-5
    )
    assert not torch.equal(restored, faces)


def test_dpi_takes_the_scale_that_correctors_are_trained_for(prior, faces):
    said: list[str] = []
    restorer = restorer_of(
        method_named("dpi").prepare({"prior": "face64"}, values={"steps": 2}), FaceUse(), report=said.append
    )
    assert (restorer.steps, restorer.size) == (2, 64)
    restored = restorer(faces, [3, 4, 5], [3.3, 8.0, 2.5])
    assert [bool(restorer.leaves(zoom)) for zoom in (1.5, 2.1, 9.0)] == [True, False, False]
    assert any("dpi_x4" in text for text in said)
    low = resize(faces[[0, 2]], (16, 16)).clamp(0, 1)
    corrector = choose_corrector("auto", 1, 4.0, size=64)
    alone = dpi_upscale(prior, corrector, low, 4.0, choose_settings("auto", 4.0, 2), seeds=[3, 5])
    torch.testing.assert_close(restored[[0, 2]], alone, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="no preset"):
        method_named("dpi").prepare(preset="x3")


def test_srdg_restores_at_the_scale_of_its_network_towards_what_is_wished_for(tmp_path, faces):
    prior = load_sr_prior(str(score_network(tmp_path / "sr.safetensors")))
    wanted = load_wishes([str(attribute(tmp_path / "happy.safetensors"))], "happy=1")
    settings = SRDGSettings(steps=3, corrections=1, h=20)
    plain, pulled = (
        restorer_of(
            SRDGUpscaler(
                prior, settings, TileSettings(), [w.classifier for w in some], some, RELEASED, "tight"
            ),
            FaceUse(),
        )
        for some in ((), wanted)
    )
    assert (plain.size, len(plain.networks), len(pulled.networks)) == (64, 1, 2)
    assert [bool(plain.leaves(zoom)) for zoom in (3.9, 4.1)] == [True, False]
    low = resize(faces[[0, 2]], (8, 8)).clamp(0, 1)
    for restorer, some in ((plain, ()), (pulled, wanted)):
        alone = srdg_upscale(prior, low, 8, some, settings, seeds=[3, 5])
        torch.testing.assert_close(
            restorer(faces, [3, 4, 5], [7.0, 15.0, 9.0])[[0, 2]], alone, rtol=0, atol=1e-5
        )
    assert not torch.equal(plain(faces, [3, 4, 5], [8.0] * 3), pulled(faces, [3, 4, 5], [8.0] * 3))


def test_networks_of_srdg_tell_their_scales_and_must_be_named_where_none_comes_along(tmp_path, monkeypatch):
    path = score_network(tmp_path / "sr.safetensors")
    assert scales_of(str(path)) == (8.0, 16.0)
    said = load(path)
    save(said.network, tmp_path / "own.safetensors", {**said.metadata, "factors": "4,8"})
    assert scales_of(str(tmp_path / "own.safetensors")) == (4.0, 8.0)
    assert network_name("named") == "named"
    monkeypatch.setattr("priorsr.methods.srdg.method.shipped_networks", list)
    with pytest.raises(ValueError, match="none comes along"):
        network_name()


def test_stablesr_restores_faces_as_they_are_each_with_its_seed(faces):
    settings = StableSRSettings(steps=2, tile=64, overlap=32, vae_tile=64, vae_overlap=32)
    restorer = restorer_of(StableSRUpscaler(tiny(), context(), settings), FaceUse(blind=True), 64)
    assert (restorer.size, restorer.frame, len(restorer.networks)) == (64, "ffhq", 5)
    torch.testing.assert_close(
        restorer(faces, [3, 4, 5]), stablesr_upscale(tiny(), faces, 1.0, context(), settings, seeds=[3, 4, 5])
    )
    some = upright((44, 44, 64))
    picture = resize(faces[:1], (160, 160)).clamp(0, 1)
    done = restore_faces(picture, restorer, None, RestoreSettings(size=64), faces=[some])
    assert done.reports[0][0].outcome == "restored"
    assert not torch.equal(done.pictures, picture)


def test_srcnn_keeps_the_picture(faces):
    restorer = restorer_of(method_named("srcnn").prepare(), FaceUse(), 64)
    restored = restorer(faces, [0, 0, 0], [2.0, 3.0, 2.5])
    assert (restored - faces).abs().mean() < 0.02
    assert len(restorer.networks) == 3


def test_wrong_sizes_and_names():
    with pytest.raises(ValueError, match=r"coarse 1 is outside 1\.1 \.\. 32"):
        bicubic([], coarse=1.0)
    assert [frame_of(name) for name in ("face64", "face128", "ffhq_10m.pt")] == ["tight", "ffhq", "ffhq"]
    assert nearest((2.0, 4.0), 2.9) == 4.0
