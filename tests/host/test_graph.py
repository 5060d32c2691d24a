"""`priorsr graph` by a real host: the pictures of a server, of a checkout's executor, and without either."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from graph_definitions import core
from PIL import Image
from small_workflows import WORKFLOWS, small

import priorsr
from priorsr.methods.cli.main import main
from priorsr.methods.graph.definitions import CORE, runs_alone
from priorsr.methods.graph.graph import load
from priorsr.methods.imaging.images import read

pytestmark = pytest.mark.host
FLOW = Path(__file__).parents[2] / "example_workflows" / "srcnn_upscale.json"


def test_pictures_of_all_engines_are_the_same(host, tmp_path):
    run = ["graph", "run", str(FLOW), "--input", str(host.base / "input" / "example.png")]
    command = ["upscale", "srcnn", run[4], str(tmp_path / "command.png"), "--scale", "2"]
    command += ["--precision", "fp32"]  # in which nodes compute
    ways = {
        "alone": [],
        "server": ["--server", host.url],
        "comfyui": ["--comfyui", os.environ["COMFYUI_PATH"]],
    }
    assert main(command) == 0
    for name, way in ways.items():
        assert main([*run, "--out", str(tmp_path / name), *way]) == 0
        assert (tmp_path / name / "example.png").read_bytes() == (tmp_path / "command.png").read_bytes(), name


@pytest.fixture(scope="module")
def engines(host):
    """By their names: the host's server, its executor in a process of its own, and the stand-in."""
    patch = pytest.MonkeyPatch()
    patch.setenv("PRIORSR_MODELS", str(host.base / "models" / "priorsr"))
    comfyui = {"comfyui": os.environ["COMFYUI_PATH"], "options": ["--base-directory", str(host.base)]}
    ways = {"server": {"server": host.url}, "comfyui": comfyui, "alone": {}}
    opened = {name: priorsr.graph.open_engine(**way) for name, way in ways.items()}
    yield opened
    for engine in opened.values():
        engine.close()
    patch.undo()


@pytest.mark.parametrize("name", WORKFLOWS)
def test_all_engines_that_can_run_a_workflow_give_the_same(host, engines, name):
    """Every picture that a workflow saves or shows, its texts and its other files."""
    found = {}
    for way, engine in engines.items():
        if way == "alone" and any(
            not runs_alone(n["class_type"]) for n in load(WORKFLOWS[name]).nodes.values()
        ):
            continue
        graph = small(name, engine.definitions)
        named = {key: graph.nodes[key]["inputs"]["image"] for key in graph.loaders()}
        pictures = {key: read(host.base / "input" / image) for key, image in named.items()}
        result = engine.run(graph, pictures)
        assert all(one.pixels.std() > 0.01 for some in result.saved.values() for one in some)
        assert result.saved or result.files
        found[way] = contents(result)
    assert set(found) >= {"server", "comfyui"}
    for way, told in found.items():
        assert told == found["server"], way


def contents(result) -> dict:
    """What a result holds, as bytes and texts."""
    pictures = {
        (kind, key, i): (tuple(one.pixels.shape), one.pixels.numpy().tobytes())
        for kind, shown in (("saved", result.saved), ("shown", result.shown))
        for key, some in shown.items()
        for i, one in enumerate(some)
    }
    return {**pictures, "texts": result.texts, "files": result.files}


def heard_by(steps):
    return lambda *step: steps.append(step)


def test_every_engine_shows_previews_and_steps(engines, tmp_path):
    flow, source = tmp_path / "flow.json", tmp_path / "in.png"
    Image.radial_gradient("L").resize((9, 8)).convert("RGB").save(source)
    command = ["upscale", "dpi", str(source), "x.png", "--prior", "tiny_adm", "--corrector", "none"]
    command += ["--scale", "2", "--steps", "3"]
    assert main(["graph", "from-command", "--to", str(flow), *command]) == 0
    told = {}
    for name, engine in engines.items():
        heard, previews = [], []
        graph = priorsr.graph.load(flow, engine)
        graph.run(source, engine=engine, on_step=heard_by(heard), on_preview=previews.append)
        assert previews, name
        assert all(one.width > one.height for one in previews), name  # a server enlarges them
        told[name] = [step for step in heard if step[0] == "2" and step[2]]
    assert told["alone"][-1] == ("2", 3, 3)
    # a server passes on what its clock lets it: some of the steps, the last among them
    assert set(told["server"]) <= set(told["alone"])
    assert told["server"][-1] == told["alone"][-1]
    assert told["comfyui"] == told["alone"]


def test_carried_definitions_of_the_hosts_own_nodes_are_the_hosts(definitions):
    """Every input that we know, with its type, is one of the host's; newer hosts have more."""
    found = core(definitions)
    for kind, told in json.loads(CORE.read_text("utf-8")).items():
        theirs = {one["id"]: one["type"] for one in found[kind]["inputs"]}
        assert {one["id"]: one["type"] for one in told["inputs"]}.items() <= theirs.items(), kind
        given = [one["type"] for one in found[kind]["outputs"]]
        assert given == [one["type"] for one in told["outputs"]][: len(given)], kind
