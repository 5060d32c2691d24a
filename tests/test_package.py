"""The package as a whole: what importing it costs, which way imports point, what the metadata says."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest

from priorsr import __version__

LAYERS = {"samplers": 0, "methods": 1, "nodes": 2}
HOST = {"comfy", "comfy_api", "comfy_extras", "folder_paths", "nodes", "execution", "server"}


def modules(root):
    return [p for layer in LAYERS for p in sorted((root / layer).rglob("*.py"))]


def imported(path, root):
    """(absolute name, level) of every import in a file, relative ones resolved to the layer they reach."""
    package = path.relative_to(root).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split("."), 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            yield base + (node.module or "").split("."), node.level


def test_import_loads_neither_torch_nor_the_host():
    code = (
        "import sys, priorsr; print([m for m in sys.modules if m.split('.')[0] in ('torch', 'numpy', "
        "'comfy', 'folder_paths')])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_imports_point_downwards_and_are_relative(root):
    for path in modules(root):
        layer = path.relative_to(root).parts[0]
        for name, level in imported(path, root):
            assert name[0] != "priorsr", f"{path}: import PriorSR relatively, the host renames the package"
            if level and name[0] in LAYERS:
                assert LAYERS[name[0]] <= LAYERS[layer], f"{path} reaches up into {'.'.join(name)}"
            if not level and layer != "nodes":
                assert name[0] not in HOST, f"{path} needs the host"


def test_samplers_import_torch_and_nothing_of_ours(root):
    for path in sorted((root / "samplers").rglob("*.py")):
        for name, level in imported(path, root):
            assert level == 0 or name[0] == "samplers"
            assert level or name[0] in sys.stdlib_module_names | {"torch"}


def test_random_numbers_come_from_one_place(root):
    for path in modules(root):
        if path.name != "noise.py":
            assert not re.search(
                r"torch\.(randn|rand|poisson|bernoulli)\b|randn_like|rand_like",
                path.read_text(encoding="utf-8"),
            ), path


@pytest.fixture
def pyproject(root):
    tomllib = pytest.importorskip("tomllib", reason="tomllib needs Python 3.11")
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def test_metadata_agrees_with_the_tree(root, pyproject):
    packages = {"priorsr"} | {
        "priorsr." + ".".join(p.parent.relative_to(root).parts)
        for p in modules(root)
        if p.name == "__init__.py"
    }
    assert set(pyproject["tool"]["setuptools"]["packages"]) == packages
    assert pyproject["project"]["version"] == __version__
    wanted = [line for line in (root / "requirements.txt").read_text().splitlines() if line]
    assert wanted == pyproject["project"]["dependencies"]
    assert not any(re.search(r"[<~]|==", line) for line in wanted), "no upper pins"


def test_every_folder_with_code_is_a_package(root):
    assert all((p.parent / "__init__.py").exists() for p in modules(root))


def test_files_stay_readable(root):
    for path in modules(root):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path
