"""The upscale nodes and face restorers are what the registry says."""

from __future__ import annotations

import asyncio

import pytest
import torch
from seventh_method import registered

from priorsr.methods.graph.standin import calling
from priorsr.methods.registry import method_named, methods


def inputs(pack, name: str) -> dict:
    return {one.id: one for one in pack.nodes[f"PriorSR{name}"].GET_SCHEMA().inputs}


@pytest.mark.parametrize("name", list(methods()))
def test_every_method_has_its_node_with_all_of_its_settings(pack, name):
    method = methods()[name]
    found = inputs(pack, method.node_id.removeprefix("PriorSR"))
    scale = found["scale"]
    assert (scale.min, scale.max, scale.default) == tuple(
        vars(method.scales)[part] for part in ("least", "most", "default")
    )
    assert "longest" in found
    if name == "stablesr":  # runs the host's own model, and so takes sockets in place of files
        return
    nested = {one.id for option in getattr(found.get("preset"), "options", ()) for one in _inputs(option)}
    called = {"attribute_weights": "weights"} if name == "srdg" else {}
    for setting, declared in method.fields().items():
        own = called.get(setting, setting)
        assert own in found or own in nested
        if own in found:
            assert found[own].default == declared.default
    assert {one.name for one in method.weights} <= set(found)


def _inputs(option) -> list:
    return getattr(option, "inputs", [])


def test_every_method_of_faces_restores_faces(pack):
    options = {one.key: one for one in inputs(pack, "RestoreFaces")["method"].options}
    assert set(options) == {name for name, method in methods().items() if method.faces}
    asked = {one.id for one in options["stablesr"].inputs}
    assert {"stablesr", "base", "cfw", "steps", "fidelity"} <= asked
    assert not asked & {"context", "negative_context", "tokenizer"}  # files outside the host's folders


@pytest.mark.parametrize("name", ["ddrm", "blocks"])
def test_a_new_method_is_a_node_and_a_restorer_of_faces(pack, name):
    """blocks is another package's, known to this test alone."""
    with registered():
        found = asyncio.run(pack.module.PriorSRExtension().get_node_list())
        nodes = {node.GET_SCHEMA().node_id: node for node in found}
        node = nodes[method_named(name).node_id]
        done, report = calling.execute(node, image=torch.rand(1, 3, 4, 3), scale=2.0)
        assert tuple(done.shape) == (1, 6, 8, 3)
        assert ("blocks" in report) == (name == "blocks")
        asked = {one.id: one for one in nodes["PriorSRRestoreFaces"].GET_SCHEMA().inputs}
        option = next(one for one in asked["method"].options if one.key == name)
        assert ("brightness" in [one.id for one in option.inputs]) == (name == "blocks")
        given = {"image": torch.rand(1, 40, 40, 3), "method": name}
        assert "no face found" in calling.execute(nodes["PriorSRRestoreFaces"], **given)[1]
    assert "PriorSRUpscaleBlocks" not in pack.nodes
