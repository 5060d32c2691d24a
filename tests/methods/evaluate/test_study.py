"""`priorsr evaluate study`: every study of the papers on two pictures with tiny steps, or its lack named."""

from __future__ import annotations

import json

import pytest
import torch
from open_clip_tiny import text_state
from safetensors.torch import save_file
from stablesr_tiny import UNET as CONFIG
from stablesr_tiny import base_file, tiny

from priorsr.methods.cli.main import main
from priorsr.methods.diffsr.method import FieldSettings, choose_level
from priorsr.methods.evaluate.study import Runs, names, read_study
from priorsr.methods.evaluate.study_run import Given, run_study
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import resize
from priorsr.methods.metrics.spectrum import amplitudes, band_errors
from priorsr.methods.priors.load import load_prior
from priorsr.methods.stablesr.load import TEXT
from priorsr.samplers.noise import Noise

QUICK = {  # studies that run with what comes along, and what makes them quick
    "dpi-ablation": ["steps=2"],
    "dpi-omega": ["steps=2", "omega=300,3000"],
    "dpi-s": ["steps=2", "s=0.5,3"],
    "dpi-steps": ["steps=2,3"],
    "dpi-tau": ["steps=2", "tau=0,300"],
    "diffsr-field": ["steps=2", "omega=0.1,10", "fidelity_limit=1", "signature_limit=1,2"],
    "diffsr-frequency": ["steps=2", "level=10,80"],
    "diffsr-levels": ["steps=2", "level=0,80"],
    "diffsr-schedules": ["steps=2", "level=10"],
    "srdg-attributes": ["steps=2"],
    "srdg-h": ["steps=2", "h=0,10"],
    "srdg-recognition": ["steps=2"],
    "visionrefine-srcnn": [],
}
STABLESR = {
    "stablesr-colour": [],
    "stablesr-encoder": [],
    "stablesr-fidelity": ["fidelity=0,1"],
    "stablesr-prompts": ["guidance=0,2.5"],
    "stablesr-steps": ["sampler=ddim", "steps=1,2"],
}
WANTING = ["visionrefine-diffusion"]  # networks that do not come along


@pytest.fixture
def faces(tmp_path, photo):
    for i in range(2):
        write(Picture(resize(photo, (64, 64)).clamp(0, 1) * (1 - 0.2 * i)), tmp_path / "faces" / f"{i}.png")
    (tmp_path / "people.csv").write_text("file,identity\n0.png,a\n1.png,b\n", encoding="utf-8")
    return tmp_path / "faces"


def run(*arguments):
    return main(["evaluate", "study", *map(str, arguments), "--json"])


def test_every_study_is_tried_below():
    assert sorted([*QUICK, *STABLESR, *WANTING]) == names()


SOON = ("diffsr-levels", "dpi-steps", "srdg-attributes", "stablesr-fidelity", "visionrefine-srcnn")


