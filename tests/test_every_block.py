"""No block of code on any page escapes the tests: each is run by one that is named here, or its lines are
commands, which test_docs.py has understood by their parsers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from priorsr.methods.evaluate.study import read_study
from priorsr.methods.judge.protocol import read_protocol

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.S | re.M)
HERE = "test_every_block.py"
RUN_BY = {  # a page's blocks in a language, how many there are, and the test that runs all of them
    ("README.md", "python"): (1, "test_demo.py"),
    ("CONTRIBUTING.md", "python"): (1, HERE),
    ("docs/cite.md", "bibtex"): (1, "test_community.py"),
    ("docs/core.md", "python"): (3, "test_docs.py"),
    ("docs/diffsr.md", "python"): (1, "test_docs.py"),
    ("docs/dpi.md", "python"): (1, "test_docs.py"),
    ("docs/extend.md", "python"): (6, "test_extend.py"),
    ("docs/extend.md", "toml"): (1, HERE),
    ("docs/headless.md", "python"): (1, "methods/cli/test_graph.py"),
    ("docs/judge.md", "python"): (1, "test_docs.py"),
    ("docs/judge.md", "toml"): (2, HERE),
    ("docs/python.md", "python"): (6, "test_docs.py"),
    ("docs/srdg.md", "python"): (1, "test_docs.py"),
    ("docs/stablesr.md", "python"): (1, "test_docs.py"),
    ("docs/start_programmer.md", "python"): (1, "test_start.py"),
}
SETS_UP = {  # lines that are no command of ours, and what tries them
    "make demo": "test_start.py",
    "make test": "the tests themselves",
    "make lint": "CI",
    "make docs": "CI, test_site.py",
    "make docs-lint": "CI, test_english.py",
    "COMFYUI_PATH=... make test-host": "tests/host, with a ComfyUI",
    "python -m venv .venv": "tools/check_wheel.py",
    '.venv/bin/python -m pip install -e ".[test]"': "CI",
    ".venv/bin/python -m priorsr.methods.cli.demo demo": "test_demo.py",
    "source .venv/bin/activate": "a shell's own",
    "cd ComfyUI/custom_nodes": "a shell's own",
    "git clone https://github.com/priorsr/priorsr PriorSR": "test_start.py clones what lies here",
    "git clone https://github.com/priorsr/priorsr && cd priorsr": "test_start.py clones what lies here",
    "python -m pip install -r PriorSR/requirements.txt": "test_package.py",
    "python -m pip install .": "tools/check_wheel.py",
    'pip install "priorsr[app]"': "CI",
}


def pages() -> list[Path]:
    found = [path for folder in ("docs", "weights", "web/docs") for path in (ROOT / folder).rglob("*.md")]
    return sorted([*ROOT.glob("*.md"), *found])


def blocks() -> Iterator[tuple[str, str, str]]:
    """Every block of code: its page, language and text."""
    for page in pages():
        for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            yield page.relative_to(ROOT).as_posix(), language, text


def lines() -> list[tuple[str, str]]:
    """Every line of the blocks without a language, and its page."""
    plain = [(page, text.replace("\\\n", " ")) for page, language, text in blocks() if not language]
    return [(page, line.strip()) for page, text in plain for line in text.splitlines() if line.strip()]


def test_every_block_in_a_language_has_a_test_that_names_its_page():
    counted = Counter((page, language) for page, language, _ in blocks() if language)
    assert counted == {key: count for key, (count, _) in RUN_BY.items()}
    for (page, _), (_, test) in RUN_BY.items():
        assert Path(page).stem.lower() in (ROOT / "tests" / test).read_text(encoding="utf-8").lower(), page


def test_every_other_line_is_a_command_or_known():
    for page, line in lines():
        words = line.partition("  #")[0].strip()
        if words not in SETS_UP:
            assert words.startswith(("priorsr ", "torchrun ")), f"{page}: {line}"
    assert {line.partition("  #")[0].strip() for _, line in lines()} >= set(SETS_UP)


def test_the_example_of_style_works():
    (code,) = (text for page, language, text in blocks() if (page, language) == ("CONTRIBUTING.md", "python"))
    names: dict = {"Tensor": Tensor}
    exec(compile(code, "CONTRIBUTING.md", "exec"), names)  # noqa: S102 (our own text)
    kept = names["recoverable"](torch.arange(3), torch.tensor([0.1, 0.2, 0.3]), 0.2)
    assert kept.tolist() == [True, True, False]
    with pytest.raises(ValueError, match="no level loses less than"):
        names["recoverable"](torch.arange(3), torch.tensor([0.1, 0.2, 0.3]), 0.01)


def test_the_files_that_are_shown_are_read(tmp_path):
    tomllib = pytest.importorskip("tomllib", reason="tomllib needs Python 3.11")
    (entry,) = (text for page, language, text in blocks() if (page, language) == ("docs/extend.md", "toml"))
    assert list(tomllib.loads(entry)["project"]["entry-points"]) == ["priorsr.methods"]
    protocol, study = (
        text for page, language, text in blocks() if (page, language) == ("docs/judge.md", "toml")
    )
    for name, text in (("mine.toml", protocol), ("study.toml", study)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_protocol(tmp_path / "mine.toml").check().pairs.results == "_out"
    assert len(read_study(tmp_path / "study.toml").runs) == 2
