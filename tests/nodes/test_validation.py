"""Values that no widget allows but a saved graph can hold are refused with the input's name, before a run."""

from __future__ import annotations

import math
import re

import pytest

from priorsr.methods.graph.standin import calling

EVERYWHERE = "broken.safetensors"  # listed by every picker
NAMES = ("<img src=x onerror=alert(1)>", "../../secret.safetensors", "a\0b")
NUMBERS = {"INT": (2**70, -(2**70)), "FLOAT": (math.nan, math.inf, -math.inf)}


def every(inputs, given=None, prefix=""):
    """Each input with its full name and the choices that bring it."""
    for one in inputs:
        yield prefix + one.id, one, given or {}
        for option in one.options or ():
            if hasattr(option, "inputs"):
                name = prefix + one.id
                yield from every(option.inputs, {**(given or {}), name: option.key}, f"{name}.")


def wrong_values(one) -> tuple:
    if one.io_type in NUMBERS:
        return NUMBERS[one.io_type]
    return NAMES if one.io_type == "STRING" or one.options else ()


def refusal(node, name: str, value, given: dict) -> str:
    """What the host says to a value, before it looks at what is not connected."""
    try:
        calling.arguments(node, **{**given, name: value})
    except ValueError as error:
        return str(error)
    return ""


def test_every_input_of_every_node_refuses_them_by_its_name(pack):
    passed, asked = [], 0
    for node_id, node in pack.nodes.items():
        schema = node.GET_SCHEMA()
        node.GET_SCHEMA = lambda schema=schema: schema  # it lists files anew
        sockets = {one.id: None for one in schema.inputs if not wrong_values(one)}
        try:
            for name, one, given in every(schema.inputs):
                if (one.io_type == "STRING" and "." in name) or one.io_type.startswith("COMFY_DYNAMIC"):
                    continue  # choices and their texts the host shows to nobody but the node's run
                for value in wrong_values(one):
                    asked += 1
                    said = refusal(node, name, value, {**sockets, **given})
                    if one.id not in said:
                        passed.append((node_id, name, value, said))
        finally:
            del node.GET_SCHEMA
    assert asked > 1000
    assert not passed


def test_texts_that_mean_nothing_are_refused_and_meaningful_ones_pass(pack):
    wrong = {
        ("DetectFaces", "which"): ("first", "the face numbers|number faces"),
        ("GuideAttributes", "attributes"): ("happy", "no attribute with its label"),
        ("GuideAttributes", "weights"): ("happy=much", "do not give|does not give"),
        ("SigmasByRespacing", "respacing"): ("often", "keeps no steps"),
        ("LoadAttributeClassifier", "attribute"): ("a=b", "is no name"),
    }
    for (name, one), (text, words) in wrong.items():
        answer = pack.nodes[f"PriorSR{name}"].validate_inputs(**{one: text})
        assert re.match(f"{one}: .*({words})", answer), answer
    right = {
        ("DetectFaces", "which"): ("", "0, 2"),
        ("GuideAttributes", "attributes"): ("", "beard=no beard, gender=male"),
        ("GuideAttributes", "weights"): ("", "gender=2, beard=0.5"),
        ("SigmasByRespacing", "respacing"): ("", "250", "10,10", "10, 10", "ddim25"),
        ("LoadAttributeClassifier", "attribute"): ("", "gender", "no-beard 2"),
    }
    for (name, one), texts in right.items():
        for text in texts:
            assert pack.nodes[f"PriorSR{name}"].validate_inputs(**{one: text}) is True


def test_a_damaged_file_can_be_chosen_and_is_explained(pack):
    with pytest.raises(ValueError, match=EVERYWHERE):
        pack.run("LoadCFW", cfw=EVERYWHERE)


def test_a_file_of_another_kind_is_refused_with_what_it_is(pack):
    node = pack.nodes["PriorSRUpscaleDPS"]
    said = refusal(node, "prior", "tiny_edm.safetensors", {"image": None})
    assert said.startswith("prior: 'tiny_edm.safetensors' is of another kind (EDM prior: ")
    assert said.endswith("choose a file that holds ADM prior weights")
    said = refusal(node, "prior", "none.safetensors", {"image": None})
    assert said.startswith("prior: there is no weight file 'none.safetensors' in models/priorsr")


def test_linked_values_that_no_widget_gives_are_refused_when_a_node_runs(pack, photograph):
    with pytest.raises(ValueError, match="unknown method 'none': choose one of"):
        pack.linked("Resize", {"method": "none"}, image=photograph)
    noise = {"degradation": "noise", "kind": "", "amount": 10.0, "grey": False}
    with pytest.raises(ValueError, match="unknown kind '': choose one of gaussian, poisson"):
        pack.linked("Degrade", {"degradation": noise}, image=photograph)
    with pytest.raises(ValueError, match="multiple 0 is outside 1 to"):
        pack.linked("Resize", {"to": {"to": "multiple", "multiple": 0}}, image=photograph)
    with pytest.raises(ValueError, match="scale nan is outside 1 to"):
        pack.linked("UpscaleBicubic", {"scale": math.nan}, image=photograph)
