"""What `priorsr evaluate dpi` measures, on two faces of noise and in few steps."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict
from types import SimpleNamespace

import pytest
import torch
from dpi_runs import CONFIG
from tiny_checkpoints import corrector as corrector_file
from tiny_checkpoints import randomised, tiny_corrector

from priorsr.methods import weights
from priorsr.methods.cli import main as cli
from priorsr.methods.degrade import degrade
from priorsr.methods.degrade import preset as degradation
from priorsr.methods.diffsr.method import DiffSRSettings
from priorsr.methods.dpi.corrector import Corrector
from priorsr.methods.dpi.method import PRESETS
from priorsr.methods.dps.sampling import DPSSettings
from priorsr.methods.evaluate.dpi_ablation import ablations, compare_variants, diversity, sweep, variations
from priorsr.methods.evaluate.dpi_plot import sweep_plot
from priorsr.methods.evaluate.dpi_study import (
    LEVELS,
    compare_methods,
    degraded_faces,
    fitting,
    methods,
    read_correctors,
    reduced_faces,
)
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import resize
from priorsr.methods.metrics import faces
from priorsr.methods.metrics.faces import FaceMetrics, reduced
from priorsr.methods.nets.adm_released import build_adm
from priorsr.methods.priors.adm import ADMPrior
from priorsr.methods.priors.calibration import Calibration

GREY = dataclasses.replace(CONFIG, in_channels=1, out_channels=2)
FEW = {"respacing": "3"}


@pytest.fixture(autouse=True)
def no_recogniser(monkeypatch):
    """Faces of 16 pixels are too small for it."""
    monkeypatch.setattr(faces, "available", lambda: "no recogniser in this test")


@pytest.fixture(scope="module")
def prior():
    return ADMPrior(randomised(build_adm(GREY)), measured=Calibration({0: 1.0, 999: 0.01}))


@pytest.fixture(scope="module")
def truth():
    return resize(torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), (16, 16)).clamp(0, 1)


@pytest.fixture(scope="module")
def crt():
    return Corrector(tiny_corrector(1, 16), scale=4)


def test_correctors_are_told_apart_by_their_files(tmp_path):
    for name, said in {
        "a": {"scale": 8},
        "b": {"scale": "any"},
        "c": {"scale": 8, "k": 4},
        "d": {"scale": 4, "channels": 3},
    }.items():
        corrector_file(tmp_path / f"{name}.safetensors", **said)
    weights.save(
        build_adm(GREY),
        tmp_path / "prior.safetensors",
        {"kind": "prior", "settings": json.dumps(asdict(GREY))},
    )
    found = read_correctors(tmp_path)
    assert [(one.channels, one.k, one.scale) for one in found] == [
        (1, 2, 8),
        (1, 2, None),
        (1, 4, 8),
        (3, 2, 4),
    ]
    size = found[0].size
    grey, coloured = SimpleNamespace(channels=1, size=size), SimpleNamespace(channels=3, size=size)
    for asked, index in (((grey, 2, 8.0), 0), ((grey, 2, None), 1), ((grey, 4, 8), 2), ((coloured, 2, 4), 3)):
        assert fitting(found, *asked) is found[index]
    assert fitting(found, grey, 2, 4) is fitting(found, coloured, 2, None) is None
    assert fitting(found, SimpleNamespace(channels=1, size=2 * size), 2, 8) is None

    with pytest.raises(ValueError, match="there is no folder"):
        read_correctors(tmp_path / "missing")


def test_faces_of_64_pixels_get_the_correctors_of_their_size():
    shipped, prior = read_correctors(), SimpleNamespace(channels=1, size=64)
    for scale in (4, 8, 16, None):
        assert fitting(shipped, prior, 2, scale).size == 64
        assert fitting(shipped, SimpleNamespace(channels=1, size=128), 2, scale).size == 128


def test_tasks_have_the_settings_of_the_paper_and_what_differs(prior, truth, crt):
    task = reduced_faces(prior, truth, 4, [crt], s=2.0, **FEW)
    assert (task.name, task.scale, task.corrector) == ("x4", 4.0, crt)
    assert task.settings == dataclasses.replace(PRESETS["x4"], s=2.0, **FEW)
    assert torch.equal(task.low, reduced(truth, 4))
    assert reduced_faces(prior, truth, 8, [crt]).corrector is None
    assert reduced_faces(prior, truth, 8).settings == dataclasses.replace(PRESETS["x8"], respacing="100")
    assert reduced_faces(prior, truth, 4, [crt], k=4).corrector is None
    anything = dataclasses.replace(crt, scale=None)
    for level in LEVELS:
        task = degraded_faces(prior, truth, level, [crt, anything])
        assert (task.name, task.scale, task.corrector) == (f"dpi-{level}", 2.0, anything)
        assert task.settings == dataclasses.replace(PRESETS["real"], respacing="100")
        assert torch.equal(task.low, reduced(degrade(truth, degradation(task.name), [0, 1])[0], 2))
    assert LEVELS == ("mild", "medium", "heavy", "severe")


def test_methods_share_prior_faces_and_seeds_and_gaps_are_told(prior, truth, crt):
    tasks = [reduced_faces(prior, truth, 4, [crt], **FEW), degraded_faces(prior, truth, "mild", [crt], **FEW)]
    said = []
    rows, sheet = compare_methods(
        prior, truth, tasks, DPSSettings(**FEW), DiffSRSettings(level=30, steps=2), said.append
    )
    every = ["bicubic", "srcnn", "diffsr", "dps", "dpi, no CRT", "dpi"]
    assert [(r["task"], r["method"]) for r in rows] == [("x4", m) for m in every] + [
        ("dpi-mild", m) for m in every[:-1]
    ]
    assert any("dpi is left out" in text and "1 channels, 16 pixels, k 2" in text for text in said)
    assert all(0 < r["ssim"] < 1 and r["seconds"] >= 0 for r in rows)
    assert len({r["psnr"] for r in rows}) == len(rows)
    assert sheet.shape == (1, 1, 2 * 2 * 32, 8 * 36 - 4)  # two tasks of two faces; input, six methods, truth
    found = methods(prior, tasks[0], DPSSettings(**FEW), DiffSRSettings())
    one, again = (found["dpi"](tasks[0].low[1:], [1]) for _ in range(2))
    assert torch.equal(one, again)
    torch.testing.assert_close(one, found["dpi"](tasks[0].low, [0, 1])[1:], rtol=0, atol=1e-4)
    assert not torch.allclose(one, found["dpi, no CRT"](tasks[0].low[1:], [1]), atol=1e-3)
    assert "diffsr" not in methods(
        dataclasses.replace(prior, measured=None), tasks[0], DPSSettings(), DiffSRSettings(), said.append
    )
    assert "never measured" in said[-1]


def test_diversity_is_the_standard_deviation_over_seeds(truth):
    asked = []

    def restore(x, seeds):
        asked.append(list(seeds))
        return torch.stack([torch.full((1, 4, 4), 0.1 * (s % 2) * (s // 2)) for s in seeds])

    samples = variations(restore, truth, 3)
    assert asked == [[0, 1], [2, 3], [4, 5]]
    assert diversity(samples).tolist() == pytest.approx([0, 25.5])
    with pytest.raises(ValueError, match="1 seeds show no diversity"):
        variations(restore, truth, 1)


def test_ablations_leave_out_what_needs_a_missing_corrector(prior, truth, crt):
    task, said = reduced_faces(prior, truth, 4, [crt], **FEW), []
    with_crt = ablations(prior, task, [crt], said.append)
    assert list(with_crt) == ["DPI", "no CRT", "no refinement", "no stage II", "no weight", "k = 4, no CRT"]
    assert not said
    assert with_crt["no CRT"].corrector is with_crt["k = 4, no CRT"].corrector is None
    changes = {
        "no refinement": {"refine": False},
        "no stage II": {"tau": 0.0},
        "no weight": {"weighted": False},
        "k = 4, no CRT": {"k": 4},
    }
    for name, change in changes.items():
        assert with_crt[name].settings == dataclasses.replace(task.settings, **change)
    coarse = dataclasses.replace(crt, k=4)
    assert ablations(prior, task, [crt, coarse])["k = 4"].corrector is coarse
    bare = ablations(prior, dataclasses.replace(task, corrector=None), [], said.append)
    assert list(bare) == ["no CRT", "k = 4, no CRT"]
    assert "no corrector (x4, 1 channels, 16 pixels, k 2)" in said[0]


def test_each_ablation_is_judged_and_its_diversity_taken(prior, truth, crt):
    task = dataclasses.replace(
        reduced_faces(prior, truth, 4, [crt], **FEW),
        settings=dataclasses.replace(PRESETS["x16"], tau=1000.0, **FEW),
    )
    variants = ablations(prior, task, [crt])
    rows, sheet = compare_variants(prior, truth, variants, 2, 1)
    assert [row["variant"] for row in rows] == list(variants)
    assert len({row["psnr"] for row in rows}) == len(rows)
    assert all(len(row["diversity_of_faces"]) == 1 and row["diversity"] > 0 for row in rows)
    assert sheet.shape == (1, 1, 2 * 32, 7 * 36 - 4)


def test_a_sweep_has_a_row_a_value_and_a_plot(prior, truth, tmp_path):
    task = reduced_faces(prior, truth, 4, **FEW)
    sweeps = []
    for setting, values in (("tau", (0.0, 900.0)), ("s", (0.5, 3.0))):
        base = (
            dataclasses.replace(task, settings=dataclasses.replace(PRESETS["x16"], tau=1000.0, **FEW))
            if setting == "s"
            else task
        )
        one, sheet = sweep(prior, truth, base, setting, values, 2)
        assert [row[setting] for row in one.rows] == list(values)
        assert one.rows[0]["psnr"] != one.rows[1]["psnr"]
        assert one.rows[1]["diversity"] > one.rows[0]["diversity"]  # fewer conditions
        assert sheet.shape == (1, 1, 2 * 2 * 32, 3 * 36 - 4)
        sweeps.append(one)
    sweep_plot(sweeps, tmp_path / "plot.png")
    assert read(tmp_path / "plot.png").pixels.std() > 0.05


def test_lpips_is_a_column_where_its_weights_are(monkeypatch, truth):
    assert "lpips" not in FaceMetrics(resize(truth, (32, 32)).clamp(0, 1))(
        resize(truth, (32, 32)).clamp(0, 1), truth
    )
    monkeypatch.setattr(faces, "missing", lambda name: None)
    monkeypatch.setattr(faces, "lpips", lambda a, b, network: (a - b).abs().flatten(1).mean(1))
    large = resize(truth, (32, 32)).clamp(0, 1)
    assert FaceMetrics(large)(1 - large, truth)["lpips"] == pytest.approx(float((1 - 2 * large).abs().mean()))
    assert "lpips" not in FaceMetrics(truth)(truth, truth)  # too small for its network


def test_the_command_writes_what_was_asked_for(tmp_path, prior, truth, capsys, caplog):
    caplog.set_level("INFO")
    said = {"kind": "prior", "settings": json.dumps(asdict(GREY))}
    weights.save(prior.network, tmp_path / "prior.safetensors", said)
    corrector_file(tmp_path / "correctors" / "x4.safetensors", size=16)
    for i, face in enumerate(truth):
        write(Picture(face[None]), tmp_path / "data" / f"{i}.png")
    given = [
        "evaluate",
        "dpi",
        tmp_path / "data",
        "--prior",
        tmp_path / "prior.safetensors",
        "--out",
        tmp_path / "out",
        "--json",
        "--respacing",
        "2",
    ]
    given += [
        "--correctors",
        tmp_path / "correctors",
        "--seeds",
        "2",
        "--varied",
        "1",
        "--at",
        "4",
        "--scales",
        "4",
        "--dps-respacing",
        "2",
    ]
    assert cli.main([*map(str, given), "--part", "all"]) == 0
    names = ["ablations", "methods", "sweep-s", "sweep-tau"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        [f"{name}.{suffix}" for name in names for suffix in ("json", "md", "png")] + ["sweeps.png"]
    )
    rows = json.loads(capsys.readouterr().out)
    assert rows == [
        row
        for name in ("methods", "ablations", "sweep-tau", "sweep-s")
        for row in json.loads((tmp_path / "out" / f"{name}.json").read_text())
    ]
    assert (tmp_path / "out" / "methods.md").read_text().count("| dpi |") == 1  # x4; none for degraded faces
    assert "| 1000.0 |" in (tmp_path / "out" / "sweep-tau.md").read_text()
    assert "diffsr is left out" in caplog.text
    assert cli.main([*map(str, given), "--part", "sweeps", "--seeds", "1"]) == 2
    assert "give at least 2 seeds" in caplog.text
