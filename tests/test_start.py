"""A newcomer's path: the commands of the start pages run as they stand, and their Python and links hold."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from priorsr.methods.cli.demo import grainy
from priorsr.methods.cli.main import main
from priorsr.methods.imaging.images import Picture, write
from priorsr.methods.imaging.resize import resize

START = ("start_restorer", "comfyui", "start_researcher", "start_programmer")
READ = (
    *START,
    "which",
    "app",
    "troubleshooting",
    "faq",
    "ethics",
    "cite",
    "methods",
    "nodes",
    "commands",
    "benchmarks",
    "gallery",
    "card",
    "extend",
    "visionrefine",
)


@pytest.fixture
def clone(root, tmp_path, monkeypatch):
    """A folder as a newcomer sees it after `make demo`, whose damaged picture is a part of that."""
    for name in ("docs", "example_workflows"):
        (tmp_path / name).symlink_to(root / name)
    (tmp_path / "demo").mkdir()
    old = grainy()[..., :160, 160:]
    write(Picture(old), tmp_path / "demo" / "damaged.png")
    write(Picture(resize(old, (48, 60)).clamp(0, 1)), tmp_path / "demo" / "input.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def first_commands(root, name: str) -> list[str]:
    """The commands of the first block of a page that has any."""
    text = (root / "docs" / f"{name}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.S | re.M)
    blocks = [re.findall(r"^priorsr .*", block, re.M) for block in blocks]
    return next(filter(None, blocks))


@pytest.mark.parametrize("name", START)
def test_the_first_three_commands_run_as_printed(root, clone, name, capsys):
    lines = first_commands(root, name)
    assert len(lines) == 3
    for line in lines:
        assert main(shlex.split(line)[1:]) == 0, line
    written = [word for line in lines for word in shlex.split(line) if word.startswith("out/")]
    assert all((clone / path).is_file() for path in written)


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("git") and shutil.which("make")), reason="needs git and make")
def test_a_fresh_clone_makes_the_demo_and_runs_the_first_commands(root, tmp_path):
    """What is committed, in place of what lies here; the environment is that of the tests, where `make`
    would install one.
    """
    if not (root / ".git").exists():
        pytest.skip("no clone of a repository")
    new = tmp_path / "priorsr"
    subprocess.run(["git", "clone", "--quiet", "--no-local", "--depth=1", root.as_uri(), new], check=True)
    told = {**os.environ, "PYTHONPATH": str(tmp_path)}
    where = "import priorsr; print(priorsr.__file__)"
    run = subprocess.run(
        [sys.executable, "-c", where], env=told, cwd=tmp_path, capture_output=True, text=True
    )
    assert run.stdout.strip() == str(new / "__init__.py")
    here = os.path.dirname(sys.executable)
    subprocess.run(["make", "-o", f"{here}/priorsr", f"BIN={here}", "demo"], env=told, cwd=new, check=True)
    assert (new / "demo" / "damaged.png").is_file()
    for line in [line for name in START for line in first_commands(new, name)]:
        words = [sys.executable, "-m", "priorsr.methods.cli.main", *shlex.split(line)[1:]]
        run = subprocess.run(words, env=told, cwd=new, capture_output=True, text=True)
        assert run.returncode == 0, f"{line}\n{run.stderr}"


def test_the_python_of_the_programmers_page_runs(root, clone, capsys):
    page = (root / "docs" / "start_programmer.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    exec(compile(code, "docs/start_programmer.md", "exec"), {})  # noqa: S102 (our own text)
    assert "restored" in capsys.readouterr().out


@pytest.mark.parametrize("name", READ)
def test_links_and_their_headings_exist(root, name):
    page = root / "docs" / f"{name}.md"
    for target, anchor in re.findall(r"\]\(([^):#]*)(?:#([^)]+))?\)", page.read_text(encoding="utf-8")):
        other = page.parent / target if target else page
        assert other.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)", other.read_text(encoding="utf-8"), re.M)
            assert anchor in {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}, anchor
