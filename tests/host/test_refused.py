"""What the host refuses before a run, by the name of the input, and what it shows on a node."""

from __future__ import annotations

import pytest
from graphs import defaults, failure, load, node, pixels, sampler, save

pytestmark = pytest.mark.host


def refused(host, graph) -> dict[str, str]:
    """What is said of each input that is refused."""
    errors = [e for one in host.refusal(graph)["node_errors"].values() for e in one["errors"]]
    return {e["extra_info"]["input_name"]: f"{e['message']} {e['details']}" for e in errors}


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("PriorSRUpscaleDiffSR", {"scale": float("nan")}, "smaller than min"),
        ("PriorSRUpscaleDiffSR", {"consistency": float("-inf")}, "smaller than min"),
        ("PriorSRUpscaleDiffSR", {"seed": 2**70}, "bigger than max"),
        ("PriorSRUpscaleDPS", {"guidance": float("inf")}, "bigger than max"),
        ("PriorSRUpscaleDPS", {"prior": "../../secret.safetensors"}, "there is no weight file"),
        ("PriorSRUpscaleDPS", {"prior": "tiny_edm.safetensors"}, "of another kind (EDM prior"),
        ("PriorSRUpscaleEDMDPS", {"prior": "tiny_adm.safetensors"}, "holds EDM prior weights"),
        ("PriorSRUpscaleDPS", {"respacing": "<img src=x>"}, "does not belong there"),
    ],
)
def test_values_that_no_widget_allows_are_refused(host, definitions, name, wrong, words):
    made = defaults(definitions, name, image=["1", 0])
    made["inputs"] |= wrong
    (one,) = wrong
    said = refused(host, {"1": load(), "2": made, "9": save(["2", 0], "no")})
    assert words in said[one], said


def test_nodes_that_patch_blocks_of_stable_diffusion_are_told_why_they_cannot(host):
    patched = {"5": node("FreeU_V2", model=["3", 0], b1=1.3, b2=1.4, s1=0.9, s2=0.2)}
    said = failure(host, pixels(sampler("ddim"), model="5", **patched))
    assert "take out the node that patches them" in said
