"""The documentation site: built strictly, every name, node and command in its reference, nothing fetched."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import make_site
import pytest
import reference_pages
import yaml
from make_site import REPOSITORY, linked, spaced

import priorsr
from priorsr.methods.cli.main import TABLE
from priorsr.methods.graph.definitions import OURS
from priorsr.methods.registry import methods

needs_mkdocs = pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs the docs extra")


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return reference_pages.pages()


@needs_mkdocs
def test_it_builds_strictly_and_asks_nothing_of_other_servers(root, tmp_path):
    made = [sys.executable, str(root / "tools" / "make_site.py"), "--out", str(tmp_path / "site")]
    done = subprocess.run(made, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = list((tmp_path / "site").rglob("*.html"))
    assert len(found) > 50
    fetched = re.compile(r'<(?:script|img|iframe|link)[^>]+(?:src|href)="(?:https?:)?//')
    for path in found:
        assert not fetched.search(path.read_text(encoding="utf-8")), path.name


@needs_mkdocs
def test_what_mkdocs_warns_of_ends_the_build(root, tmp_path, monkeypatch, capsys):
    (tmp_path / "mkdocs.yml").write_text("site_name: x\nnav: [index.md, gone.md]\n", encoding="utf-8")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# x\n", encoding="utf-8")
    monkeypatch.setattr(make_site, "ROOT", tmp_path)
    monkeypatch.setattr(make_site, "gather", lambda: None)
    monkeypatch.setattr(sys, "argv", ["make_site.py", "--out", str(tmp_path / "site")])
    assert make_site.main() == 1
    assert "gone.md" in capsys.readouterr().err


def test_a_link_that_leads_nowhere_is_named_and_others_are_moved(root):
    page, known = root / "docs" / "faces.md", {root / "docs" / "faces.md": Path("faces.md")}
    with pytest.raises(ValueError, match=r"docs/faces\.md: the link gone\.md leads nowhere"):
        linked("[a](gone.md)", page, known)
    assert linked("[a](../LICENSE)", page, known) == f"[a]({REPOSITORY}/LICENSE)"
    kept = "[a](faces.md#x) [b](https://a.b/c.md)"
    assert linked(kept, page, known) == kept


def test_lists_get_the_empty_line_that_mkdocs_needs():
    assert spaced("**So**\n1. a\n   b\n2. c\n\n- d") == "**So**\n\n1. a\n   b\n2. c\n\n- d"


def test_every_public_name_has_an_entry_that_says_something(pages):
    text = pages["reference/python.md"]
    for name in (*priorsr.FUNCTIONS, *priorsr.TYPES):
        (entry,) = re.findall(rf"^## priorsr\.{name}$(.*?)(?=^## |\Z)", text, re.M | re.S)
        assert len(re.sub(r"```.*?```", "", entry, flags=re.S).strip()) > 20, name
    assert "### priorsr.samplers.run.run\n" in pages["reference/core.md"]


def test_every_command_and_subcommand_is_there(pages):
    for name in TABLE:
        assert f"usage: priorsr {name}" in pages[f"reference/commands/{name}.md"]
    for name in methods():
        assert f"## priorsr upscale {name}\n" in pages["reference/commands/upscale.md"]


def test_every_node_is_there_with_its_inputs_and_help(pages):
    text = pages["reference/nodes.md"]
    for key, node in json.loads(OURS.read_text(encoding="utf-8")).items():
        (entry,) = re.findall(rf"^`{key}`, under (.*?)(?=^## |\Z)", text, re.M | re.S)
        assert all(f"| `{one['id']}` |" in entry for one in node["inputs"]), key


def test_every_method_is_there_with_its_settings(pages):
    text = pages["reference/methods.md"]
    for name, method in methods().items():
        (entry,) = re.findall(rf"^## .*\(`{name}`\)$(.*?)(?=^## |\Z)", text, re.M | re.S)
        assert all(f"| `{setting}` |" in entry for setting in method.fields()), name


def test_every_command_is_in_the_navigation(root):
    text = (root / "mkdocs.yml").read_text(encoding="utf-8")
    shown = json.dumps(yaml.safe_load(text)["nav"])
    assert all(f"reference/commands/{name}.md" in shown for name in TABLE)


@pytest.mark.slow
def test_the_page_of_cards_is_as_counted(root):
    spec = importlib.util.spec_from_file_location("make_card", root / "docs" / "make_card.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_card"] = module
    spec.loader.exec_module(module)
    again = "python docs/make_card.py"
    assert (root / "docs" / "card.md").read_text(encoding="utf-8") == module.page(), again
