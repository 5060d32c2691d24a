"""What releases rest on: versions agree, the lock holds what is asked for, workflows name what exists."""

from __future__ import annotations

import re
import shutil

import pytest
import yaml
from check_release import FILES, problems
from packaging.requirements import Requirement

from priorsr import __version__
from priorsr.methods.cli.main import build_parser
from priorsr.methods.cli.old_spelling import GOES, translated


def test_this_version_could_be_released_and_another_one_not(root, tmp_path):
    assert problems(f"v{__version__}") == []
    assert len(problems("v99.0.0")) == len(FILES)
    assert problems("1.0") == ["1.0 is no tag of a release: give one such as v1.0.0"]
    (tmp_path / "docs").mkdir()
    for name in FILES:
        shutil.copyfile(root / name, tmp_path / name)
    (tmp_path / "CHANGELOG.md").write_text("## [Unreleased]\n", encoding="utf-8")
    assert problems(f"v{__version__}", tmp_path) == ["CHANGELOG.md names no version"]


def test_the_lock_has_what_is_asked_for(root):
    tomllib = pytest.importorskip("tomllib", reason="tomllib needs Python 3.11")
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (root / "ci.lock").read_text(encoding="utf-8").splitlines()
    locked: dict[str, list[str]] = {}
    for line in lines:
        if line and not line.startswith((" ", "#")):
            one = Requirement(line)
            locked.setdefault(one.name, []).append(str(one.specifier).removeprefix("=="))
    extras = {key: list(map(Requirement, some)) for key, some in project["optional-dependencies"].items()}
    (nested,) = (one.extras for one in extras["test"] if one.name == "priorsr")
    asked = [*map(Requirement, project["dependencies"]), *extras["test"]]
    asked += [one for extra in sorted(nested) for one in extras[extra]]
    for one in asked:
        if one.name != "priorsr":
            assert all(one.specifier.contains(version) for version in locked[one.name]), f"{one}: make lock"
    pinned = Requirement((root / "constraints.txt").read_text(encoding="utf-8").splitlines()[-1])
    assert str(pinned.specifier) == f"=={locked['torch'][0]}"


def test_the_lowest_the_locked_and_the_newest_versions_are_tested(root):
    tomllib = pytest.importorskip("tomllib", reason="tomllib needs Python 3.11")
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    jobs = yaml.safe_load((root / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
    lowest = project["requires-python"].removeprefix(">=")
    assert jobs["test"]["strategy"]["matrix"]["python"][0] == lowest
    steps = {name: [step.get("run", "") for step in jobs[name]["steps"]] for name in jobs}
    (python,) = (s["with"]["python-version"] for s in jobs["oldest"]["steps"] if "with" in s)
    assert python == lowest
    (torch,) = (Requirement(one) for one in project["dependencies"] if one.startswith("torch"))
    bound = str(torch.specifier).removeprefix(">=")
    installed = [run for run in steps["oldest"] if " install " in run and "torch" in run]
    assert installed
    assert all(f'"torch=={bound}.*"' in run for run in installed)
    assert any("--resolution lowest-direct" in run for run in steps["oldest"])
    assert any("-c ci.lock" in run for run in steps["test"])
    assert not any("ci.lock" in run or "constraints" in run for run in steps["newest"])
    for name in ("test", "oldest", "newest"):
        assert any("pytest" in run for run in steps[name])


@pytest.mark.parametrize("name", ["ci", "publish"])
def test_workflows_run_what_exists(root, name):
    text = (root / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")
    flow = yaml.safe_load(text)
    targets = set(re.findall(r"^([\w-]+):", (root / "Makefile").read_text(encoding="utf-8"), re.M))
    for job in flow["jobs"].values():
        assert all(need in flow["jobs"] for need in [job.get("needs", [])] if need)
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            for called in re.findall(r"^make (.+)$", step.get("run", ""), re.M):
                assert set(called.split()) <= targets
    for path in re.findall(r"\b((?:tests|tools)/[\w/.]+)", text):
        assert (root / path).exists(), path
    assert set(re.findall(r"secrets\.(\w+)", text)) <= {"REGISTRY_ACCESS_TOKEN"}


def test_nothing_is_published_but_by_a_tag(root):
    jobs = yaml.safe_load((root / ".github" / "workflows" / "publish.yml").read_text(encoding="utf-8"))[
        "jobs"
    ]
    assert all(jobs[name]["if"] == "github.event_name == 'push'" for name in ("pypi", "comfyui"))
    assert all(jobs[name]["needs"] == "build" for name in ("pypi", "comfyui"))


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_images_are_made_of_instructions_that_exist(root, name):
    text = (root / "docker" / f"{name}.Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    words = [line.split()[0] for line in lines]
    assert words[0] == "FROM"
    assert set(words) <= {"FROM", "RUN", "COPY", "ENV", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}
    assert words.index("USER") < words.index("ENTRYPOINT")
    extras = re.search(r"/src\[([\w,]+)\]", text)
    known = (root / "pyproject.toml").read_text(encoding="utf-8")
    assert all(
        re.search(rf"^{extra} = \[", known, re.M) for extra in (extras[1].split(",") if extras else ())
    )
    kept_out = (root / ".dockerignore").read_text(encoding="utf-8").split()
    assert not {"weights", "docs", "web", "locales", "pyproject.toml", "README.md", "LICENSE"} & set(kept_out)


def test_the_registry_finds_what_it_asks_for(root):
    """The fields of [tool.comfy], and that every file and folder that they name is there and not ignored."""
    tomllib = pytest.importorskip("tomllib", reason="tomllib needs Python 3.11")
    whole = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    project, comfy = whole["project"], whole["tool"]["comfy"]
    assert re.fullmatch(r"[a-z][a-z0-9-]{2,99}", project["name"])
    assert 10 < len(project["description"]) < 200
    assert project["urls"]["Repository"].startswith("https://github.com/")
    assert re.fullmatch(r"[a-z0-9-]+", comfy["PublisherId"])
    assert comfy["DisplayName"]
    assert (root / comfy["Icon"].partition("/main/")[2]).is_file()
    assert Requirement(f"comfyui{comfy['requires-comfyui']}").specifier
    ignored = (root / ".comfyignore").read_text(encoding="utf-8").split()
    for name in comfy["includes"]:
        assert (root / name).exists(), name
        assert name not in ignored
        if name.startswith("docs/"):
            assert {f"!{name}", f"!{name}/"} & set(ignored), name


def test_what_is_deprecated_is_still_there_and_goes_when_it_was_said(root):
    said = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    release = tuple(map(int, __version__.split(".")[:2]))
    assert release < tuple(map(int, GOES.split("."))), "it is time to take the old spelling away"
    (section,) = re.findall(r"### Deprecated\n(.*?)\n(?=##)", said, re.S)
    rows = [row for row in section.split("\n- ") if row]
    assert all(f"with\n  {GOES}" in row or f"with {GOES}" in row for row in rows)
    assert translated(["upscale", "a.png", "b.png", "--method", "dpi"], ["dpi"]) is not None
    assert build_parser("restore-faces").parse_args(["restore-faces", "codeformer", "a", "b", "--half"]).half
