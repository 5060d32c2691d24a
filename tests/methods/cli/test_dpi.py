"""`priorsr upscale --method dpi` on the face prior that ships and correctors with random weights."""

from __future__ import annotations

import pytest
import torch
from command import run
from tiny_checkpoints import MISFITS, corrector

from priorsr.methods.imaging.images import Picture, read, write


@pytest.fixture(scope="module")
def correctors(tmp_path_factory):
    """Correctors of the shipped face prior that fit it, and that do not."""
    folder = tmp_path_factory.mktemp("correctors")
    for name, said in {"fits": {}, **MISFITS}.items():
        corrector(folder / f"{name}.safetensors", **said)
    return folder


def test_faces_by_dpi(files, correctors, tmp_path, caplog):
    caplog.set_level("INFO")
    write(
        Picture(read(files / "a.png").pixels[..., :16, :16], read(files / "a.png").pixels[:, :1, :16, :16]),
        tmp_path / "low.png",
    )
    arguments = ("--method", "dpi", "--prior", "face64", "--scale", "4", "--dpi-steps", "2", "--dpi-tau", "0")
    results = {}
    for name, extra in {
        "auto": (),
        "none": ("--corrector", "none"),
        "own": ("--corrector", correctors / "fits.safetensors"),
        "twice": ("--corrector", correctors / "fits.safetensors"),
        "implicit": (
            "--corrector",
            "none",
            "--preset",
            "x16",
            "--dpi-sampler",
            "ddim",
            "--dpi-tau",
            "300",
            "--no-dpi-weighted",
        ),
        "seed": ("--corrector", "none", "--seed", "4"),
    }.items():
        assert run("upscale", tmp_path / "low.png", tmp_path / f"{name}.png", *arguments, *extra) == 0
        results[name] = read(tmp_path / f"{name}.png")
    assert results["own"].pixels.shape == (1, 3, 64, 64)
    assert results["own"].alpha.shape == (1, 1, 64, 64)
    assert torch.equal(results["own"].pixels, results["twice"].pixels)
    assert len({results[name].pixels.numpy().tobytes() for name in ("none", "own", "implicit", "seed")}) == 4
    assert "corrector" in caplog.text  # what auto chose, or that there is nothing to choose
    assert "not one picture" not in caplog.text


def test_pictures_that_are_no_faces_are_warned_of_once(files, tmp_path, caplog):
    for name in ("a.png", "b.png"):
        write(Picture(read(files / "a.png").pixels[..., :20, :36]), tmp_path / "wide" / name)
    assert (
        run(
            "upscale",
            tmp_path / "wide",
            tmp_path / "out",
            "--method",
            "dpi",
            "--prior",
            "face64",
            "--dpi-steps",
            "1",
            "--corrector",
            "none",
        )
        == 0
    )
    assert caplog.text.count("72 x 40 is not one picture of 64 x 64") == 1
    assert read(tmp_path / "out" / "b.png").pixels.shape == (1, 3, 40, 72)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--corrector", "nothing"), "no weights called nothing"),
        (("--corrector", "face64"), "where corrector weights are needed"),
        (("--corrector", "x8"), "trained for x8, not x4"),
        (("--corrector", "k4"), "trained with k 4, not 2"),
        (("--corrector", "fits", "--dpi-k", "4"), "trained with k 2, not 4"),
        (("--corrector", "rgb"), "for 3 channels, the prior for 1"),
        (("--corrector", "raw"), "without EMA"),
        (("--dpi-tau", "1200"), "tau 1200"),
        (("--dpi-tau", "600"), "at least tau"),
        (("--dpi-omega", "50"), "at least tau"),
        (("--dpi-s", "0"), "s 0"),
        (("--dpi-s", "-1"), "s -1"),
        (("--dpi-steps", "-1"), "steps -1 is outside"),
        (("--dpi-steps", "2000"), "steps 2000 is outside"),
        (("--dpi-k", "1"), "k 1"),
    ],
)
def test_mistakes_with_dpi(files, correctors, arguments, words, caplog, monkeypatch):
    monkeypatch.setenv("PRIORSR_MODELS", str(correctors))
    assert (
        run(
            "upscale",
            files / "a.png",
            files / "out.png",
            "--method",
            "dpi",
            "--scale",
            "4",
            "--corrector",
            "none",
            *arguments,
        )
        == 2
    )
    assert words in caplog.text
    assert not (files / "out.png").exists()


def test_a_scale_below_the_grid_is_refused_before_any_work(files, caplog):
    arguments = ("--method", "dpi", "--scale", "1.5", "--corrector", "none", "--dpi-steps", "2")
    assert run("upscale", files / "a.png", files / "out.png", *arguments) == 2
    assert "dpi enlarges by 2 to 64, not by 1.5" in caplog.text
