"""`import priorsr`: the functions give what the command line gives, on every kind of picture."""

from __future__ import annotations

import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import priorsr
from priorsr.methods.bicubic import METHOD as BICUBIC
from priorsr.methods.cli.main import main
from priorsr.methods.degrade import preset
from priorsr.methods.registry import methods
from priorsr.samplers.noise import Noise

SAMPLE = "docs/sample/dogs.png"


def picture(channels: int = 3, size: int = 12) -> torch.Tensor:
    return Noise([1])((1, channels, size, size)).mul(0.2).add(0.5).clamp(0, 1)


@pytest.fixture
def small(tmp_path):
    """A file of 12 x 12 pixels."""
    return priorsr.write(picture(), tmp_path / "small.png")


def test_a_name_loads_no_more_than_it_needs():
    code = "import sys, priorsr; dir(priorsr); print('torch' in sys.modules); priorsr.read; "
    code += "print([m for m in ('kornia', 'matplotlib', 'torchmetrics') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["False", "[]"]


def test_every_name_is_there_and_no_other():
    for name in priorsr.FUNCTIONS + priorsr.TYPES:
        assert getattr(priorsr, name).__doc__, name
        assert name in dir(priorsr)
    with pytest.raises(AttributeError, match="enlarge"):
        _ = priorsr.enlarge


def test_methods_are_those_of_the_command():
    assert {m.name: m for m in priorsr.list_methods()} == methods()


@pytest.mark.parametrize(
    ("method", "option", "settings"),
    [
        ("bicubic", [], {}),
        ("srcnn", ["--tile", "16"], {"tile": 16}),
        ("diffsr", ["--steps", "2"], {"steps": 2}),
    ],
)
def test_results_are_those_of_the_command(small, tmp_path, method, option, settings):
    out = tmp_path / "out.png"
    assert main(["upscale", method, str(small), str(out), "--scale", "2", "--seed", "3", *option]) == 0
    done = priorsr.upscale(small, method, 2, seed=3, **settings)
    priorsr.write(done, tmp_path / "own.png")
    assert torch.equal(priorsr.read(tmp_path / "own.png").pixels, priorsr.read(out).pixels)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_kind_comes_back_as_it_was(channels, tmp_path):
    x = picture(channels).mul(255).round().div(255)
    expected = priorsr.upscale(x, "bicubic", 2)
    assert expected.shape == (1, channels, 24, 24)
    assert torch.equal(priorsr.upscale(x[0], "bicubic", 2), expected[0])
    levels = (x[0] * 255).round().byte().movedim(0, -1).numpy()
    levels = levels[..., 0] if channels == 1 else levels
    array = priorsr.upscale(levels, "bicubic", 2)
    assert array.dtype == np.uint8
    assert array.shape[:2] == (24, 24)
    wanted = (expected[0] * 255).round().byte().movedim(0, -1).numpy().reshape(array.shape)
    assert np.abs(array.astype(int) - wanted).max() <= 1  # the same in float32, rounded
    image = priorsr.upscale(Image.fromarray(levels), "bicubic", 2)
    assert image.mode == ("L", "LA", "RGB", "RGBA")[channels - 1]
    assert np.array_equal(np.asarray(image), array)
    file = priorsr.write(x, tmp_path / "x.png")
    whole = priorsr.upscale(file, "bicubic", 2)
    assert isinstance(whole, priorsr.Picture)
    assert (whole.alpha is None) == (channels in (1, 3))
    assert torch.allclose(whole.pixels, expected[:, : whole.pixels.shape[1]], atol=1e-6, rtol=0)
    floats = priorsr.upscale((levels / 255)[None], "bicubic", 2) if levels.ndim == 3 else None
    assert floats is None or (floats.dtype == np.float64 and floats.shape == (1, 24, 24, channels))


