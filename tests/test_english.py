"""The English of the pages, and what its checker sees of them."""

from __future__ import annotations

import shutil
import subprocess

import pytest

pytest.importorskip("proselint", reason="proselint is not installed (extra docs)")
from check_english import PAGES, problems, prose

POOR = "It was was very unique.\n"


def test_prose_is_complained_of_and_code_is_not(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"A picture.\n\n```\n{POOR}```\n\n`{POOR.strip()}`\n", encoding="utf-8")
    assert problems([page]) == []
    page.write_text(f"A picture.\n\n{POOR}", encoding="utf-8")
    found = problems([page])
    assert found
    assert all(line.startswith(f"{page}:3: ") for line in found)


def test_lines_stay_in_their_places():
    text = "one\n```\ntwo\nthree\n```\nfour [five](six.md) | 7.0 | eight"
    assert prose(text).count("\n") == text.count("\n")
    assert prose(text).splitlines()[-1].startswith("four [five]")


@pytest.mark.slow
def test_every_page_is_clean(root):
    pages = sorted(path for pattern in PAGES for path in root.glob(pattern))
    assert root / "README.md" in pages
    assert problems(pages) == []


@pytest.mark.parametrize(
    ("code", "lacking"), [("import tomllib\n", "tomllib"), ("from typing import Self\n", "typing.Self")]
)
def test_what_the_oldest_python_lacks_is_seen(root, tmp_path, code, lacking):
    """By the words that `make lint` has."""
    vermin = shutil.which("vermin", path=str(root / ".venv" / "bin")) or shutil.which("vermin")
    if vermin is None:
        pytest.skip("vermin is not installed (extra test)")
    (line,) = (one for one in (root / "Makefile").read_text(encoding="utf-8").splitlines() if "vermin" in one)
    words = [one for one in line.split()[1:] if one.startswith("--") or one == "long"]
    (tmp_path / "new.py").write_text(code, encoding="utf-8")
    run = subprocess.run([vermin, *words, str(tmp_path / "new.py")], capture_output=True, text=True)
    assert run.returncode == 1
    assert lacking in run.stdout
    (tmp_path / "new.py").write_text("import math\n", encoding="utf-8")
    assert subprocess.run([vermin, *words, str(tmp_path / "new.py")], capture_output=True).returncode == 0
