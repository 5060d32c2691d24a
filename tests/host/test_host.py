"""The pack inside a running ComfyUI: its nodes' words, its example workflows, and values that it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from graphs import load, node, resized, save, stand_ins, to_graph, upscale
from locale_file import FILES, LOCALES, categories, english, languages

from priorsr.methods.graph.definitions import OURS
from priorsr.methods.imaging.images import read

pytestmark = pytest.mark.host
PACK = Path(__file__).resolve().parents[2]
IDS = tuple(json.loads(OURS.read_text(encoding="utf-8")))
FEW_STEPS = {
    "respacing": "4",
    "start": 1,
    "steps": 8,
}  # in place of those of the example workflows, which are meant for a GPU
ON_OTHERS = "stablesr"  # whose workflows need Stable Diffusion and run in test_parts_stablesr_node
WORKFLOWS = sorted(p for p in (PACK / "example_workflows").glob("*.json") if not p.stem.startswith(ON_OTHERS))


def test_the_pack_loads_cleanly(host, definitions):
    log = host.log()  # extras of the host whose packages are missing are not ours to judge
    assert not re.search("(?:FAILED|Cannot import).*PriorSR", log)
    assert f'File "{PACK}' not in log
    assert set(IDS) == {name for name in definitions if name.startswith("PriorSR")}


def inputs_of(specs):
    for group in ("required", "optional"):
        for name, spec in specs.get(group, {}).items():
            yield name, spec
            for option in (spec[1] if len(spec) > 1 else {}).get("options", []):
                if isinstance(option, dict):
                    yield from inputs_of(option["inputs"])


@pytest.mark.parametrize("name", IDS)
def test_every_node_explains_itself(host, definitions, name):
    definition = definitions[name]
    assert definition["description"]
    assert definition["category"].startswith("PriorSR")
    for key, spec in inputs_of(definition["input"]):
        assert len(spec) > 1, key
        assert spec[1].get("tooltip"), f"{name}.{key} has no tooltip"
    for path in (name, f"{name}/zh"):  # the first is what languages without a page of their own show
        page = host.raw(f"/extensions/PriorSR/docs/{path}.md").decode()
        assert page.startswith("# ")
        for key, _ in inputs_of(definition["input"]):
            assert f"`{key}`" in page, f"help {path} does not mention {key}"


def test_locales_cover_every_node_and_input(host, definitions):
    expected = english({name: definitions[name] for name in IDS})
    served = host.get("/i18n")
    assert json.loads((PACK / "locales/en/nodeDefs.json").read_text(encoding="utf-8")) == expected, (
        "run tools/locale_file.py"
    )
    assert {n: served["en"]["nodeDefs"][n] for n in IDS} == expected
    words = categories({name: definitions[name] for name in IDS})
    assert served["en"]["nodeCategories"].items() >= words["nodeCategories"].items()
    for language in languages():
        nodes, menus = (json.loads((LOCALES / language / name).read_text(encoding="utf-8")) for name in FILES)
        assert {n: served[language]["nodeDefs"][n] for n in IDS} == nodes
        assert served[language]["nodeCategories"].items() >= menus["nodeCategories"].items()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_example_workflows_run(host, definitions, path):
    graph = to_graph(json.loads(path.read_text(encoding="utf-8")), definitions)
    for made in graph.values():
        inputs = made["inputs"]
        inputs |= {key: few for key, few in FEW_STEPS.items() if key in inputs} | stand_ins(inputs)
        if made["class_type"] == "LoadImage" and re.search("face|photo", path.stem):
            inputs["image"] = "portrait.png"  # those need one
    outputs = host.run(graph, timeout=600)
    images = [image for output in outputs.values() for image in output.get("images", [])]
    assert images
    for image in images:
        if image["filename"].endswith(".mp4"):
            assert host.image(image).stat().st_size > 1000
        else:
            assert read(host.image(image)).pixels.std() > 0.01
    assert path.with_suffix(".jpg").exists()
    templates = host.get("/workflow_templates")
    assert path.stem in templates["PriorSR"]


@pytest.mark.parametrize(
    "change",
    [{"scale": 0.0}, {"scale": 99.0}, {"channels": "hsv"}, {"weights": "../../secret.pt"}, {"tile": -1}],
)
def test_values_out_of_range_are_refused_before_running(host, change):
    answer = host.refusal(
        {
            "1": load(),
            "2": {**upscale(["1", 0]), "inputs": {**upscale(["1", 0])["inputs"], **change}},
            "9": save(["2", 0], "x"),
        }
    )
    (error,) = answer["node_errors"]["2"]["errors"]
    assert next(iter(change)) in json.dumps(error)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (upscale(["1", 0], weights="broken.safetensors"), "broken.safetensors"),
        (upscale(["1", 0], tile=5), "tile 5 is too small"),
        (
            resized("nonsense", method="area"),
            "choose one of scale, size, multiple",
        ),
        (
            node("PriorSRDegrade", image=["1", 0], seed=0, vary=False, degradation="nonsense"),
            "unknown degradation",
        ),
        (
            node(
                "PriorSRDegrade",
                image=["1", 0],
                seed=0,
                vary=False,
                **{"degradation": "recipe", "degradation.json": "{"},
            ),
            "no JSON",
        ),
    ],
)
def test_bad_input_is_one_readable_sentence(host, bad, words):
    entry = host.wait(host.start({"1": load(), "2": bad, "9": save(["2", 0], "x")}))
    assert entry["status"]["status_str"] == "error"
    assert words in host.error(entry)
