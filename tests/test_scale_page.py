"""docs/scale.md and its script: the commands are understood, the script makes the files of the command."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys

import pytest
import torch

from priorsr.methods.cli import main as cli
from priorsr.methods.cli.main import build_parser
from priorsr.methods.imaging.images import Picture, write


@pytest.fixture
def source(tmp_path):
    draw = torch.Generator().manual_seed(0)
    for i in range(3):
        write(Picture(torch.rand(1, 3, 12, 12, generator=draw)), tmp_path / "in" / f"{i}.png")
    return tmp_path / "in"


def files(path):
    return {p.name: p.read_bytes() for p in path.iterdir()}


def test_commands_of_the_page_are_understood(root):
    text = (root / "docs" / "scale.md").read_text(encoding="utf-8")
    lines = [line.partition("  #")[0] for line in text.splitlines() if line.startswith("priorsr ")]
    assert len(lines) >= 8
    for line in lines:
        words = shlex.split(line.replace("$SLURM_ARRAY_TASK_ID", "3"))[1:]
        build_parser(words[0]).parse_args(words)


def test_the_actor_makes_the_files_of_the_command(root, source, tmp_path):
    spec = importlib.util.spec_from_file_location("ray_folder", root / "docs" / "ray_folder.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert cli.main(["upscale", "srcnn", str(source), str(tmp_path / "out"), "--scale", "2"]) == 0
    batch = {
        "source": [str(source / f"{i}.png") for i in (0, 1, 2)] + [str(source / "none.png")],
        "target": [str(tmp_path / "ray" / f"{i}.png") for i in (0, 1, 2)] + [str(tmp_path / "ray" / "x.png")],
    }
    said = module.Enlarge("srcnn", 2.0)(batch)["said"]
    assert said[:3] == ["written"] * 3
    assert said[3].startswith("failed: ")
    assert module.Enlarge("srcnn", 2.0)(batch)["said"][:3] == ["skipped"] * 3
    assert files(tmp_path / "ray") == files(tmp_path / "out")


@pytest.mark.slow
def test_ray_makes_the_files_of_the_command(root, source, tmp_path):
    pytest.importorskip("ray", reason="the script needs Ray")
    assert cli.main(["upscale", "srcnn", str(source), str(tmp_path / "out"), "--scale", "2"]) == 0
    words = ["srcnn", str(source), str(tmp_path / "ray"), "2", "2"]
    subprocess.run([sys.executable, str(root / "docs" / "ray_folder.py"), *words], check=True)
    assert files(tmp_path / "ray") == files(tmp_path / "out")
