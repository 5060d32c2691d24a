"""`priorsr models` knows shipped files by their digests, and builds nothing to say that they are ready."""

from __future__ import annotations

import hashlib
import subprocess
import sys

from priorsr.methods import weights
from priorsr.methods.cli.models import SRCNN
from priorsr.methods.visionrefine.srcnn import SCALES


def test_digests_are_those_of_the_files():
    found = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}"
        for path in sorted(weights.SHIPPED.glob("*.safetensors"))
    ]
    known = (weights.SHIPPED / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    assert known == found, "cd weights && LC_ALL=C sha256sum *.safetensors > SHA256SUMS"


def test_shipped_files_are_ready_when_they_are_built_too():
    for path in weights.SHIPPED.glob("*.safetensors"):
        assert weights.describe(path, whole=True) == weights.describe(path)


def test_those_that_must_be_there_are_those_of_every_scale():
    assert [f"srcnn_x{scale}" for scale in SCALES] == list(SRCNN)


def test_listing_shipped_files_and_help_import_nothing_heavy(monkeypatch):
    monkeypatch.delenv("PRIORSR_MODELS", raising=False)
    for command in ("models", "--help"):
        code = (
            f"import sys; from priorsr.methods.cli.main import main; main([{command!r}]); "
            "print([m for m in ('torch', 'numpy', 'PIL', 'kornia', 'matplotlib') if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]", command
