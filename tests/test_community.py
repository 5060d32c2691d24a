"""What makes the project citable and easy to join agrees with the project."""

from __future__ import annotations

import re

import yaml

from priorsr import __version__


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_citation_is_of_this_version_and_names_the_five_papers(root):
    cited = read(root / "CITATION.cff")
    assert cited["version"] == __version__
    assert cited["license"] == "Apache-2.0"
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    papers = {one["notes"].split(";")[0]: one for one in cited["references"]}
    assert list(papers) == ["StableSR", "DPI", "SRDG", "Diff-SR", "VisionRefine"]
    for one in papers.values():
        assert one["title"]
        assert all(author["family-names"] and author["given-names"] for author in one["authors"])


def test_issue_forms_have_what_they_need(root):
    folder = root / ".github" / "ISSUE_TEMPLATE"
    forms = {path.stem: read(path) for path in folder.glob("*.yml")}
    assert set(forms) == {"bug", "method", "config"}
    for name in ("bug", "method"):
        ids = [field["id"] for field in forms[name]["body"]]
        assert len(ids) == len(set(ids)) >= 4
    (asked,) = (field for field in forms["bug"]["body"] if field["id"] == "info")
    assert "priorsr info" in asked["attributes"]["label"]
    assert asked["validations"]["required"]


def test_links_of_the_files_at_the_top_exist(root):
    for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY", "CODE_OF_CONDUCT"):
        text = (root / f"{name}.md").read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (root / target).exists(), f"{name}.md: {target}"


def test_the_changelog_has_this_version_and_sections_of_the_form(root):
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[(.+?)\]", text, re.M)[:2] == ["Unreleased", __version__]
    known = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)", text, re.M)) <= known
