"""Graphs of nodes with random values on the stand-in of the host, also linked ones that no widget would give.

Each node gives what its schema says or one ValueError or FileNotFoundError; no node reads a file outside the
host's folders. PRIORSR_FUZZ is how many nodes are run (60).
"""

from __future__ import annotations

import asyncio
import builtins
import io
import os
import random
import time

import pytest
import tiny_checkpoints
import torch

from priorsr.methods.graph import standin
from priorsr.methods.graph.standin import node_api

COUNT = int(os.environ.get("PRIORSR_FUZZ", "30"))
LONGEST = 60.0  # processor seconds of a node
START = {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}
EXPECTED = (ValueError, FileNotFoundError)
TEXTS = ("", "x", "happy=1", "1,2", "[[[", "{}", "../secret.safetensors", "/etc/passwd", "\0", "é", "9" * 300)
SHORT = ("step", "respac", "scale", "tile", "longest", "batch", "count", "size", "width", "height", "samples")


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    (models / "priorsr").mkdir()
    tiny_checkpoints.make(models / "priorsr")
    (models / "priorsr" / "broken.safetensors").write_bytes(b"not weights")
    (models / "secret.safetensors").write_bytes(b"a secret")
    with standin.installed(models, "priorsr.nodes") as (host, module):
        nodes = asyncio.run(module.PriorSRExtension().get_node_list())
        yield host, [node for node in nodes if "StableSR" not in node.__name__]


def pictures(dice):
    """An IMAGE of any batch, size and number of channels, or one that is none."""
    shape = (dice.choice((1, 1, 2)), dice.randrange(1, 20), dice.randrange(1, 20), dice.choice((1, 3, 3, 4)))
    x = torch.rand(shape, generator=torch.Generator().manual_seed(dice.randrange(100)))
    change = dice.random()
    if change < 0.03:
        x[0, 0, 0, 0] = float("nan")
    elif change < 0.06:
        x = x * 300
    elif change < 0.09:
        x = x[:0]
    return x


def widget(one, dice):
    """A value for an input that is no socket: of its range, its edges, or a linked one that is neither."""
    kind = one.io_type
    if one.options:
        return dice.choice(list(one.options)) if dice.random() < 0.85 else dice.choice(TEXTS)
    if kind == "STRING":
        return one.default if one.default is not None and dice.random() < 0.5 else dice.choice(TEXTS)
    if kind == "BOOLEAN":
        return dice.random() < 0.5
    if any(word in one.id for word in SHORT) and dice.random() < 0.9:
        value = dice.choice((1, 2, 2, 3, 4, 8))
        return min(max(value, one.min or 0), one.max or value)
    edges = [v for v in (one.default, one.min, one.max) if v is not None and abs(v) < 1e6] or [0]
    strange = (0, -1, 2**40) if kind == "INT" else (0.0, -1.0, float("nan"), 1e30)
    return dice.choice(edges) if dice.random() < 0.9 else dice.choice(strange)


def values(inputs, pool, dice):
    """What a node is called with, or None where nothing fits a socket."""
    given = {}
    for one in inputs:
        if one.io_type == node_api.io.DynamicCombo.io_type:
            option = dice.choice(list(one.options))
            inner = values(option.inputs, pool, dice)
            if inner is None:
                return None
            given[one.id] = {one.id: option.key, **inner}
        elif one.options or one.io_type in START:
            given[one.id] = widget(one, dice)
        elif one.io_type == "IMAGE":
            given[one.id] = pictures(dice)
        elif one.io_type == "MASK":
            given[one.id] = pictures(dice)[..., 0]
        elif pool.get(one.io_type) and (not one.optional or dice.random() < 0.5):
            given[one.id] = dice.choice(pool[one.io_type])
        elif not one.optional:
            return None
    return given


def shown(given):
    """Values in words, tensors by their shape."""
    if isinstance(given, dict):
        return {name: shown(one) for name, one in given.items()}
    return tuple(given.shape) if isinstance(given, torch.Tensor) else str(given)[:60]


def attempt(node, given):
    """A node's outputs, or what it raises."""
    try:
        with torch.inference_mode():
            return node.execute(**given).args
    except Exception as error:  # whatever it is, it is what is looked for
        return error


@pytest.fixture
def opened(monkeypatch):
    """The files that are opened."""
    names = []
    plain = io.open

    def watched(name, *rest, **more):
        names.append(str(name))
        return plain(name, *rest, **more)

    monkeypatch.setattr(io, "open", watched)
    monkeypatch.setattr(builtins, "open", watched)
    return names


@pytest.mark.filterwarnings("ignore")
def test_every_node_answers_or_says_why(host, opened):
    _, nodes = host
    pool: dict[str, list] = {}
    ran = failed = 0
    for number in range(COUNT):
        dice = random.Random(f"graph/{number}")
        node = dice.choice(nodes)
        schema = node.GET_SCHEMA()
        given = values(schema.inputs, pool, dice)
        if given is None:
            continue
        told = f"{number}: {node.__name__} {shown(given)}"
        start = time.process_time()
        answer = attempt(node, given)
        assert time.process_time() - start < LONGEST, told
        assert not [n for n in opened if "secret" in n or n == "/etc/passwd"], told
        opened.clear()
        if isinstance(answer, Exception):
            assert isinstance(answer, EXPECTED), f"{told}: {answer!r}"
            assert str(answer).strip(), told
            failed += 1
            continue
        ran += 1
        for output, one in zip(schema.outputs, answer, strict=True):
            if output.io_type == "IMAGE":
                assert one.ndim == 4, told
                assert one.shape[-1] in (3, 4), told
                assert torch.isfinite(one).all(), told
            some = pool.setdefault(output.io_type, [])
            some.append(one)
            del some[:-4]
    assert ran > COUNT // 10
    assert failed > 0
