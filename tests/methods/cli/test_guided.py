"""`priorsr upscale --method guided` on tiny networks."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch
from command import run
from tiny_checkpoints import TINY, tiny

from priorsr.methods import weights
from priorsr.methods.imaging.images import Picture, read, write


@pytest.fixture(scope="module")
def guided(tmp_path_factory):
    """A tiny upsampler and a classifier for it."""
    folder = tmp_path_factory.mktemp("guided")
    for name in ("adm", "upsampler", "classifier"):
        weights.save(
            tiny(f"tiny_{name}"),
            folder / f"{name}.safetensors",
            {"settings": json.dumps(asdict(TINY[f"tiny_{name}"]))},
        )
    return folder


def test_the_guided_upsampler(files, guided, tmp_path):
    write(
        Picture(read(files / "a.png").pixels[..., :5, :4], read(files / "a.png").pixels[:, :1, :5, :4]),
        tmp_path / "low.png",
    )
    arguments = (
        "--method",
        "guided",
        "--prior",
        guided / "upsampler.safetensors",
        "--scale",
        "4",
        "--guided-respacing",
        "2",
        "--label",
        "3",
    )
    classifier = ("--classifier", guided / "classifier.safetensors", "--guided-classifier-scale", "30")
    results = []
    for name, extra in {
        "alone": (),
        "pushed": classifier,
        "again": classifier,
        "implicit": (*classifier, "--guided-sampler", "ddim"),
    }.items():
        assert run("upscale", tmp_path / "low.png", tmp_path / f"{name}.png", *arguments, *extra) == 0
        results.append(read(tmp_path / f"{name}.png"))
    assert results[0].pixels.shape == (1, 3, 20, 16)
    assert results[0].alpha.shape == (1, 1, 20, 16)
    assert torch.equal(results[1].pixels, results[2].pixels)
    assert len({r.pixels.numpy().tobytes() for r in results}) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "needs prior"),
        (("--prior", "upsampler"), "a class label is needed here: give one of 0..4"),
        (("--prior", "upsampler", "--label", "5"), "outside 0..4"),
        (("--prior", "adm", "--label", "1"), "choose an ADM upsampler"),
        (("--prior", "classifier", "--label", "1"), "not a diffusion prior"),
        (
            ("--prior", "upsampler", "--classifier", "upsampler", "--label", "1"),
            "adm-classifier weights are needed",
        ),
        (("--prior", "upsampler", "--label", "1", "--guided-respacing", "ddim999"), "no whole stride"),
        (
            ("--prior", "upsampler", "--label", "1", "--prior-tile", "8", "--guided-eta", "2"),
            "eta 2.0 is outside",
        ),
    ],
)
def test_mistakes_with_the_guided_upsampler(files, guided, arguments, words, caplog, monkeypatch):
    monkeypatch.setenv("PRIORSR_MODELS", str(guided))
    assert run("upscale", files / "a.png", files / "out.png", "--method", "guided", *arguments) == 2
    assert words in caplog.text
    assert not (files / "out.png").exists()
