"""How long large pictures wait for an interrupt: the longest time between two looks at the host's flag.

PRIORSR_SIDE is the side of the picture (256), and PRIORSR_TABLE names a file for what is found, in seconds of
the processor on one thread: all work, looks, the longest wait.
"""

from __future__ import annotations

import asyncio
import os
import time
from itertools import pairwise

import pytest
import tiny_checkpoints
import torch

from priorsr.methods.graph import standin
from priorsr.methods.graph.standin import calling

SIDE = int(os.environ.get("PRIORSR_SIDE", "256"))
WORK = {  # a node, what it is given, and the looks that there are at least of a picture of 256 x 256
    "detect": ("DetectFaces", {"detector": "mtcnn", "smallest": 20}, 300),
    "quality": ("ImageQuality", {}, 20),
    "degrade": ("Degrade", {"degradation": "real-world"}, 100),
    "resize": ("Resize", {"to": "scale", "to.scale": 0.5}, 4),
    "enlarge": ("Resize", {"to": "scale", "to.scale": 1.5}, 4),
    "adain": ("ColourCorrection", {"method": "adain"}, 8),
    "wavelet": ("ColourCorrection", {"method": "wavelet"}, 20),
}


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    (models / "priorsr").mkdir()
    tiny_checkpoints.make(models / "priorsr")
    with standin.installed(models, "priorsr.nodes") as (host, module):
        nodes = asyncio.run(module.PriorSRExtension().get_node_list())
        yield host, {node.GET_SCHEMA().node_id: node for node in nodes}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORK)
def test_looks_come_often(host, monkeypatch, name):
    host, nodes = host
    node, given, least = WORK[name]
    draw = torch.Generator().manual_seed(0)
    image = torch.rand(1, SIDE, SIDE, 3, generator=draw)
    given = {"image": image, **given}
    if node == "ColourCorrection":
        given["source"] = image[:, ::4, ::4].clone()
    if node == "ImageQuality":
        given["reference"] = 1 - image
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    looks = [time.process_time()]
    monkeypatch.setattr(host, "looked", lambda: looks.append(time.process_time()))
    try:
        calling.execute(nodes[f"PriorSR{node}"], **given)
    finally:
        torch.set_num_threads(threads)
    looks.append(time.process_time())
    gaps = [after - before for before, after in pairwise(looks)]
    if table := os.environ.get("PRIORSR_TABLE"):
        with open(table, "a", encoding="utf-8") as file:
            file.write(f"{name} | {SIDE} | {sum(gaps):.1f} | {len(gaps)} | {max(gaps):.2f}\n")
    assert len(gaps) > least * max(1, SIDE / 256) ** 0.5