def test_sixteen_bits_stay(tmp_path):
    x = np.linspace(0, 65_535, 144).round().astype(np.uint16).reshape(12, 12)
    file = priorsr.write(x, tmp_path / "deep.png")
    assert np.array_equal(np.asarray(Image.open(file)).astype(int), x.astype(int))
    assert priorsr.upscale(x, "bicubic", 1).dtype == np.uint16
    assert np.array_equal(priorsr.upscale(x, "bicubic", 1), x)
    with pytest.raises(ValueError, match="mode I;16"):
        priorsr.upscale(Image.open(file), "bicubic", 2)


def test_a_file_keeps_its_metadata(tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "in.png", dpi=(72, 72))
    priorsr.write(tmp_path / "in.png", tmp_path / "out.png")
    assert Image.open(tmp_path / "out.png").info["dpi"] == pytest.approx((72, 72), abs=0.1)


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ([1, 2], TypeError, "not list"),
        (torch.zeros(3, 3), ValueError, "C H W"),
        (torch.zeros(3, 3, 3, dtype=torch.uint8), ValueError, "float"),
        (torch.zeros(5, 3, 3), ValueError, "1 to 4 channels"),
        (torch.full((3, 4, 4), torch.nan), ValueError, "NaN"),
        (np.zeros((4, 4, 3), np.int64), ValueError, "int64"),
        (np.zeros(4, np.uint8), ValueError, "H W C"),
        ("nowhere.png", FileNotFoundError, "nowhere.png"),
    ],
)
def test_what_is_no_picture(given, error, match):
    with pytest.raises(error, match=match):
        priorsr.upscale(given, "bicubic", 2)


@pytest.mark.parametrize(
    ("method", "settings", "match"),
    [
        ("bicubik", {}, "there is no method 'bicubik': did you mean bicubic?"),
        ("srcnn", {"tiel": 8}, "srcnn has no setting 'tiel': did you mean tile?"),
        ("srcnn", {"tile": "8"}, "tile '8' must be a whole number"),
        ("srcnn", {"tile": True}, "tile True must be a whole number"),
        ("dps", {"prior": "face64", "squared": 1}, "squared 1 must be True or False"),
        ("srcnn", {"tile": -1}, "tile -1 is outside"),
        ("dpi", {"preset": "x5"}, "dpi has no preset 'x5'"),
        ("bicubic", {"scale": 0.5}, "enlarges by 1 to 64"),
        ("bicubic", {"scale": 2, "longest": 9}, "both say"),
        ("bicubic", {"longest": 0}, "longest 0"),
        ("bicubic", {"device": "gpu"}, "no device 'gpu'"),
    ],
)
def test_what_is_wrong_is_said_before_the_picture_is_read(method, settings, match):
    with pytest.raises(ValueError, match=match.replace("?", r"\?")):
        priorsr.upscale("nowhere.png", method, **settings)


def test_networks_are_loaded_once(small):
    loaded = priorsr.load("srcnn", tile=16)
    network = loaded.upscaler.networks[0]
    first, second = (priorsr.upscale(small, loaded, 2) for _ in range(2))
    assert torch.equal(first.pixels, second.pixels)
    assert loaded.upscaler.networks[0] is network
    assert torch.equal(first.pixels, priorsr.upscale(small, "srcnn", 2, tile=16).pixels)
    assert loaded.plan((12, 12)).size == (24, 24)  # the method's own scale
    assert loaded.to("cpu").method is loaded.method
    with pytest.raises(ValueError, match="give tile to load"):
        priorsr.upscale(small, loaded, 2, tile=8)


def test_longest_and_the_default_scale(small):
    assert priorsr.upscale(small, "bicubic").pixels.shape[-1] == 12 * BICUBIC.scales.default
    assert priorsr.upscale(small, "bicubic", longest=31).pixels.shape[-2:] == (31, 31)


