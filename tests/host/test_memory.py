"""How much memory the nodes ask the host for; needs no host."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from tiny_checkpoints import tiny, tiny_corrector


@pytest.mark.parametrize("name", ["tiny_adm", "tiny_edm", "tiny_classifier", "tiny_corrector"])
def test_what_a_gradient_keeps_is_counted_without_computing(root, name):
    spec = importlib.util.spec_from_file_location("memory", root / "methods" / "memory.py")
    memory = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(memory)
    pictures = 2 if name == "tiny_corrector" else 1  # a corrector sees two
    network, kept = tiny_corrector(3) if pictures == 2 else tiny(name), {}
    own = {p.untyped_storage().data_ptr() for p in (*network.parameters(), *network.buffers())}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        x, *more = (torch.rand(2, 3, 16, 16, requires_grad=True) for _ in range(pictures))
        network(x, torch.ones(2), *more)
    expected = sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in own)
    assert memory.gradient_bytes(network, (2, 3, 16, 16), pictures) == pytest.approx(expected, rel=0.2)
    with torch.inference_mode():  # in which the host runs nodes
        assert memory.gradient_bytes(network, (2, 3, 16, 16), pictures) == pytest.approx(expected, rel=0.2)
