"""What releases rest on: versions agree, the lock holds what is asked for, workflows name what exists."""

from __future__ import annotations

import re
import shutil

import pytest
import yaml
from check_release import FILES, problems
from packaging.requirements import Requirement

from priorsr import __version__


def test_this_version_could_be_released_and_another_one_not(root, tmp_path):
    assert problems(f"v{__version__}") == []
    assert len(problems("v99.0.0")) == len(FILES)
    assert problems("1.0") == ["1.0 is no tag of a release: give one such as v1.0.0"]
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
