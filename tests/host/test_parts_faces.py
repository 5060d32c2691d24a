"""Faces in real graphs: the detector and the prior that ship, and CodeFormer and ParseNet with random
weights.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import torch
from face_graphs import FEW, LEFT, SIDE, SRDG, TOP, found, mask, outside, report, restored, run
from graphs import defaults, failure, load, node, resized, result, save
from host_server import interpreter
from small_workflows import small

from priorsr.methods.faces.masks import CLASSES
from priorsr.methods.graph.definitions import from_object_info
from priorsr.methods.imaging.images import read

pytestmark = [pytest.mark.host, pytest.mark.usefixtures("scenes")]
PARTS = {"kind": "parts", "kind.parts": ", ".join(CLASSES), "kind.parser": "parsing_parsenet"}


def test_faces_are_found_drawn_and_told(host, definitions):
    graph = found(definitions, "two.png") | {
        "6": node("PreviewAny", source=["2", 3]),
        "7": node("PreviewAny", source=["2", 2]),
    }
    outputs = host.run(graph | {"9": save(["2", 1], "overlay")})
    assert outputs["7"]["text"][0] == "2"
    assert "2 faces" in outputs["6"]["text"][0]
    drawn = read(host.image(outputs["9"]["images"][0])).pixels
    assert (drawn - read(host.base / "input" / "two.png").pixels).abs().max() > 0.5
    none = found(definitions, "example.png") | {"6": node("PreviewAny", source=["2", 3])}
    assert "no faces" in report(host, none)
    one = found(definitions, "two.png", which="1") | {"6": node("PreviewAny", source=["2", 3])}
    assert "1 face\n" in report(host, one)


@pytest.mark.parametrize(
    "kind", [{"kind": "box"}, {"kind": "hull", "kind.spread": 2.0}, PARTS], ids=lambda k: k["kind"]
)
def test_masks_lie_on_the_face(host, definitions, kind):
    pixels = result(host, found(definitions) | mask(definitions, kind)).pixels[:, :1]
    inside = pixels[..., TOP : TOP + SIDE, LEFT : LEFT + SIDE]
    assert inside.mean() > 0.1
    if kind["kind"] == "parts":  # all of them, which make the whole aligned square, larger than the portrait
        assert inside.min() > 0.99
        assert pixels.mean() < 0.9
        return
    assert pixels.sum() == pytest.approx(inside.sum().item())
    wider = result(host, found(definitions) | mask(definitions, kind, grow=3)).pixels[:, :1]
    assert (wider >= pixels - 1 / 255).all()
    assert wider.sum() > 1.1 * pixels.sum()
    soft = result(host, found(definitions) | mask(definitions, kind, feather=4.0)).pixels[:, :1]
    assert ((soft > 0.1) & (soft < 0.9)).sum() > ((pixels > 0.1) & (pixels < 0.9)).sum()


def test_what_is_outside_is_filtered_and_the_face_kept(host, definitions):
    base = found(definitions) | mask(definitions, {"kind": "box"})
    source = read(host.base / "input" / "scene.png").pixels
    covered = result(host, base).pixels[:, :1].expand(-1, 3, -1, -1) == 1
    for filters in ({"filters": "released"}, {"filters": "paper"}):
        done = result(
            host,
            base
            | {
                "5": node("PriorSREnhanceOutside", image=["1", 0], mask=["3", 0], **filters),
                "9": save(["5", 0], "outside"),
            },
        )
        assert torch.equal(done.pixels[covered], source[covered])
        assert (done.pixels - source)[~covered].abs().max() > 2 / 255
    lonely = {
        "1": load(),
        "7": load("alpha.png"),
        "5": node("PriorSREnhanceOutside", image=["1", 0], mask=["7", 1], filters="released"),
    }
    assert result(host, lonely | {"9": save(["5", 0], "other")}).pixels.shape[-2:] == (95, 121)


@pytest.mark.parametrize(
    "method",
    [
        FEW,
        {
            "method": "dpi",
            "method.prior": "face64",
            "method.corrector": "none",
            "method.preset": "auto",
            "method.dpi_steps": 2,
            "coarse": 4.0,
        },
        {"method": "srdg", **SRDG, "coarse": 8.0},
        {"method": "srcnn", "method.size": 192},
    ],
    ids=lambda m: m["method"],
)
def test_every_method_restores_the_face_alone(host, definitions, method):
    graph = restored(definitions, "PriorSRRestoreFaces", scale=1.0, **method)
    source = read(host.base / "input" / "scene.png").pixels
    done, said = run(host, graph)
    assert torch.equal(outside(done), outside(source))
    assert (done - source).abs().max() > 8 / 255
    assert "1 of 1 faces restored" in said


def test_srdg_pulls_every_face_towards_attributes(host, definitions):
    judge = node("PriorSRLoadAttributeClassifier", classifier="tiny_gender.safetensors", attribute="")
    wish = {"method.classifier": "tiny_happy.safetensors", "method.attributes": "happy=1", "method.h": 200.0}
    both = {**wish, "method.attributes": "happy=1, gender=male", "classifiers": ["7", 0]}
    done = {}
    for name, settings in {"none": {}, "happy": wish, "both": both}.items():
        graph = restored(
            definitions, "PriorSRRestoreFaces", **{"method": "srdg", **SRDG, "coarse": 8.0, **settings}
        )
        done[name], said = run(host, graph | ({"7": judge} if name == "both" else {}))
        expected = {
            "none": ["no attribute"],
            "happy": ["happy: happy (of"],
            "both": ["happy: happy (of", "gender: male (of"],
        }[name]
        assert all(words in said for words in expected)
    assert len({x.numpy().tobytes() for x in done.values()}) == 3
    unknown = {"method": "srdg", **SRDG, "method.attributes": "happy=1"}
    assert "no classifier tells 'happy'" in failure(
        host, restored(definitions, "PriorSRRestoreFaces", **unknown)
    )


def test_an_upscale_model_enlarges_what_lies_behind(host, definitions):
    probe = {"8": node("ProbeUpscaleModel")}  # which repeats pixels four times over
    graph = restored(definitions, "PriorSRRestoreFaces", scale=4.0, upscale_model=["8", 0], **FEW) | probe
    done, said = run(host, graph)
    plain = read(host.base / "input" / "scene.png").pixels.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert torch.equal(outside(done), outside(plain))
    assert (done - plain).abs().max() > 8 / 255
    assert "1 of 1 faces restored" in said
    smaller = restored(definitions, "PriorSRCodeFormer", scale=2.0, upscale_model=["8", 0]) | probe
    assert result(host, smaller).pixels.shape[-2:] == (240, 300)
    both = (
        restored(
            definitions, "PriorSRRestoreFaces", background=["1", 0], upscale_model=["8", 0], scale=1.0, **FEW
        )
        | probe
    )
    assert "connect one of the two" in failure(host, both)


def test_found_faces_and_a_background_are_used(host, definitions):
    larger = resized("scale", method="nearest", scale=2.0)
    given = {"faces": ["2", 0], "background": ["8", 0], "scale": 1.0, **FEW}
    graph = (
        found(definitions, "two.png", which="0")
        | restored(definitions, "PriorSRRestoreFaces", "two.png", **given)
        | {"8": larger}
    )
    done = result(host, graph).pixels
    plain = read(host.base / "input" / "two.png").pixels.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(done[..., 300:], plain[..., 300:])
    assert not torch.equal(done[..., :300], plain[..., :300])
    other = {
        "7": load("scene.png"),
        "5": node("PriorSRRestoreFaces", **graph["5"]["inputs"] | {"image": ["7", 0]}),
    }
    assert "give the images in which they were found" in failure(host, graph | other)


def test_pictures_without_faces_and_large_faces_are_left(host, definitions):
    graph = restored(definitions, "PriorSRRestoreFaces", "example.png", **FEW)
    done, said = run(host, graph)
    assert "no face found, unchanged" in said
    assert torch.equal(done, read(host.base / "input" / "example.png").pixels)
    huge = restored(definitions, "PriorSRRestoreFaces", **{"method": "srcnn", "method.size": 32})
    assert "take it as coarser to restore it anyway" in report(host, huge)


@pytest.mark.parametrize(
    "change", [{}, {"w": 0.0}, {"half": True}, {"mask": "parse"}, {"scale": 1.5}], ids=str
)
def test_codeformer_restores_whole_pictures(host, definitions, change):
    graph = restored(definitions, "PriorSRCodeFormer", **change)
    done, said = run(host, graph)
    source = read(host.base / "input" / "scene.png").pixels
    if "scale" in change:
        assert done.shape[-2:] == (180, 225)
        return
    assert (done - source).abs().max() > 8 / 255
    assert "1 of 1 faces restored" in said
    assert torch.equal(done[..., :2], source[..., :2])


def test_identities_are_told_where_the_host_has_the_recogniser(host, definitions):
    ask = (
        "from importlib.util import find_spec; raise SystemExit(not all(map(find_spec, ('dlib', "
        "'face_recognition_models'))))"
    )
    can = (
        subprocess.run([interpreter(Path(os.environ["COMFYUI_PATH"])), "-c", ask], check=False).returncode
        == 0
    )
    said = report(host, restored(definitions, "PriorSRCodeFormer", w=1.0))
    assert bool(re.search(r"face 0: restored.*, identity distance \d\.\d{3}", said)) == can


def test_aligned_faces_of_a_batch_are_restored_one_by_one(host, definitions):
    graph = {
        "1": load("scene.png"),
        "2": node("RepeatImageBatch", image=["1", 0], amount=3),
        "3": defaults(definitions, "PriorSRLoadCodeFormer", codeformer="codeformer"),
        "5": defaults(definitions, "PriorSRRestoreAlignedFace", codeformer=["3", 0], image=["2", 0], batch=2),
        "9": save(["5", 0], "aligned"),
    }
    images = [read(host.image(image)).pixels for image in host.run(graph)["9"]["images"]]
    assert [tuple(x.shape) for x in images] == [(1, 3, 64, 64)] * 3
    for other in images[1:]:
        torch.testing.assert_close(other, images[0], rtol=0, atol=1.5 / 255)


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        (
            "PriorSRRestoreFaces",
            {**FEW, "detector": "retinaface"},
            "detection_Resnet50_Final.pth is missing: put it into models/priorsr",
        ),
        (
            "PriorSRRestoreFaces",
            {**FEW, "detector": "tiny_adm.safetensors"},
            "holds RetinaFace or MTCNN weights",
        ),
        ("PriorSRRestoreFaces", {**FEW, "which": "3"}, "there is no face 3"),
        ("PriorSRRestoreFaces", {**FEW, "which": "all"}, "does not number faces"),
        ("PriorSRRestoreFaces", {**FEW, "coarse": 1.0}, "coarse 1 is outside"),
        ("PriorSRRestoreFaces", {"method": "gan"}, "choose one of diffsr, dpi, srdg, srcnn"),
        ("PriorSRCodeFormer", {"codeformer": "tiny_adm.safetensors"}, "choose a file that holds CodeFormer"),
    ],
)
def test_mistakes_are_explained(host, definitions, kind, change, words):
    assert words in failure(host, restored(definitions, kind, **change))


def test_a_mask_of_unknown_parts_is_explained(host, definitions):
    graph = found(definitions) | mask(definitions, {**PARTS, "kind.parts": "skin, beard"})
    assert "there is no part 'beard'" in failure(host, graph)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("restore_faces_in_photo", "1 of 1 faces restored"),
        ("codeformer_photo", "1 of 1 faces restored"),
        ("face_masks", "1 face"),
    ],
)
def test_example_workflows_run_on_a_photograph(host, definitions, name, words):
    graph = small(name, from_object_info(definitions))
    (loader,) = graph.loaders()
    graph.nodes[loader]["inputs"]["image"] = "scene.png"
    outputs = host.run(graph.nodes)
    images = [image for output in outputs.values() for image in output.get("images", [])]
    assert images
    assert all(read(host.image(image)).pixels.std() > 0.01 for image in images)
    # CodeFormer of random weights leaves no face behind that a detector after it would find
    texts = [output["text"][0] for output in outputs.values() if "text" in output]
    assert any(words in text for text in texts), texts
