"""The same seed gives the same picture: alone or in a batch, in any batch of tiles, on any number of threads,
in another process, and whatever torch's defaults are.

Every method of the registry, to 1e-5 of the range 0..1. PRIORSR_TABLE names a file for what was found.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import every_method
import pytest
import torch
from every_method import ABSENT, EXTRAS, RUNS, made, prepared
from safetensors.torch import load_file

from priorsr.methods.degrade import preset
from priorsr.methods.faces.load import load_detector
from priorsr.methods.faces.paint import RestoreSettings
from priorsr.methods.faces.restore import restore_faces
from priorsr.methods.imaging.color import grey
from priorsr.methods.imaging.images import read
from priorsr.methods.registry import methods

TOLERANCE = 1e-5
NAMES = [
    pytest.param(name, marks=pytest.mark.skip(reason=ABSENT[name])) if name in ABSENT else name
    for name in methods()
]
TILED = [n for n in methods() if "tile_batch" in methods()[n].fields()]
FIXTURES = Path(every_method.__file__).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights")
    every_method.make(path)
    return path


@pytest.fixture(scope="module")
def five(folder):
    """What each method makes of five pictures in one call on one thread, made once."""
    made_once = {}

    def of(name):
        if name not in made_once:
            with threads(1):
                made_once[name] = made(prepared(folder, name), name)
        return made_once[name]

    return of


class threads:
    def __init__(self, count):
        self.count, self.before = count, torch.get_num_threads()

    def __enter__(self):
        torch.set_num_threads(self.count)

    def __exit__(self, *_):
        torch.set_num_threads(self.before)


def compare(name, how, found, expected):
    difference = (found - expected).abs().max().item()
    if table := os.environ.get("PRIORSR_TABLE"):
        with open(table, "a", encoding="utf-8") as file:
            file.write(f"{name} | {how} | {difference:.1e}\n")
    assert found.dtype == torch.float32
    assert difference <= TOLERANCE, (name, how, difference)


def test_every_method_is_tried():
    """Those alone are left out whose extra is not installed."""
    assert sorted(RUNS) == sorted(methods())
    for name, (_, module) in EXTRAS.items():
        assert (name in ABSENT) == (find_spec(module) is None)


@pytest.mark.parametrize("name", NAMES)
def test_pictures_differ_and_depend_on_the_seed(folder, five, name):
    """What is compared below is no constant."""
    assert five(name).std() > 0.02
    if name not in ("bicubic", "srcnn", "clean", "no-prior", "model"):
        other = prepared(folder, name)
        with torch.no_grad():
            again = other(every_method.pictures()[:1], RUNS[name].scale, [99])
        assert (again - five(name)[:1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_alone_as_in_a_batch_of_five(folder, five, name):
    upscaler = prepared(folder, name)
    with threads(1):
        compare(name, "alone", made(upscaler, name, slice(4, 5)), five(name)[4:])


@pytest.mark.parametrize("name", TILED)
def test_four_tiles_in_a_call_as_one(folder, five, name):
    with threads(1):
        compare(name, "tile batch 4", made(prepared(folder, name, tile_batch=4), name), five(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_threads_as_one(folder, five, name):
    with threads(2):
        compare(name, "2 threads", made(prepared(folder, name), name), five(name))


@pytest.mark.slow
def test_another_process_gives_the_same(folder, five, tmp_path):
    code = [sys.executable, str(FIXTURES / "every_method.py"), str(folder), str(tmp_path / "out")]
    subprocess.run(code, check=True, env={**os.environ, "PYTHONPATH": str(FIXTURES)})
    for name, found in load_file(tmp_path / "out").items():
        compare(name, "another process", found, five(name))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_torchs_default_type_has_no_influence(folder, five, name):
    torch.set_default_dtype(torch.float64)
    try:
        with threads(1):
            found = made(prepared(folder, name), name)
    finally:
        torch.set_default_dtype(torch.float32)
    compare(name, "default float64", found, five(name))


@pytest.mark.parametrize("name", NAMES)
def test_torchs_default_device_has_no_influence(folder, five, name):
    pictures = every_method.pictures()
    torch.set_default_device("meta")
    try:
        with threads(1), torch.no_grad():
            found = prepared(folder, name)(pictures, RUNS[name].scale, every_method.SEEDS)
    finally:
        torch.set_default_device(None)
    compare(name, "default device meta", found, five(name))


@pytest.fixture(params=["float64", "meta"])
def odd_defaults(request):
    """A process that has set another default type, or another default device."""
    if request.param == "float64":
        torch.set_default_dtype(torch.float64)
    else:
        torch.set_default_device("meta")
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


def detected(scene):
    return load_detector("mtcnn")(scene, 20.0).landmarks


def pasted(scene):
    settings = RestoreSettings(size=64)
    return restore_faces(scene, lambda faces, seeds: 1 - faces, load_detector("mtcnn"), settings).pictures


def degraded(scene):
    return preset("real-world", 2.0).draw(5)(scene[0])


@pytest.fixture(scope="module")
def scene(request):
    """A portrait, and what the other steps make of it before any default is changed."""
    picture = read(request.config.rootpath / "docs" / "sample" / "astronaut.png").pixels
    return picture, {step: step(picture) for step in (detected, pasted, degraded, grey)}


@pytest.mark.parametrize("step", [detected, pasted, degraded, grey])
def test_torchs_defaults_have_no_influence_on_the_other_steps(scene, odd_defaults, step):
    picture, expected = scene
    found = step(picture)
    assert found.dtype == expected[step].dtype
    assert found.numel() > 0
    torch.testing.assert_close(found, expected[step], rtol=0, atol=TOLERANCE)


def test_tensors_are_made_with_a_type_and_a_place(root):
    """The rule behind it: nothing outside networks and trainings makes a tensor by torch's defaults."""
    makers = {"zeros", "ones", "full", "empty", "rand", "randn", "linspace", "eye", "tensor", "arange"}
    lost = []
    for path in [*(root / "methods").rglob("*.py"), *(root / "samplers").rglob("*.py")]:
        if {"train", "evaluate", "nets"} & set(path.relative_to(root).parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            made = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if made and ast.unparse(node.func.value) == "torch" and node.func.attr in makers:
                said = {keyword.arg for keyword in node.keywords}
                if not said & {"device", None}:
                    lost.append(f"{path.relative_to(root)}:{node.lineno}: {ast.unparse(node)}")
    assert not lost
