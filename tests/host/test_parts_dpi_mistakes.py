"""Mistakes with DPI in real graphs, told before sampling."""

from __future__ import annotations

import json

import pytest
from dpi_graphs import parts, whole
from graphs import failure

pytestmark = pytest.mark.host


@pytest.mark.usefixtures("correctors")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"corrector": "x8_corrector.safetensors"}, "trained for x8, not x4"),
        ({"corrector": "k4_corrector.safetensors"}, "trained with k 4, not 2"),
        ({"corrector": "rgb_corrector.safetensors"}, "for 3 channels, the prior for 1"),
        ({"corrector": "raw_corrector.safetensors"}, "without EMA"),
        ({"corrector": "tiny_adm.safetensors"}, "choose a file that holds DPI corrector weights"),
        ({"preset.tau": 950.0}, "at least tau"),
        ({"preset.s": 0.0}, "s 0 is no exponent"),
        ({"preset.omega": 10.0}, "at least tau"),
        ({"k": 8, "corrector": "none"}, "give 8 or more"),
        ({"preset": "x3"}, "unknown preset"),
        ({"tile": 4}, "tile of 4 is smaller"),
    ],
)
def test_mistakes_are_explained_before_sampling(host, definitions, change, words):
    assert words in failure(host, whole(definitions, **change))


@pytest.mark.usefixtures("correctors")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chosen": "x8_corrector.safetensors"}, "trained for x8, not x4"),
        ({"chosen": "k4_corrector.safetensors"}, "trained with k 4, not 2"),
        ({"chosen": "rgb_corrector.safetensors"}, "for 3 channels, the prior for 1"),
        ({"chosen": "raw_corrector.safetensors"}, "without EMA"),
        ({"scale": 2.0, "chosen": None}, "latent of 32 x 32, the latent is 64 x 64"),
        ({"k": 3, "chosen": None}, "k 3 does not divide"),
        ({"scale": 2.0, "k": 4, "chosen": None}, "give 4 or more"),
        (
            {"strength": {"preset": "custom", "preset.tau": 10.0, "preset.s": -1.0, "preset.omega": 20.0}},
            "s -1",
        ),
    ],
)
def test_mistakes_of_the_parts_are_explained_before_sampling(host, change, words):
    graph = parts(**change)
    if words == "s -1":  # which the server refuses by itself
        assert "preset.s" in json.dumps(host.refusal(graph)["node_errors"]["7"])
    else:
        assert words in failure(host, graph)
