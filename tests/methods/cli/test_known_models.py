"""The table of published files: what it makes, `priorsr models list` and `check`, and mistakes."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from dataclasses import replace

import pytest
import torch
from command import run
from file_server import GIVEN
from safetensors.torch import save_file

from priorsr.methods.registry import methods
from priorsr.methods.weights import known
from priorsr.methods.weights.kinds import BY_ID
from priorsr.methods.weights.known import KNOWN, find_known, where


def test_the_table_is_whole_and_says_what_it_does_not_know():
    assert len({one.name for one in KNOWN}) == len({one.file for one in KNOWN}) == len(KNOWN)
    for one in KNOWN:
        assert one.kind in BY_ID
        assert one.commercial in ("yes", "no", "ask")
        assert one.method in (*methods(), "restore-faces")
        assert one.folder in (known.PRIORSR, known.CHECKPOINTS, known.DIFFUSERS)
        assert all(re.fullmatch("([0-9a-f]{64})?", part.sha256) for part in (one, *one.parts))
        assert all(a.startswith("https://") for a in one.addresses)
        assert one.parts or all(a.endswith(f"/{one.file}") for a in one.addresses)
        assert len({part.file for part in one.parts}) == len(one.parts)
        for name in (one.name, one.file):
            assert find_known(name) is one
    for kind in BY_ID.values():
        for file in re.findall(r"[\w.-]+\.(?:ckpt|safetensors)", kind.example):
            assert find_known(file), file


def test_the_page_and_the_workflows_are_made_of_it(root):
    spec = importlib.util.spec_from_file_location("make_models", root / "docs" / "make_models.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    again = "run python docs/make_models.py"
    assert made.PAGE.read_text(encoding="utf-8") == made.page(), again
    for path in made.WORKFLOWS.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert text == made.workflow(text), f"{path.name}: {again}"
    assert '"models"' in (made.WORKFLOWS / "guided_upsampler.json").read_text(encoding="utf-8")


def test_missing_files_are_told_from_it(capsys):
    assert "openai/guided-diffusion publishes 64_256_upsampler.pt (MIT); `priorsr models fetch" in where(
        "folder/64_256_upsampler.pt"
    )
    assert "not for commercial use" in where("codeformer")
    assert "fetch" not in where("ffhq_10m.pt")
    assert where("mine.pt") == ""
    assert run("models", "check", "edm-ffhq-64x64-uncond-vp.pkl", "--json") == 2
    told = json.loads(capsys.readouterr().out)["error"]
    assert "github.com/NVlabs/edm publishes edm-ffhq-64x64-uncond-vp.pkl (CC BY-NC-SA 4.0, not" in told


def test_the_list_tells_which_are_here(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PRIORSR_MODELS", str(tmp_path))
    (tmp_path / "codeformer.pth").write_bytes(b"x")
    assert run("models", "list", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["codeformer"]["here"] == str(tmp_path / "codeformer.pth")
    assert not rows["stablesr"]["here"]
    assert run("models", "list") == 0
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 1 + len(KNOWN)
    assert re.search(
        r"codeformer +codeformer.pth +restore-faces +377 MB +S-Lab License 1.0 +no ",
        next(line for line in table if line.startswith("codeformer")),
    )


def srcnn(path):
    shapes = {"conv1": (64, 1, 9, 9), "conv2": (32, 64, 5, 5), "conv3": (1, 32, 5, 5)}
    state = {f"{k}.weight": torch.zeros(s) for k, s in shapes.items()}
    save_file(state | {f"{k}.bias": torch.zeros(s[0]) for k, s in shapes.items()}, path)


def test_check_tells_kind_completeness_hash_and_name(monkeypatch, tmp_path, capsys):
    path = tmp_path / "mine.safetensors"
    srcnn(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert run("models", "check", path) == 0
    assert capsys.readouterr().out.split() == [
        *("file", str(path), "kind", "SRCNN", "complete", "yes", "known", "unknown", "sha256", digest)
    ]
    monkeypatch.setattr(known, "KNOWN", (replace(GIVEN, sha256=digest),))
    assert run("models", "check", path, "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["known"] == "given, by its hash"
    half = tmp_path / "half.safetensors"
    half.write_bytes(path.read_bytes()[:-100])
    named = tmp_path / "given.pth"
    torch.save({"conv1.weight": torch.zeros(1, 1, 3, 3)}, named)
    assert run("models", "check", half, named, "--json") == 1
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["complete"].startswith("no: cannot read")
    assert rows[1]["complete"].startswith("no: ")
    assert rows[1]["known"] == "none: it has the name of given and another hash"
    monkeypatch.setattr(known, "KNOWN", (replace(GIVEN, sha256=""),))
    assert run("models", "check", named, "--json") == 1
    row = json.loads(capsys.readouterr().out)[0]
    assert row["known"] == "given by its name; the published hash is not known"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("fetch", "codeformr", "--folder", "x"),
            "no published file is called codeformr: did you mean codeformer",
        ),
        (("fetch", "codeformer"), "where shall codeformer.pth go? Give --folder"),
        (
            ("fetch", "ffhq_10m", "--folder", "x"),
            "no address of ffhq_10m.pt is known: fetch it from github.com/DPS",
        ),
        (("fetch", "codeformer", "--folder", "x", "--address", "file:///etc/passwd"), "starts with https://"),
        (("check", "nothing.pth"), "there are no weights called nothing.pth"),
    ],
)
def test_mistakes_are_one_sentence(arguments, words, tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("PRIORSR_MODELS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert run("models", *arguments) == 2
    assert words in caplog.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
