"""`priorsr info` tells what a report of a fault needs."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

import torch

from priorsr import __version__
from priorsr.methods import weights
from priorsr.methods.cli import info
from priorsr.methods.cli.main import main


def told(capsys) -> dict:
    assert main(["info", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_it_tells_versions_devices_and_weights(capsys, monkeypatch, tmp_path):
    (tmp_path / "mine.safetensors").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")
    monkeypatch.setenv("PRIORSR_MODELS", str(tmp_path))
    found = told(capsys)
    assert found["priorsr"].startswith(f"{__version__} in ")
    assert found["libraries"]["torch"] == torch.__version__
    assert f"{torch.get_num_threads()} threads" in found["devices"]["cpu"]
    assert sum("chosen" in text for text in found["devices"].values()) == 1
    shipped = len(list(weights.SHIPPED.glob("*.safetensors")))
    assert found["weights"] == {str(tmp_path): "1 files", str(weights.SHIPPED): f"{shipped} files"}


def test_the_text_has_all_that_json_has(capsys):
    found = told(capsys)
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    for value in found.values():
        for one in value.values() if isinstance(value, dict) else [value]:
            assert one in text


def test_a_folder_that_is_not_there_is_told(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PRIORSR_MODELS", str(tmp_path / "no"))
    assert "cannot be read" in told(capsys)["weights"][str(tmp_path / "no")]


def test_the_host_is_found_around_the_package_or_by_its_variable(monkeypatch, tmp_path):
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    assert info.host().startswith("none (")
    (tmp_path / "comfyui_version.py").write_text('__version__ = "9.8.7"\n')
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    assert info.host() == f"ComfyUI 9.8.7 in {tmp_path}"
    monkeypatch.delenv("COMFYUI_PATH")
    monkeypatch.setattr(info, "PACKAGE", tmp_path / "custom_nodes" / "PriorSR")
    assert info.host() == f"ComfyUI 9.8.7 in {tmp_path}"
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "no"))
    assert "has no comfyui_version.py" in info.host()


def test_extras_name_what_they_lack(monkeypatch):
    lines = [
        "torch>=2",
        "pytest>=8; extra == 'here'",
        'no-such-thing>=1; extra == "away"',
        "priorsr[x]; extra == 'here'",
    ]
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    assert info.extras() == {"here": "installed", "away": "missing: no-such-thing"}

    def unknown(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", unknown)
    assert "unknown" in info.extras()


def test_it_imports_torch_and_nothing_else_that_is_heavy():
    code = (
        "import sys; from priorsr.methods.cli.main import main; main(['info']); "
        "print([m for m in ('kornia', 'matplotlib', 'accelerate') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
