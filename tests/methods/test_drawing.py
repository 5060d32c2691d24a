"""Plots need matplotlib, which only the extra brings: what is computed before asks first."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
import torch

from priorsr.methods import drawing
from priorsr.methods.cli.main import main
from priorsr.methods.train.loop import this_process

BLOCKED = """
import sys
sys.modules["matplotlib"] = None
import priorsr.methods.cli.main as cli
from priorsr.methods.cli.commands import COMMANDS
cli.build_parser()
from priorsr.methods.train import classifier, sr_sde, noise_classifier
"""


@pytest.fixture
def without(monkeypatch):
    whole = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *a: None if name == "matplotlib" else whole(name, *a)
    )


def test_nothing_but_drawing_imports_it():
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_figure_says_what_to_install(without):
    with pytest.raises(ImportError, match=r'pip install "priorsr\[plots\]"'):
        drawing.new_figure()


def test_commands_say_so_before_they_read_anything(without, tmp_path, caplog):
    assert main(["report", str(tmp_path / "gone.json"), "--plot", str(tmp_path / "x.png")]) == 2
    assert "plots need matplotlib" in caplog.text
    assert "gone.json" not in caplog.text


def test_a_training_says_so_before_its_first_step(without):
    with pytest.raises(ImportError, match=r'pip install "priorsr\[train\]"'):
        this_process(torch.device("cpu"))


def test_the_plot_of_a_node_says_it_in_its_place():
    picture = drawing.in_words()
    assert picture.shape == (1, 3, 480, 640)
    assert 0 < (picture < 0.5).float().mean() < 0.1


def test_a_figure_is_a_picture():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra plots)")
    figure = drawing.new_figure(figsize=(2, 1), dpi=50)
    figure.subplots().plot([0, 1])
    assert drawing.pixels_of(figure).shape == (1, 3, 50, 100)
