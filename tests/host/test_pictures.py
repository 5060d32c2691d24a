"""Pictures in a running ComfyUI: any size, alpha and batches, resizing, degrading and comparing."""

from __future__ import annotations

import pytest
from graphs import load, node, resized, result, save, upscale

from priorsr.methods.imaging.images import read

pytestmark = pytest.mark.host


@pytest.mark.parametrize(("name", "channels"), [("example.png", 3), ("pixel.png", 3)])
@pytest.mark.parametrize("scale", [2.0, 2.5, 1.0])
def test_upscale_any_size(host, name, channels, scale):
    source = read(host.base / "input" / name).pixels
    picture = result(
        host, {"1": load(name), "2": upscale(["1", 0], scale, tile=64), "9": save(["2", 0], "sized")}
    )
    expected = tuple(-(-round(n * scale * 1e6) // 1_000_000) for n in source.shape[-2:])
    assert tuple(picture.pixels.shape[-2:]) == expected
    assert picture.pixels.shape[1] == channels


def test_alpha_is_carried_through(host):
    graph = {
        "1": load("alpha.png"),
        "2": node("JoinImageWithAlpha", image=["1", 0], alpha=["1", 1]),
        "3": upscale(["2", 0]),
        "9": save(["3", 0], "alpha"),
    }
    picture = result(host, graph)
    assert picture.alpha is not None
    assert tuple(picture.alpha.shape[-2:]) == (190, 242)
    assert 0.6 < picture.alpha.mean() < 0.8


def test_batches_and_quality(host):
    graph = {
        "1": load(),
        "2": node("RepeatImageBatch", image=["1", 0], amount=3),
        "3": node(
            "PriorSRDegrade",
            image=["2", 0],
            seed=4,
            vary=True,
            **{"degradation": "noise"} | noise("gaussian"),
        ),
        "4": node(
            "PriorSRImageQuality",
            image=["3", 0],
            reference=["1", 0],
            channels="rgb",
            border=0,
            when_sizes_differ="error",
        ),
        "9": save(["4", 3], "compared"),
    }
    outputs = host.run(graph)
    (report,) = outputs["4"]["text"]
    assert [line.split(":")[0] for line in report.splitlines()] == ["0", "1", "2"]
    assert len(outputs["9"]["images"]) == 3


def noise(kind, amount=20.0):
    return {"degradation.kind": kind, "degradation.amount": amount, "degradation.grey": False}


DEGRADATIONS = [
    ("bicubic", {"degradation.scale": 4.0}),
    ("face", {"degradation.level": "severe"}),
    ("real-world", {"degradation.scale": 2.0}),
    ("srdg", {"degradation.scale": 8.0}),
    (
        "blur",
        {
            "degradation.sigma": 2.0,
            "degradation.sigma_across": 0.5,
            "degradation.angle": 30.0,
            "degradation.kernel": 13,
        },
    ),
    ("ringing", {"degradation.cutoff": 1.0, "degradation.kernel": 13}),
    ("noise", noise("gaussian")),
    ("noise", noise("poisson")),
    ("noise", noise("speckle")),
    ("compression", {"degradation.codec": "jpeg", "degradation.quality": 10}),
    ("compression", {"degradation.codec": "webp", "degradation.quality": 10}),
    ("recipe", {"degradation.json": '{"name": "mine", "steps": [{"step": "Jpeg", "quality": 5}]}'}),
]


@pytest.mark.parametrize(("kind", "choice"), DEGRADATIONS, ids=lambda v: v if isinstance(v, str) else "")
def test_every_degradation_repeats_and_replays(host, kind, choice):
    def graph(seed, prefix, **replaced):
        made = {"degradation": kind, **choice, **replaced}
        return {
            "1": load(),
            "2": node("PriorSRDegrade", image=["1", 0], seed=seed, vary=False, **made),
            "3": node("PreviewAny", source=["2", 1]),
            "9": save(["2", 0], prefix),
        }

    first = host.run(graph(7, f"{kind}-a"))
    again = host.run(graph(7, f"{kind}-b"))
    pictures = [read(host.image(o["9"]["images"][0])).pixels for o in (first, again)]
    assert pictures[0].equal(pictures[1])
    recipe = first["3"]["text"][0] if "text" in first["3"] else None
    assert recipe
    replay = host.run(graph(99, f"{kind}-c") | {"2": replayed(recipe)})
    assert read(host.image(replay["9"]["images"][0])).pixels.equal(pictures[0])


def replayed(recipe):
    return node(
        "PriorSRDegrade",
        image=["1", 0],
        seed=99,
        vary=False,
        **{"degradation": "recipe", "degradation.json": recipe},
    )


@pytest.mark.parametrize(
    ("choice", "size"),
    [
        ({"to": "scale", "scale": 0.5}, (48, 61)),
        ({"to": "size", "width": 30, "height": 20}, (20, 30)),
        ({"to": "multiple", "multiple": 8}, (88, 120)),
    ],
)
def test_resize(host, choice, size):
    graph = {"1": load(), "2": resized(**choice), "9": save(["2", 0], "resized")}
    assert tuple(result(host, graph).pixels.shape[-2:]) == size


def test_sizes_that_differ_are_refused_or_resized(host):
    def graph(mode):
        return {
            "1": load(),
            "2": resized("scale", scale=0.5),
            "3": node(
                "PriorSRImageQuality",
                image=["2", 0],
                reference=["1", 0],
                channels="luma",
                border=2,
                when_sizes_differ=mode,
            ),
        }

    assert "differ in size" in host.error(host.wait(host.start(graph("error"))))
    assert "PSNR" in host.run(graph("resize reference"))["3"]["text"][0]
