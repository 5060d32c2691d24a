"""Graphs are read from every kind of file, set and checked; what is wrong is one sentence with a cure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

import priorsr
from priorsr.methods.graph.definitions import HOSTLESS, carried, from_object_info, runs_alone
from priorsr.methods.graph.files import read_flow
from priorsr.methods.graph.graph import Graph, load
from priorsr.methods.graph.standin import core
from priorsr.methods.graph.values import known_offline, misfit

FLOW = Path(__file__).parents[3] / "example_workflows" / "srcnn_upscale.json"
API = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
    "2": {"class_type": "PriorSRDegrade", "inputs": {"image": ["1", 0], "degradation": "bicubic"}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
}
API["2"]["inputs"] |= {"degradation.scale": 2.0, "seed": 1, "vary": False}


def graph() -> Graph:
    return load(json.loads(json.dumps(API)))


def anything(folder: str, name: str) -> bool:
    return True


def test_what_runs_without_a_host_is_said_once():
    assert set(HOSTLESS) == {*core.NODES, *core.SHOWING}
    assert set(HOSTLESS) <= carried().keys()
    assert runs_alone("PriorSRUpscaleDPI")
    assert not runs_alone("KSampler")


@pytest.mark.parametrize("name", ["flow.json", "body.json", "a.png", "b.webp", "both.png"])
def test_every_kind_of_file(tmp_path, name):
    path, workflow = tmp_path / name, json.loads(FLOW.read_text())
    picture = Image.new("RGB", (4, 4))
    if name == "flow.json":
        path.write_text(json.dumps(API), encoding="utf-8-sig")
    elif name == "body.json":
        path.write_text(json.dumps({"prompt": API, "client_id": "x"}))
    elif name == "b.webp":
        exif = picture.getexif()
        exif[0x010F] = f"Workflow:{json.dumps(workflow)}"
        exif[0x0110] = f"prompt:{json.dumps(API)}"
        picture.save(path, exif=exif)
    else:
        texts = PngImagePlugin.PngInfo()
        texts.add_text("workflow", json.dumps(workflow))
        if name == "both.png":
            texts.add_itxt("prompt", json.dumps(API))
        picture.save(path, pnginfo=texts)
    found = read_flow(path)
    assert found == (workflow if name == "a.png" else API)
    assert load(path).path == path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "is neither JSON nor a PNG or WebP that carries one"),
        (b"[1]", "has neither nodes nor"),
        (b"{}", "has neither nodes nor"),
        (b'{"1": {"class_type": 3, "inputs": {}}}', "has neither nodes nor"),
        (b"\x89PNG\r\n\x1a\nbroken", "cannot be read as a picture"),
        (b"[" * 100_000, "is neither JSON"),
        (b"\xff\xfe\x00", "is neither JSON"),
    ],
)
def test_files_that_are_none(tmp_path, content, words):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        load(tmp_path / "x")


def test_files_that_are_not_there_or_carry_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no workflow at"):
        load(tmp_path / "none.json")
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    with pytest.raises(ValueError, match="carries no workflow: give the JSON file"):
        load(tmp_path / "plain.png")


def test_nodes_are_found_by_id_title_and_type():
    found = graph()
    found.nodes["2"]["_meta"] = {"title": "v. 1.5 = worse"}
    assert [found.find(name) for name in ("2", "v. 1.5 = worse", "PriorSRDegrade")] == ["2", "2", "2"]
    found.set("v. 1.5 = worse.degradation.scale", "3.5")
    assert found.nodes["2"]["inputs"]["degradation.scale"] == 3.5
    found.nodes["4"] = {"class_type": "PriorSRDegrade", "inputs": {}, "_meta": {"title": "v. 1.5 = worse"}}
    for name in ("PriorSRDegrade", "v. 1.5 = worse"):
        with pytest.raises(ValueError, match=r"2 nodes have the (type|title) .*: give an id, 2 or 4"):
            found.find(name)
    with pytest.raises(ValueError, match="did you mean PriorSRDegrade"):
        found.find("PriorSRDegrad")


def test_a_choice_brings_its_own_inputs_and_takes_those_of_the_other():
    inputs = graph().set("2.degradation", "noise").set("2.degradation.amount", 3).nodes["2"]["inputs"]
    nested = {name: value for name, value in inputs.items() if name.startswith("degradation")}
    own = {"degradation.kind": "gaussian", "degradation.amount": 3, "degradation.grey": False}
    assert nested == {"degradation": "noise", **own}


def test_what_is_set_is_not_linked_any_more():
    found = graph()
    found.nodes["2"]["inputs"]["seed"] = ["1", 0]
    assert found.set("2.seed", "12").nodes["2"]["inputs"]["seed"] == 12


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("2.seed", "-1", r"node 2 \(Degrade Image\): seed -1 is outside 0"),
        ("2.seed", "x", "seed 'x' is not a whole number"),
        ("2.seed", 1.5, "seed 1.5 is not a whole number"),
        ("2.degradation.scale", "nan", "scale nan is not a number"),
        ("2.degradation.scale", 65, r"scale 65 is outside 1.0 \.\. 64.0"),
        ("2.vary", "maybe", "vary 'maybe' is not true or false"),
        ("2.degradation", "worse", "degradation has no choice 'worse': choose from bicubic, face"),
        ("2.sede", 1, r"has no input 'sede': did you mean seed\?"),
        ("2.image", "a.png", "image takes a link of IMAGE, not a value"),
        ("seed", 1, "'seed' is not NODE.INPUT"),
        ("7.seed", 1, "there is no node '7'"),
    ],
)
def test_what_cannot_be_set_is_one_sentence(name, value, words):
    with pytest.raises(ValueError, match=words) as caught:
        graph().set(name, value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda n: n["2"]["inputs"].pop("image"), "node 2 (Degrade Image): image is not connected"),
        (lambda n: n["2"]["inputs"].pop("seed"), "node 2 (Degrade Image): seed has no value"),
        (lambda n: n["2"]["inputs"].update(image=["7", 0]), "image comes from node 7, which there is not"),
        (lambda n: n["2"]["inputs"].update(image=["1", 5]), "image comes from output 5 of node 1"),
        (
            lambda n: n["2"]["inputs"].update(image=["1", 1]),
            "image takes IMAGE, and node 1 (Load Image) gives",
        ),
        (lambda n: n["2"]["inputs"].update(sead=1), "has no input 'sead': did you mean seed?"),
        (lambda n: n["2"]["inputs"].update(seed=2**64), "seed 18446744073709551616 is outside"),
        (lambda n: n["2"].update(class_type="Alien"), "node 2 is of the kind Alien"),
        (lambda n: n.pop("3"), "no node saves or shows anything"),
        (lambda n: n["2"]["inputs"].update(image=["2", 0]), "links go in a circle"),
    ],
)
def test_what_keeps_a_graph_from_running(change, words):
    found = graph()
    assert found.problems(anything) == []
    change(found.nodes)
    assert any(words in text for text in found.problems(anything)), found.problems(anything)


def test_missing_files_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIORSR_MODELS", str(tmp_path))
    (tmp_path / "mine.pt").write_bytes(b"x")
    found = load({"1": {"class_type": "PriorSRUpscaleSRCNN", "inputs": {"weights": "mine.pt"}}})
    about = lambda: [text for text in found.problems(known_offline) if "weights" in text]  # noqa: E731
    assert about() == []
    found.nodes["1"]["inputs"]["weights"] = "other.pt"
    assert "names 'other.pt', and there is no such file: put it into models/priorsr" in about()[0]
    assert any("names 'a.png'" in text for text in graph().problems(known_offline))


def test_inputs_tell_types_limits_and_values():
    rows = {(row["node"], row["input"]): row for row in graph().inputs()}
    assert rows["2", "degradation.scale"] | {"title": ""} == {
        "node": "2",
        "title": "",
        "kind": "PriorSRDegrade",
        "input": "degradation.scale",
        "type": "FLOAT",
        "value": 2.0,
        "min": 1.0,
        "max": 64.0,
    }
    assert rows["2", "degradation"]["choices"][0] == "bicubic"
    assert rows["1", "image"]["files"] == "input"


def test_definitions_of_a_server():
    spec = {
        "required": {
            "picture": [["a.png"], {"image_upload": True}],
            "mode": ["COMBO", {"options": ["x", "y"], "default": "y"}],
            "tiles": ["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "on", "inputs": {"required": {}}}]}],
            "text": ["STRING", {"forceInput": True}],
        },
        "optional": {"steps": ["INT", {"min": 1, "max": 9}]},
    }
    told = {"input": spec, "output": ["IMAGE", ["a", "b"]], "output_is_list": [False, True]}
    found = from_object_info({"N": {**told, "output_node": True, "display_name": "Name"}})["N"]
    assert [(one["id"], one["type"]) for one in found["inputs"]] == [
        *[("picture", "COMBO"), ("mode", "COMBO"), ("tiles", "COMFY_DYNAMICCOMBO_V3"), ("text", "STRING")],
        ("steps", "INT"),
    ]
    assert found["inputs"][3]["socket"]
    assert found["inputs"][4]["optional"]
    assert found["outputs"][1] == {"id": "['a', 'b']", "type": "COMBO", "name": "['a', 'b']", "list": True}
    assert not misfit(found["inputs"][0], "a.png", lambda folder, name: False)
    assert misfit(found["inputs"][0], "b.png", lambda folder, name: False)


def test_from_python():
    flow = priorsr.graph.load(FLOW).set("2.scale", 3)
    result = flow.set("5.scale", 2).run(Image.new("RGB", (20, 16), (200, 90, 40)), engine=None)
    assert tuple(result.picture.pixels.shape) == (1, 3, 48, 60)
    assert result.texts["6"][0].startswith("PSNR")
    with pytest.raises(ValueError, match="loads no picture: choose from 1"):
        flow.run(Image.new("RGB", (4, 4)), into="3")
