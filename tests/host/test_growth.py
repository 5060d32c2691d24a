"""A server that runs for weeks: what the same workflow leaves behind, queued again and again.

PRIORSR_RUNS is how many runs are queued (200), PRIORSR_WORKFLOWS which workflows (a quick one).
"""

from __future__ import annotations

import os
import sys

import pytest
import torch
from graphs import node
from small_workflows import WORKFLOWS, small

from priorsr.methods.graph.definitions import from_object_info
from priorsr.methods.graph.graph import SAMPLE
from priorsr.methods.imaging.images import Picture, read, write

pytestmark = [
    pytest.mark.host,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]
RUNS, WARM = int(os.environ.get("PRIORSR_RUNS", "200")), 10
MOST = 5_000_000  # bytes
NAMES = os.environ.get("PRIORSR_WORKFLOWS", "srcnn_upscale").split()


def left(host) -> tuple[int, int]:
    """Tensors and bytes of the host without the results and the records that it keeps by its own design."""
    host.post("/history", {"clear": True})
    host.post("/free", {"free_memory": True, "unload_models": False})
    for _ in range(2):  # the host frees at the latest after a run, the first
        tensors, size = host.run({"1": node("ProbeMemory")})["1"]["text"]
    return int(tensors), int(size)


def ran_again(host, graph: dict, key: str) -> None:
    """Run a graph, whose results must not be those that the host has kept."""
    entry = host.wait(host.start(graph), 600)
    assert entry["status"]["status_str"] == "success", host.error(entry)
    kept = [told["nodes"] for kind, told in entry["status"]["messages"] if kind == "execution_cached"]
    assert all(key not in nodes for nodes in kept)


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_that_is_queued_again_and_again_leaves_nothing(host, definitions, name):
    assert name in WORKFLOWS
    graph = small(name, from_object_info(definitions))
    for key in [key for key, one in graph.nodes.items() if one["class_type"] == SAMPLE]:
        graph.load_in_place_of(key)
    (loader,) = graph.loaders()
    graph.nodes[loader]["inputs"]["image"] = "again.png"
    pixels = read(host.base / "input" / "portrait.png").pixels[..., 64:128, 64:128]
    draw, counts = torch.Generator().manual_seed(0), {}
    for number in range(1, RUNS + 1):
        pixels[..., :2, :2] = torch.rand(2, 2, generator=draw)  # else the host would give what it has
        write(Picture(pixels), host.base / "input" / "again.png", overwrite=True)
        ran_again(host, graph.nodes, loader)
        if number in (WARM, RUNS):
            counts[number] = left(host)
    (tensors, size), (later, more) = counts[WARM], counts[RUNS]
    said = [f"{held} tensors and {used / 1e6:.1f} MB" for held, used in counts.values()]
    print(f"{name}: {said[0]} after {WARM} runs, {said[1]} after {RUNS}")
    assert later <= tensors, counts
    assert more - size < MOST, counts
