"""Runs that are cancelled: what they leave loaded, and that the host goes on."""

from __future__ import annotations

import time

import pytest
from graphs import (
    classifier,
    defaults,
    load,
    node,
    pixels,
    result,
    sampler,
    save,
    toward,
    upscale,
)

pytestmark = pytest.mark.host


def loaded(host, kept=()):
    """What the host holds, while it keeps the nodes of a graph by those keys."""
    graph, keys = kept or ({}, ())
    return host.run({"99": node("ProbeLoaded"), **{key: graph[key] for key in keys}})["99"]["text"]


def cancelled(host, graph, model):
    """Interrupt a graph once it has a model loaded and runs."""
    began, prompt = len(host.log()), host.start(graph)
    end = time.monotonic() + 60
    while f"Requested to load {model}" not in host.log()[began:] and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(1)
    host.post("/interrupt", {})
    entry = host.wait(prompt)
    assert f"Requested to load {model}" in host.log()[began:]
    assert any(message[0] == "execution_interrupted" for message in entry["status"]["messages"]), host.error(
        entry
    )


def test_cancel_leaves_nothing_loaded_that_was_not_before(host, definitions):
    small = {
        "1": load(),
        "2": node("ImageScale", image=["1", 0], upscale_method="area", width=24, height=24, crop="disabled"),
    }
    given = {"image": ["2", 0], "scale": 4.0, "tile": 32, "overlap": 8, "respacing": "1000"}
    upsampler = {
        "prior": "tiny_upsampler.safetensors",
        "classifier": "tiny_classifier.safetensors",
        "label": 1,
    }
    host.post("/free", {"unload_models": True, "free_memory": True})
    while loaded(host):  # of the tests before
        time.sleep(0.2)
    posterior = {"prior": "tiny_adm.safetensors"}
    for name, change, model in (
        ("PriorSRUpscaleGuided", upsampler, "ADMClassifier"),
        ("PriorSRUpscaleDPS", posterior, "ADMUNet"),
    ):
        cancelled(
            host,
            small | {"3": defaults(definitions, name, **given, **change), "9": save(["3", 0], "never")},
            model,
        )
        assert loaded(host) == []

    more = {"30": classifier(), "31": toward(1)}
    plain, guided = (
        pixels(sampler("ddpm"), size=(48, 48), prefix="plain"),
        pixels(sampler("ddpm", ["31", 0]), size=(48, 48), prefix="guided", **more),
    )
    guided["7"]["inputs"]["respacing"] = "1000"
    host.run(plain | {"30": more["30"]})  # the host itself keeps the prior from here on
    kept = guided, ("3", "4", "30")
    before = loaded(host, kept)
    assert "PixelModel" in before
    assert "ADMClassifier" not in before
    cancelled(host, guided, "ADMClassifier")
    assert loaded(host, kept) == before
    guided["7"]["inputs"]["respacing"] = "3"
    host.run(guided)  # a run that ends leaves the classifier to the host, as it does its own models
    before = loaded(host, kept)
    assert "ADMClassifier" in before
    guided["7"]["inputs"]["respacing"] = "1000"
    prompt = host.start(guided)
    time.sleep(2)
    host.post("/interrupt", {})
    host.wait(prompt)
    assert loaded(host, kept) == before
    assert "memory leak" not in host.log()


pytestmark = pytest.mark.host


def test_cancel_stops_between_tiles_and_the_host_goes_on(host):
    graph = {
        "1": load(),
        "2": upscale(["1", 0], 16.0, tile=16, channels="rgb"),
        "3": upscale(["2", 0], 4.0, tile=64),
        "9": save(["3", 0], "never"),
    }
    prompt = host.start(graph)
    time.sleep(3)
    began = time.monotonic()
    host.post("/interrupt", {})
    entry = host.wait(prompt)
    assert time.monotonic() - began < 20
    assert any(message[0] == "execution_interrupted" for message in entry["status"]["messages"]), host.error(
        entry
    )
    assert (
        result(host, {"1": load(), "2": upscale(["1", 0], 3.0), "9": save(["2", 0], "after")}).pixels.shape[
            -1
        ]
        == 363
    )
