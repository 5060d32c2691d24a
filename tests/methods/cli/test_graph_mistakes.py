"""Mistakes with `priorsr graph`, each told in a sentence."""

from __future__ import annotations

import json

import pytest
from graph_runs import said, several

from priorsr.methods.cli.main import main
from priorsr.methods.graph.definitions import carried

pytestmark = pytest.mark.usefixtures("place")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.json"], "there is no workflow at none.json"),
        (["{in}"], "carries no workflow"),
        (["{flow}", "--set", "3"], "--set 3 sets nothing: write it as NODE.INPUT=VALUE"),
        (["{flow}", "--set", "9.x=1"], "there is no node '9'"),
        (
            ["{flow}", "--set", "SaveImage.filename_prefix=y"],
            "2 nodes have the type 'SaveImage': give an id, 3 or 4",
        ),
        (["{two}", "--set", "Load Image.image=y"], "2 nodes have the title 'Load Image': give an id, 1 or 5"),
        (["{flow}", "--set", "3.images=y"], "images takes a link of IMAGE"),
        (["{flow}", "--input", "nowhere.png"], "there is no file or folder at nowhere.png"),
        (["{flow}", "--input", "{empty}"], "there is no picture in {empty}: give a folder that has some"),
        (["{flow}", "--into", "3", "--input", "{in}"], "loads no picture: choose from 1"),
        (["{flow}", "--into", "1"], "--into says where --input goes"),
        (["{flow}", "--set", "1.image=gone.png"], "names 'gone.png', and there is no such file"),
        (["{flow}", "--comfyui", "{empty}"], "is no ComfyUI: give the folder that its main.py is in"),
        (["{flow}", "--comfyui", "x", "--server", "y"], "give --comfyui or --server, not both"),
        (["{alien}"], "node 5 (Alien): needs --comfyui or --server, a ComfyUI that has them"),
        (
            ["{foreign}"],
            "node 1 is of the kind Alien, which is not known here: add --server URL or --comfyui",
        ),
        (["{far}"], "node 5 (Bicubic Upscale): scale 100.0 is outside 1.0 .. 64.0: give a value within"),
        (["{lost}"], "prior names 'lost.pt', and there is no such file: put it into models/priorsr"),
        (
            ["{two}", "--input", "{in}"],
            "several nodes load a picture: name the one for the input",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path, capsys, arguments, words):
    flow = several(tmp_path)
    (tmp_path / "empty").mkdir()
    nodes = json.loads(flow.read_text())
    more = {
        "alien": {"class_type": "Alien", "inputs": {}},
        "lost": {"class_type": "PriorSRLoadPixelPrior", "inputs": {"prior": "lost.pt"}},
        "two": nodes["1"],
        "far": {"class_type": "PriorSRUpscaleBicubic", "inputs": {"image": ["1", 0], "scale": 100.0}},
    }
    places = {"flow": flow, "in": tmp_path / "in.png", "empty": tmp_path / "empty"}
    for name, one in more.items():
        places[name] = tmp_path / f"{name}.json"
        inputs = {n["id"]: n.get("default") for n in carried().get(one["class_type"], {}).get("inputs", [])}
        places[name].write_text(json.dumps({**nodes, "5": {**one, "inputs": {**inputs, **one["inputs"]}}}))
    places["foreign"] = tmp_path / "foreign.json"
    places["foreign"].write_text(json.dumps({"nodes": [{"id": 1, "type": "Alien"}], "links": []}))
    told = [one.format(**places) for one in arguments]
    assert main(["graph", "run", *told, "--out", str(tmp_path / "out"), "--json"]) == 2
    error = said(capsys)["error"]
    assert words.format(**places) in error
    assert "\n" not in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["degrade", "a", "b"], "only upscale and restore-faces have a workflow"),
        (["upscale", "stablesr", "a.png", "b.png"], "begin with a workflow of example_workflows/"),
        (["upscale", "bicubic", "a.png", "b.png", "--compile"], "--compile has no input of a node"),
        (
            ["upscale", "bicubic", "a.png", "b.png", "--precision", "fp16"],
            "nodes compute in fp32, not in fp16",
        ),
        (["upscale", "dps", "a.png", "b.png"], "dps needs --prior"),
        (
            ["upscale", "srcnn", "a.png", "b.png", "--region", "1,2,3,4"],
            "a workflow takes its region from a picture, not from 1,2,3,4",
        ),
    ],
)
def test_commands_that_no_workflow_does(command, words, capsys):
    assert main(["graph", "from-command", "--json", *command]) == 2
    assert words in said(capsys)["error"]


def test_an_unknown_option_before_a_command_is_refused_in_one_sentence(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--nothing", "graph", "from-command", "--api", "upscale", "bicubic", "a.png", "b.png"])
    assert end.value.code == 2
    assert "there is no option --nothing" in capsys.readouterr().err
