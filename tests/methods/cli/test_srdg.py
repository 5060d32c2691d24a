"""`priorsr upscale --method srdg` on networks with random weights."""

from __future__ import annotations

import pytest
import torch
from tiny_checkpoints import attribute, score_network

from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.srdg.attributes import attribute_targets, load_attribute
from priorsr.methods.srdg.method import SRDGSettings, load_sr_prior, preset, srdg_upscale

SIDE = 16


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("srdg")
    score_network(folder / "sr.safetensors", size=SIDE)
    attribute(folder / "happy.safetensors", size=SIDE)
    attribute(folder / "gender.safetensors", "gender", ("female", "male"), size=SIDE, seed=1)
    write(Picture(torch.linspace(0, 1, 12).view(1, 3, 2, 2)), folder / "low.png")
    return folder


def upscale(files, out, *arguments):
    network = [
        "--method",
        "srdg",
        "--prior",
        str(files / "sr.safetensors"),
        "--scale",
        "8",
        "--seed",
        "3",
        "--srdg-steps",
        "3",
    ]
    return cli.main(
        [
            "upscale",
            str(files / "low.png"),
            str(out),
            *network,
            "--srdg-corrections",
            "1",
            "--device",
            "cpu",
            *arguments,
        ]
    )


def test_attributes_are_asked_for_by_name_and_number(files, tmp_path):
    happy, gender = str(files / "happy.safetensors"), str(files / "gender.safetensors")
    runs = {
        "plain": (),
        "named": ("--classifier", happy, "--attributes", "happy=happy"),
        "number": ("--classifier", happy, "--attributes", "happy=1"),
        "other": ("--classifier", happy, "--attributes", "happy=0"),
        "both": (
            "--classifier",
            happy,
            gender,
            "--attributes",
            "happy=1,gender=male",
            "--attribute-weights",
            "gender=2",
        ),
    }
    found = {}
    for name, arguments in runs.items():
        assert upscale(files, tmp_path / f"{name}.png", *arguments) == 0
        found[name] = read(tmp_path / f"{name}.png").pixels
    assert found["plain"].shape == (1, 3, SIDE, SIDE)
    assert torch.equal(found["named"], found["number"])
    assert len({x.numpy().tobytes() for x in found.values()}) == 4
    classifiers = [load_attribute(name) for name in (happy, gender)]
    wanted = attribute_targets(classifiers, {"happy": 1, "gender": "male"}, {"gender": 2.0})
    low = read(files / "low.png").pixels
    expected = srdg_upscale(
        load_sr_prior(str(files / "sr.safetensors")),
        low,
        8,
        wanted,
        SRDGSettings(steps=3, corrections=1),
        seeds=[3],
    )
    torch.testing.assert_close(found["both"], expected, rtol=0, atol=1 / 255)


def test_presets_decide_what_is_not_given(files, tmp_path):
    low, prior = read(files / "low.png").pixels, load_sr_prior(str(files / "sr.safetensors"))
    for name in ("paper", "sde-sr"):
        assert upscale(files, tmp_path / f"{name}.png", "--srdg-preset", name) == 0
        expected = srdg_upscale(prior, low, 8, (), preset(name, steps=3, corrections=1), seeds=[3])
        torch.testing.assert_close(read(tmp_path / f"{name}.png").pixels, expected, rtol=0, atol=1 / 255)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--attributes", "hat=1", "--classifier", "happy"), "no classifier tells 'hat': choose from happy"),
        (("--attributes", "happy=2", "--classifier", "happy"), "give one of 0 neutral, 1 happy"),
        (
            ("--attributes", "happy=1", "--attribute-weights", "happy", "--classifier", "happy"),
            "write gender=2, beard=0.5",
        ),
        (("--srdg-h", "-1"), "h -1.0 is outside"),
        (("--prior", "happy"), "where ncsnpp weights are needed"),
        (("--classifier", "sr", "--attributes", "happy=1"), "where attribute weights are needed"),
    ],
)
def test_mistakes_are_told_before_any_work(files, tmp_path, arguments, words, caplog, monkeypatch):
    monkeypatch.setenv("PRIORSR_MODELS", str(files))
    assert upscale(files, tmp_path / "out.png", *arguments) == 2
    assert words in caplog.text
    assert not (tmp_path / "out.png").exists()
