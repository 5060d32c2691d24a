"""Workflows of commands that restore faces: the picture of the command, or a sentence that says why not."""

from __future__ import annotations

import pytest

from priorsr.methods.cli.graph_from_command import workflow_of
from priorsr.methods.cli.main import main
from priorsr.methods.graph.definitions import carried
from priorsr.methods.imaging.images import Picture, write
from priorsr.methods.registry import methods
from priorsr.methods.samples import damaged, sample

FACES = sorted(name for name, one in methods().items() if one.faces)
NEEDS = {"dps": "prior", "edm-dps": "prior", "stablesr": "stablesr", "model": "weights"}  # files of one's own
FEW = ["--seed", "5", "--no-clean"]
WORDS = {  # more than defaults, of which some are called otherwise by the nodes
    "srcnn": ["--scale", "1.5", "--order", "largest", "--limit", "1"],
    "diffsr": ["--steps", "2", "--level", "20", "--coarse", "2", "--which", "0"],
    "dpi": ["--steps", "2", "--corrector", "none", "--preset", "x4", "--coarse", "4"],
    "srdg": [
        "--steps",
        "2",
        "--preset",
        "published",
        "--attributes",
        "beard=0",
        "--classifier",
        "attr128_beard",
        "--view",
        "tight",
        "--coarse",
        "2",
    ],
    "ddrm": ["--respacing", "2", "--strength", "0.5"],
    "clean": ["--enhance-outside", "unsharp", "--no-keep-grey"],
}


def restorer(graph: dict) -> dict:
    """The inputs of the one node that restores faces."""
    (node,) = (one for one in graph.values() if "which" in one["inputs"])
    return node["inputs"]


@pytest.mark.parametrize("method", sorted({*FACES, "codeformer"} - {*NEEDS}))
def test_every_method_has_a_workflow_whose_widgets_exist(method):
    graph = workflow_of(
        ["restore-faces", method, "photo.png", "out.png", "--which", "0", "--seed", "7"], True
    )
    (node,) = (one for one in graph.values() if "which" in one["inputs"])
    inputs = node["inputs"]
    assert inputs["which"] == "0"
    assert inputs.get("method", method) == method
    assert inputs.get("seed", 7) == 7
    known = {one["id"] for one in carried()[node["class_type"]]["inputs"]}
    assert {name.partition(".")[0] for name in inputs} <= known
    assert graph["1"]["class_type"] == "LoadImage"
    assert graph["3"]["inputs"]["images"] == ["2", 0]


@pytest.mark.parametrize("method", sorted(NEEDS))
def test_a_method_without_its_file_says_which(method):
    with pytest.raises(ValueError, match=f"{method} needs --{NEEDS[method]}: "):
        workflow_of(["restore-faces", method, "photo.png", "out.png"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--vary"], "--vary takes a seed from the file's name"),
        (["--reference", "."], "the node of diffsr has no input for --reference"),
        (["--sampler", "ddim"], "the node of diffsr has no input for --sampler"),
        (["--precision", "fp16"], "nodes compute in fp32, not in fp16"),
    ],
)
def test_what_a_node_cannot_say_is_refused(words, said):
    with pytest.raises(ValueError, match=said):
        workflow_of(["restore-faces", "diffsr", "photo.png", "out.png", *words])


def test_an_attribute_needs_its_classifier_named():
    with pytest.raises(ValueError, match="takes --attributes with a file: add --classifier"):
        workflow_of(["restore-faces", "srdg", "photo.png", "out.png", "--attributes", "beard=0"])


@pytest.mark.slow
def test_what_a_preset_decides_stands_in_the_widgets():
    command = ["restore-faces", "srdg", "photo.png", "out.png", "--preset", "published", "--steps", "9"]
    inputs = restorer(workflow_of(command, api=True))
    assert inputs["method.srdg_preset"] == "published"
    assert inputs["method.srdg_steps"] == 9
    assert inputs["method.h"] == methods()["srdg"].prepare({}, "published", {}).settings.h


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(WORDS))
def test_its_picture_is_that_of_the_command(method, tmp_path):
    picture = damaged(sample("small faces"), "old")[..., :160, 160:]
    write(Picture(picture), tmp_path / "photo.png")
    command = ["restore-faces", method, str(tmp_path / "photo.png"), str(tmp_path / "out.png")]
    command += [*FEW, *WORDS[method]]
    assert main(command) == 0
    flow = tmp_path / "flow.json"
    form = ["--api"] * (method in ("srcnn", "dpi"))
    assert main(["graph", "from-command", "--to", str(flow), *form, *command]) == 0
    assert main(["graph", "run", str(flow), "--out", str(tmp_path / "flow")]) == 0
    assert (tmp_path / "flow" / "photo.png").read_bytes() == (tmp_path / "out.png").read_bytes()