def test_steps_and_warnings_are_heard(caplog):
    steps, texts = [], []
    low = picture()
    priorsr.upscale(
        low,
        "diffsr",
        2,
        steps=2,
        report=texts.append,
        on_step=lambda done, total, x: steps.append((done, total, tuple(x.shape[-2:]))),
    )
    assert [step[:2] for step in steps] == [(1, 2), (2, 2)]
    assert texts
    assert len(set(texts)) == len(texts)
    with caplog.at_level(logging.WARNING, "priorsr"):
        priorsr.upscale(low, "diffsr", 2, steps=2)
    assert [r.message for r in caplog.records] == texts


def test_a_batch_is_its_pictures():
    batch = torch.cat([picture(), picture(size=12).flip(3)])
    together = priorsr.upscale(batch, "diffsr", 2, steps=2, level=30.0, seed=5, report=lambda text: None)
    for one, single in zip(batch, together, strict=True):
        alone = priorsr.upscale(one, "diffsr", 2, steps=2, level=30.0, seed=5, report=lambda text: None)
        assert torch.allclose(alone, single, atol=1e-4, rtol=0)


def test_faces_are_those_of_the_command(root, tmp_path):
    source, out = str(root / "docs/sample/astronaut.png"), tmp_path / "out.png"
    settings = ["--batch", "1", "--strength", "0.5", "--coarse", "4"]
    assert main(["restore-faces", "srcnn", source, str(out), *settings]) == 0
    done = priorsr.restore_faces(source, "srcnn", batch=1, strength=0.5, coarse=4.0)
    assert [r.outcome for r in done.reports[0]] == ["restored"]
    priorsr.write(done.picture, tmp_path / "own.png")
    assert torch.equal(priorsr.read(tmp_path / "own.png").pixels, priorsr.read(out).pixels)
    loaded = priorsr.load("srcnn")
    again = priorsr.restore_faces(done.picture.pixels, loaded, limit=1, coarse=4.0)
    assert again.picture.shape == done.picture.pixels.shape


@pytest.mark.parametrize(
    ("method", "settings", "match"),
    [
        ("bicubic", {}, "bicubic restores no faces: choose one of no-prior, srcnn"),
        ("srcnn", {"strenght": 1}, "did you mean"),
        ("codeformer", {"ww": 1}, "did you mean w"),
        ("srdg", {"srdg_limit": "x"}, "limit 'x' must be a number"),
        ("srcnn", {"detector": "yolo"}, "yolo"),
        ("srcnn", {"reference": [SAMPLE]}, "a reference chooses among candidates"),
    ],
)
def test_wrong_face_settings(method, settings, match):
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        priorsr.restore_faces(picture(size=32), method, **settings)


def test_degradations_are_those_of_the_command(small, tmp_path):
    out, recipe = tmp_path / "out.png", tmp_path / "drawn.json"
    command = ["degrade", str(small), str(out), "--preset", "real-world", "--scale", "2", "--seed", "4"]
    assert main([*command, "--save-recipe", str(recipe)]) == 0
    done = priorsr.degrade(small, "real-world", 2, seed=4)
    priorsr.write(done, tmp_path / "own.png")
    assert torch.equal(priorsr.read(tmp_path / "own.png").pixels, priorsr.read(out).pixels)
    for again in (recipe, str(recipe), preset("real-world", 2).draw(4)):
        assert torch.equal(priorsr.degrade(small, again, seed=4).pixels, done.pixels)
    with pytest.raises(ValueError, match="did you mean bicubic"):
        priorsr.degrade(small, "bicubik")


def test_comparison(small):
    (figures,) = priorsr.compare(small, picture(), channels="luma", border=1)
    assert figures["psnr"] > 50
    assert set(figures) == {"psnr", "ssim", "mae"}
    assert len(priorsr.compare(picture().expand(2, -1, -1, -1), small)) == 2


def test_a_file_holds_one_picture(tmp_path):
    with pytest.raises(ValueError, match="not 2"):
        priorsr.write(picture().expand(2, -1, -1, -1), tmp_path / "x.png")
    assert priorsr.write(picture(), tmp_path / "x.png") == tmp_path / "x.png"
    with pytest.raises(FileExistsError):
        priorsr.write(picture(), tmp_path / "x.png")
