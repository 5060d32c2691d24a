"""Upscale models of other authors: `upscale model`, and as what cleans for StableSR."""

from __future__ import annotations

import sys

import pytest
import spandrel_stub
import torch
from safetensors.torch import save_file

from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import resize
from priorsr.methods.registry import method_named, restorer_named
from priorsr.methods.upscale_model import method as own
from priorsr.methods.upscale_model.method import ModelUpscaler, pieces


@pytest.fixture
def spandrel(monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel", spandrel_stub.stub())


def model_file(path, gain=0.5, left=0.25, channels=3):
    state = {"gain": torch.full((channels, 1, 1), gain), "left": torch.tensor(left)}
    save_file(state, path)
    return str(path)


def picture(height=300, width=410, channels=3):
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0))


def expected(x):
    shifted = torch.cat([x[..., :1], x[..., :-1]], -1)
    return (0.5 * x + 0.25 * shifted).repeat_interleave(2, -1).repeat_interleave(2, -2)


@pytest.mark.usefixtures("spandrel")
def test_pieces_give_the_whole_at_the_models_scale_and_others(tmp_path):
    files = {"weights": model_file(tmp_path / "a.safetensors")}
    x = picture()
    for tile, calls in ((0, 1), (128, 12), (200, 6)):
        upscaler = method_named("model").prepare(files, values={"tile": tile})
        assert upscaler.plan((300, 410), 2.0).calls == calls
        done = upscaler(x, 2.0)
        torch.testing.assert_close(done, expected(x), rtol=0, atol=1e-6)
    torch.testing.assert_close(upscaler(x, 1.0), resize(expected(x), (300, 410)).clamp(0, 1))
    assert "enlarges by 2; from there to 3 it is bicubic" in upscaler.plan((30, 40), 3.0).warnings[0]
    assert not upscaler.plan((30, 40), 2.0).warnings
    assert tuple(upscaler(x[..., :40, :40], 3.0).shape) == (1, 3, 120, 120)


@pytest.mark.usefixtures("spandrel")
def test_grey_and_colour_go_through_models_of_either(tmp_path):
    x = picture(20, 30)
    grey = x.mean(1, keepdim=True)
    for channels in (1, 3):
        name = model_file(tmp_path / f"{channels}.safetensors", channels=channels)
        upscaler = method_named("model").prepare({"weights": name})
        torch.testing.assert_close(upscaler(x, 2.0), expected(x), rtol=0, atol=1e-6)
        torch.testing.assert_close(upscaler(grey, 2.0), expected(grey), rtol=0, atol=1e-5)


@pytest.mark.usefixtures("spandrel")
def test_precision_only_where_the_model_bears_it(tmp_path):
    files = {"weights": model_file(tmp_path / "a.safetensors")}
    for dtype, wanted in ((torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32)):
        upscaler = method_named("model").prepare(files, precision=dtype)
        assert upscaler.networks[0].gain.dtype == wanted
        assert upscaler(picture(20, 30), 2.0).dtype == torch.float32


@pytest.mark.usefixtures("spandrel")
def test_the_command_enlarges_and_cleans(tmp_path, caplog):
    weights = model_file(tmp_path / "mine.safetensors")
    write(Picture(picture(20, 30)), tmp_path / "in.png")
    low = read(tmp_path / "in.png").pixels
    asked = ("upscale", "model", str(tmp_path / "in.png"), str(tmp_path / "out.png"), "--scale", "2")
    assert cli.main([*asked, "--weights", weights]) == 0
    torch.testing.assert_close(read(tmp_path / "out.png").pixels, expected(low), rtol=0, atol=0.51 / 255)
    cleaner = restorer_named(weights)
    assert isinstance(cleaner, ModelUpscaler)
    torch.testing.assert_close(cleaner(low, 2.0), expected(low), rtol=0, atol=1e-6)
    assert cli.main([*asked, "--weights", weights, "--tile", "9", "--overwrite"]) == 2
    assert "tile 9 is too small" in caplog.text


def test_names_and_own_files_find_their_methods(tmp_path):
    assert type(restorer_named("srcnn")).__name__ == "SRCNNUpscaler"
    assert type(restorer_named("clean")).__name__ == "CleanUpscaler"
    assert type(restorer_named("srcnn_x2")).__name__ == "SRCNNUpscaler"
    with pytest.raises(FileNotFoundError, match=r"Give a weight file, or one of bicubic, .*srcnn") as told:
        restorer_named("nothing")
    assert "codeformer" in str(told.value)


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ImportError, match=r'pip install "priorsr\[models\]"'):
        method_named("model").prepare({"weights": model_file(tmp_path / "a.safetensors")})


@pytest.mark.usefixtures("spandrel")
def test_other_files_and_models_are_refused(tmp_path, monkeypatch):
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"a\.safetensors holds no upscale model .*first keys: a"):
        method_named("model").prepare({"weights": str(tmp_path / "a.safetensors")})
    monkeypatch.setattr(
        spandrel_stub.ModelLoader,
        "load_from_state_dict",
        lambda self, state: spandrel_stub.Descriptor(state, "Inpainting"),
    )
    with pytest.raises(ValueError, match="for inpainting of 3 to 3 channels"):
        method_named("model").prepare({"weights": model_file(tmp_path / "b.safetensors")})


@pytest.mark.usefixtures("spandrel")
def test_models_that_see_the_whole_and_face_models_keep_their_form(tmp_path, monkeypatch):
    state = {"gain": torch.ones(3, 1, 1), "left": torch.zeros(())}
    whole = spandrel_stub.Descriptor(state, tiling=spandrel_stub.Tiling.INTERNAL)
    upscaler = ModelUpscaler(whole, own.UpscaleModelSettings())
    assert (upscaler.plan((2000, 2000), 2.0).calls, upscaler.shrink(), upscaler.size) == (1, "", 0)
    cut = ModelUpscaler(spandrel_stub.Descriptor(state, "FaceSR"), own.UpscaleModelSettings())
    assert (cut.size, cut.shrink(), cut.shrink(), cut.shrink()) == (
        *(512, "pieces of 256 pixels", "pieces of 128 pixels"),
        "",
    )


def test_pieces_cover_everything_once():
    seen = torch.zeros(301, 129)
    for (top, bottom), (left, right) in pieces((301, 129), 128):
        assert 0 < bottom - top <= 128
        assert 0 < right - left <= 128
        seen[top:bottom, left:right] += 1
    assert torch.equal(seen, torch.ones_like(seen))


def test_a_model_of_spandrel_gives_what_spandrel_gives(tmp_path):
    """With the program itself, where it is installed."""
    try:
        import spandrel
        from spandrel.architectures.Compact import Compact
    except Exception:
        pytest.skip("needs spandrel, which needs a torchvision that fits torch")
    torch.manual_seed(0)
    network = Compact(num_in_ch=3, num_out_ch=3, num_feat=16, num_conv=3, upscale=4, act_type="prelu")
    torch.save({"params_ema": network.state_dict()}, tmp_path / "compact.pth")
    upscaler = method_named("model").prepare({"weights": str(tmp_path / "compact.pth")}, values={"tile": 128})
    x = picture(150, 170)
    same = spandrel.ModelLoader("cpu").load_from_state_dict(dict(network.state_dict()))
    torch.testing.assert_close(upscaler(x, 4.0), same(x), rtol=0, atol=1e-5)