def told_soon(names):
    """One of each method is tried every time."""
    return [name if name in SOON else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", told_soon(QUICK))
def test_a_study_runs_on_what_comes_along(name, faces, tmp_path, capsys):
    study, out = read_study(name), tmp_path / "out"
    given = QUICK[name]
    more = ["--set", *given] if given else []
    scale = study.scales[len(study.scales) // 2]
    asked = [name, faces, "--out", out, "--scale", scale, "--faces", "off", "--count", 2, *more]
    assert run(*asked) == 0
    rows = json.loads(capsys.readouterr().out)
    runs = list(study.changed(given).named())
    assert [row["run"] for row in rows] == [label for label in runs for _ in study.protocols]
    for row in rows:
        assert 5 < row["psnr"] < 60
    text = (out / "report.md").read_text(encoding="utf-8")
    assert all(f"| {label} | 2 |" in text for label in runs)
    assert read(out / "figures.png").pixels.shape[-1] > 200
    if "spectra" in study.plots:
        assert read(out / "spectra.png").pixels.shape[-1] > 400
    (record, *_) = out.glob("x*/*.json")
    told = json.loads(record.read_text(encoding="utf-8"))["method"]
    assert told["study"] == name
    assert told["seeds"] == "picture i has seed i"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A full file of tiny networks, and CFW."""
    folder, model = tmp_path_factory.mktemp("stablesr"), tiny()
    text = {f"{TEXT[0]}{k}": v for k, v in text_state(CONFIG.context_dim).items()}
    base_file(folder / "full.safetensors", {**text, **model.layers.released_state()})
    save_file(
        {f"decoder.{k}": v.contiguous() for k, v in model.cfw.state_dict().items()},
        folder / "cfw.safetensors",
    )
    return folder


@pytest.mark.parametrize("name", told_soon(STABLESR))
def test_a_study_of_stablesr_runs_on_files_of_the_user(name, files, faces, tmp_path, capsys, caplog):
    tiles = ["tile=32", "overlap=16", "vae_tile=64", "vae_overlap=32"]
    given = [f"stablesr={files / 'full.safetensors'}", f"cfw={files / 'cfw.safetensors'}", *tiles]
    given += STABLESR[name] if "steps" in name else ["steps=2", *STABLESR[name]]
    out = tmp_path / "out"
    code = run(name, faces, "--out", out, "--count", 1, "--set", *given)
    text = (out / "report.md").read_text(encoding="utf-8")
    runs = list(read_study(name).changed(given).named())
    if name == "stablesr-prompts":  # prompts that are not the published ones need a tokenizer
        assert code == 2
        assert "3 of 7 runs were left out" in caplog.text + capsys.readouterr().err
        left = ("positive (2)", "negative (b)")
        runs = [label for label in runs if not label.startswith(left)]
    else:
        assert code == 0
    assert [
        line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if " | 1 | " in line
    ] == runs


def test_what_needs_files_names_them(faces, tmp_path, capsys, caplog):
    assert run("visionrefine-diffusion", faces, "--out", tmp_path / "out") == 2
    said = caplog.text + capsys.readouterr().err
    assert "3 of 4 runs were left out" in said
    assert "needs prior" in said
    assert "| bicubic | 2 |" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_an_interrupted_study_goes_on_and_other_pictures_are_refused(faces, tmp_path, monkeypatch):
    study = read_study("visionrefine-srcnn").changed([])
    first = run_study(study, Given(faces), tmp_path / "out")
    assert len(first.records) == 3 * 2 * 2
    monkeypatch.setattr("priorsr.methods.evaluate.study_run.judge", lambda *_: pytest.fail("judged again"))
    assert run_study(study, Given(faces), tmp_path / "out").records == first.records
    write(Picture(read(faces / "1.png").pixels.flip(-1)), faces / "1.png", overwrite=True)
    with pytest.raises(ValueError, match="a run with other pictures: choose another folder"):
        run_study(study, Given(faces), tmp_path / "out")


def test_the_middle_of_pictures_is_taken_and_smaller_ones_stay_whole(faces, tmp_path):
    write(Picture(read(faces / "1.png").pixels[..., :40, :24]), faces / "1.png", overwrite=True)
    path = tmp_path / "mine.toml"
    path.write_text('centre = 32\nscales = [2]\n[[runs]]\nmethod = "bicubic"\n', encoding="utf-8")
    run_study(read_study(path), Given(faces), tmp_path / "out")
    middle, whole = (read(tmp_path / "out" / "x2" / "truth" / f"{i}.png").pixels for i in (0, 1))
    assert torch.equal(middle, read(faces / "0.png").pixels[..., 16:48, 16:48])
    assert torch.equal(whole, read(faces / "1.png").pixels[..., 4:36, :])


def test_inputs_of_the_user_pair_by_the_protocol(faces, tmp_path):
    for i in range(2):
        x = read(faces / f"{i}.png").pixels
        write(Picture(x), tmp_path / "real" / f"{i}_HR.png")
        write(Picture(resize(x, scale=0.25).clamp(0, 1)), tmp_path / "small" / f"{i}_LR4.png")
    path = tmp_path / "mine.toml"
    path.write_text('protocols = ["realsr"]\n[[runs]]\nmethod = "bicubic"\n', encoding="utf-8")
    found = run_study(read_study(path), Given(tmp_path / "real", tmp_path / "small"), tmp_path / "out")
    assert [row["file"] for row in found.records[0].pictures] == ["0", "1"]
    assert found.records[0].method["settings"] == {}


@pytest.mark.slow
def test_seeds_give_diversity_and_runs_take_time(faces, tmp_path):
    study = read_study("dpi-tau").changed(["steps=2", "tau=0,700", "prior=face64"])
    found = run_study(study, Given(faces, count=1, faces="off"), tmp_path / "out")
    spread = {one.label: one.figures["diversity"].value for one in found.records}
    assert all(value > 0.5 for value in spread.values())
    timed = read_study("dpi-steps").changed(["steps=2,3"])
    found = run_study(timed, Given(faces, count=1, faces="off"), tmp_path / "times")
    assert all(one.figures["seconds"].value > 0 for one in found.records)


def test_what_a_run_is_called_by_stays_and_the_rest_is_changed():
    runs = Runs("dpi", "DPI_20", {"tau": 350, "prior": "face64"})
    assert runs.changed(["tau=1", "prior=mine", "steps=3"]).set == {
        "tau": 350,
        "prior": "mine",
        "steps": "3",
    }
    grid = Runs("dpi", grid={"s": [1, 2]}).changed(["s=1,2,3", "dpi.tau=0,300", "srdg.h=1"])
    assert grid.grid == {"s": ["1", "2", "3"], "tau": ["0", "300"]}
    given = Runs("srdg", set={"attributes": "happy=1"}).changed(["classifier=a,b"]).set
    assert given == {"attributes": "happy=1", "classifier": ["a", "b"]}
    assert [label for label, _ in Runs("dpi", grid={"s": [1, 2.5]}).named()] == ["s 1", "s 2.5"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[runs]]\nmethod = 'dip'", "no method 'dip': did you mean"),
        ("[[runs]]\nmethod = 'dpi'\ngrid = { tua = [1] }", "dpi has no 'tua'"),
        ("[[runs]]\nmethod = 'dpi'\nset = { tau = 'much' }", "'much' is no float"),
        ("metrics = ['psrn']\n[[runs]]\nmethod = 'dpi'", "no metric 'psrn': did you mean psnr"),
        ("metrics = ['diversity']\n[[runs]]\nmethod = 'dpi'", "samples of 2 or more"),
        ("scale = [4]\n[[runs]]\nmethod = 'dpi'", "no 'scale': did you mean scales"),
        ("[[runs]]\nmethod = 'dpi'\n[[runs]]\nmethod = 'dpi'", "two runs are called 'dpi'"),
        ("about = 'x'", r"needs \[\[runs"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(text, words, tmp_path):
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=words) as error:
        read_study(tmp_path / "mine.toml")
    assert "mine.toml" in str(error.value)


def test_errors_by_frequency_add_up_and_know_low_from_high(photo):
    truth = resize(photo, (64, 64)).clamp(0, 1)
    _, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    slow, quick = (0.1 * torch.sin(2 * torch.pi * n * x / 64)[None, None] for n in (4, 24))
    low, high = band_errors(truth + slow, truth)
    assert low == pytest.approx(25.5 / 2**0.5, rel=1e-5)
    assert high < 1e-4 * low
    assert band_errors(truth + quick, truth)[0] < 1e-4 * low
    noise = 0.1 * Noise([0])((1, 3, 64, 64))
    both = band_errors(truth + noise, truth)
    whole = 255 * float((truth + noise - truth).double().square().mean().sqrt())
    assert (both[0] ** 2 + both[1] ** 2) ** 0.5 == pytest.approx(whole, rel=1e-6)
    mean, radius = amplitudes(0.5 + quick)
    assert abs(float(radius[1:][mean[1:].argmax()]) - 24 / 64) < 1 / 64


def test_the_field_is_moved_by_its_weight_and_its_limits(faces):
    prior, low = load_prior("face64"), resize(read(faces / "0.png").pixels, (16, 16)).clamp(0, 1)
    shares = [choose_level(FieldSettings(omega=w).applied(prior), low, 4).share for w in (0.1, 1, 10)]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]
    strict = FieldSettings(signature_limit=0.02).applied(prior)
    assert choose_level(strict, low, 4, aim="detail").empty
    assert not choose_level(prior, low, 4, aim="detail").empty
    assert FieldSettings().applied(prior) is prior


def test_the_page_lists_every_study(root):
    page = (root / "docs" / "judge.md").read_text(encoding="utf-8").split("## The papers' studies")[1]
    listed = [
        name
        for line in page.splitlines()
        if line.startswith("| ")
        for name in line.split(" | ")[0][2:].split(", ")
    ]
    assert sorted(listed[1:]) == names()


def test_the_condition_is_measured_at_every_noise_level(files, faces, tmp_path):
    out = tmp_path / "condition"
    asked = ["evaluate", "condition", faces, "--stablesr", files / "full.safetensors", "--size", 64]
    assert main([*map(str, asked), "--levels", "4", "--out", str(out)]) == 0
    rows = json.loads((out / "condition.json").read_text(encoding="utf-8"))
    assert [row["t"] for row in rows] == [125, 375, 625, 875]
    assert [row["snr"] for row in rows] == sorted((row["snr"] for row in rows), reverse=True)
    assert all(-1 <= row["similarity"] < 0.999 for row in rows)
    assert len({row["similarity"] for row in rows}) == 4
    assert read(out / "condition.png").pixels.shape[-1] > 300
    assert main([*map(str, asked[:-1]), "512", "--out", str(out)]) == 2
