"""What `priorsr evaluate srdg` measures, on faces of noise, tiny networks and few steps."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict

import pytest
import torch
from dpi_runs import CONFIG
from tiny_checkpoints import attribute, randomised, score_network

from priorsr.methods import weights
from priorsr.methods.cli import main as cli
from priorsr.methods.dps.sampling import DPSSettings, dps
from priorsr.methods.evaluate.srdg_study import (
    AttributeMetrics,
    LabelledFaces,
    by_dps,
    by_network,
    readings,
    strengths,
)
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import Resampler, resize
from priorsr.methods.metrics import faces
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.priors.adm import ADMPrior
from priorsr.methods.srdg.attributes import AttributeTarget, load_attribute, read_attributes
from priorsr.methods.srdg.method import (
    SRDGSettings,
    condition,
    enlarged,
    guidance_of,
    load_sr_prior,
    srdg_upscale,
)
from priorsr.methods.train.classifier import Labelled
from priorsr.samplers.hooks import ClipX0
from priorsr.samplers.noise import Noise

SIDE = 16
GREY = dataclasses.replace(CONFIG, in_channels=1, out_channels=2)
FEW, HELD = SRDGSettings(steps=3, corrections=1), DPSSettings(respacing="3", guidance=1.0)
LABELS = (0, 1, 1, 0, 0)


@pytest.fixture(autouse=True)
def no_recogniser(monkeypatch):
    """Faces of 16 pixels are too small for it."""
    monkeypatch.setattr(faces, "available", lambda: "no recogniser in this test")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("srdg-study")
    score_network(folder / "sr.safetensors", size=SIDE)
    weights.save(
        randomised(build_adm(GREY)),
        folder / "prior.safetensors",
        {"kind": "prior", "settings": json.dumps(asdict(GREY))},
    )
    trained = json.dumps({"attributes": "hat=no,yes; happy:mood=neutral:calm,happy:glad"})
    attribute(folder / "happy.safetensors", size=SIDE, training=trained)
    attribute(folder / "judge.safetensors", size=SIDE, seed=1)
    return folder


@pytest.fixture(scope="module")
def pictures():
    return resize(
        torch.rand(len(LABELS), 1, 8, 8, generator=torch.Generator().manual_seed(0)), (SIDE, SIDE)
    ).clamp(0, 1)


@pytest.fixture
def data(pictures):
    return Labelled((pictures * 255).round().to(torch.uint8), {"happy": torch.tensor(LABELS)})


@pytest.fixture(scope="module")
def guide(files):
    return load_attribute(str(files / "happy.safetensors"))


@pytest.fixture(scope="module")
def judge(files):
    return load_attribute(str(files / "judge.safetensors"))


def test_classes_take_turns_and_both_labels_can_be_asked_for(data, guide):
    subjects = LabelledFaces.of(data, guide)
    assert subjects.labels == (0, 1, 0, 1, 0)
    torch.testing.assert_close(subjects.truth, data.images[[0, 1, 3, 2, 4]] / 255)
    assert LabelledFaces.of(data, guide, 3).labels == subjects.asked(True)[:3] == (0, 1, 0)
    assert subjects.asked(False) == (1, 0, 1, 0, 1)


def test_methods_are_guided_by_one_hook_face_by_face(files, data, guide):
    subjects = LabelledFaces.of(data, guide, 2)
    low, wanted = condition(subjects.truth, 4), [AttributeTarget(guide, (1, 0))]
    network = load_sr_prior(str(files / "sr.safetensors"))
    settings = dataclasses.replace(FEW, h=40.0)
    found = by_network(network, guide, 4, FEW)(low, (0, 1), (1, 0), 40.0)
    torch.testing.assert_close(found, srdg_upscale(network, low, 4, wanted, settings, seeds=[0, 1]))
    prior = ADMPrior(randomised(build_adm(GREY)))
    operator = Resampler((SIDE, SIDE), (4, 4), method="bilinear")
    restore = by_dps(prior, guide, 4, FEW, HELD)
    expected = dps(
        prior,
        low * 2 - 1,
        operator,
        (SIDE, SIDE),
        HELD,
        Noise([0, 1]),
        (*guidance_of(prior, wanted, settings), ClipX0()),
    )
    torch.testing.assert_close(restore(low, (0, 1), (1, 0), 40.0), expected / 2 + 0.5)
    torch.testing.assert_close(operator(subjects.truth), low)
    for method in (restore, by_network(network, guide, 4, FEW)):
        free = method(low, (0, 1), None, 0.0)
        assert torch.equal(free, method(low, (0, 1), (1, 0), 0.0))
        assert not torch.allclose(free, method(low, (0, 1), (1, 0), 40.0), atol=1e-3)


def test_every_strength_has_a_row_for_either_label(files, data, guide, judge):
    jury = AttributeMetrics(LabelledFaces.of(data, guide), judge)
    low, said = condition(jury.subjects.truth, 4), []
    methods = {"srdg": by_network(load_sr_prior(str(files / "sr.safetensors")), guide, 4, FEW)}
    rows, sheet = strengths(jury, low, methods, (0.0, 5.0, 50.0), {"scale": 4}, said.append)
    assert [(r["method"], r["asked"], r["h"]) for r in rows] == [
        ("bicubic", "true", ""),
        *(("srdg", asked, h) for asked in ("true", "opposite") for h in (0.0, 5.0, 50.0)),
    ]
    assert len(said) == 6
    assert len({tuple(r) for r in rows}) == 1  # the same columns
    assert sheet.shape == (
        1,
        1,
        4 * 2 * SIDE,
        7 * 36 - 4,
    )  # small; opposite at 50 and 5, unguided, true at 5 and 50; truth
    free, other = rows[1], rows[4]
    assert free["psnr"] == other["psnr"]  # the same pictures
    assert free["probability"] == pytest.approx(1 - other["probability"], abs=0.002)
    restored = methods["srdg"](low, range(5), jury.subjects.asked(False), 50.0)
    (reading,) = read_attributes([judge], restored.clamp(0, 1), noise=Noise(range(5)))
    seen = reading.probabilities[range(5), list(jury.subjects.asked(False))]
    assert rows[-1]["probability"] == pytest.approx(float(seen.mean()), abs=0.002)
    assert rows[-1]["asked happy"] == pytest.approx(float(seen[[0, 2, 4]].mean()), abs=0.002)
    assert rows[-1]["agreed"] == pytest.approx(float((seen > 0.5).float().mean()), abs=0.002)


def test_classifiers_are_read_by_time_on_true_and_small_faces(data, guide, judge):
    rows = readings({"guides": guide, "judges": judge}, data, (2, 4))
    assert [(r["pictures"], r["classifier"]) for r in rows] == [
        (shown, who) for shown in ("true faces", "x2 enlarged", "x4 enlarged") for who in ("guides", "judges")
    ]
    assert all(0 <= r["t 0.01"] <= 1 for r in rows)
    small = enlarged(condition(data.images / 255, 4), (SIDE, SIDE))
    (reading,) = read_attributes([guide], small, 0.01, noise=Noise(range(5)))
    right = reading.probabilities.argmax(1) == torch.tensor(LABELS)
    assert rows[4]["t 0.01"] == pytest.approx(
        (float(right[[0, 3, 4]].float().mean()) + float(right[[1, 2]].float().mean())) / 2, abs=1e-3
    )


@pytest.fixture
def command(files, pictures, tmp_path):
    table = [
        "file,mood",
        *(f"{i}.png,{('calm', 'glad')[label]}" for i, label in enumerate(LABELS)),
        "other.png,",
    ]
    (tmp_path / "labels.csv").write_text("\n".join(table) + "\n", encoding="utf-8")
    for i, face in enumerate([*pictures, pictures[0]]):
        write(Picture(face[None]), tmp_path / "data" / f"{i if i < len(pictures) else 'other'}.png")
    given = ["evaluate", "srdg", tmp_path / "data", "--out", tmp_path / "out"]
    given += ["--labels", tmp_path / "labels.csv", "--classifier", files / "happy.safetensors"]
    given += ["--judge", files / "judge.safetensors", "--prior", files / "sr.safetensors"]
    given += ["--unconditional", files / "prior.safetensors"]
    given += ["--scales", 4, "--weights", 5, 20, "--count", 4, "--srdg-steps", 2, "--dps-respacing", 2]
    return lambda *more: cli.main([*map(str, given), *map(str, more), "--device", "cpu"])


def test_the_command_writes_tables_plot_and_sheet(command, tmp_path, capsys):
    assert command("--json") == 0
    out = tmp_path / "out"
    assert sorted(p.name for p in out.iterdir()) == ["srdg.json", "srdg.md", "srdg.png", "strength.png"]
    found, text = json.loads((out / "srdg.json").read_text()), (out / "srdg.md").read_text()
    assert json.loads(capsys.readouterr().out) == found["rows"]
    assert [r["method"] for r in found["rows"]] == ["bicubic", *["srdg"] * 6, *["dps"] * 6]
    assert len(found["effects"]) == 4
    assert [r["pictures"] for r in found["readings"]] == ["true faces"] * 2 + ["x4 enlarged"] * 2
    assert text.startswith("2 neutral, 2 happy.")
    assert text.count("| 4 | dps | opposite |") == 4  # three strengths, one effect
    assert read(out / "strength.png").pixels.std() > 0.05
    assert read(out / "srdg.png").pixels.shape[-2:] == (2 * 4 * 2 * SIDE, 7 * 36 - 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--weights", "0"), "h 0 alone guides nothing"),
        (("--count", "1"), "1 faces cannot show 2 classes"),
        (("--weights", "-5"), "h -5.0 is outside 0"),
        (("--judge", "prior.safetensors"), "where attribute weights are needed"),
        (("--judge", "gender.safetensors"), "tells gender (0 female, 1 male), not happy"),
        (("--classifier", "judge.safetensors"), "give --attribute happy:COLUMN=CLASS:VALUE"),
        (("--attribute", "happy:hat=neutral,happy"), "no column 'hat' for happy"),
        (("--prior", "none", "--unconditional", "none"), "there is nothing to guide"),
        (("--unconditional", "large.safetensors"), "give networks for the same pictures"),
        (
            ("--classifier", "small.safetensors", "--judge", "small.safetensors"),
            "give networks for the same pictures",
        ),
        (("--scales", "5"), "cannot be reduced by 5"),
        (("--srdg-first", "0.1", "--srdg-last", "0.3"), "give a first above the last"),
    ],
)
def test_mistakes_are_told(files, command, tmp_path, caplog, change, words, monkeypatch):
    monkeypatch.chdir(files)
    attribute(files / "gender.safetensors", "gender", ("female", "male"), size=SIDE)
    attribute(files / "small.safetensors", size=8)
    large = dataclasses.replace(GREY, image_size=32)
    weights.save(
        randomised(build_adm(large)),
        files / "large.safetensors",
        {"kind": "prior", "settings": json.dumps(asdict(large))},
    )
    assert command(*change) == 2
    assert words in caplog.text
    assert not (tmp_path / "out").exists()


def test_faces_of_another_size_are_refused(command, tmp_path, caplog):
    write(Picture(torch.zeros(1, 1, 20, 20)), tmp_path / "data" / "9.png")
    assert command() == 2
    assert "9.png of 20x20 is not of the networks' 16 pixels" in caplog.text
