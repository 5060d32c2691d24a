"""Faces that other nodes restore or choose: crops that come back, regions of the host."""

from __future__ import annotations

import pytest
import torch
from face_graphs import FEW, found, restored, run
from graphs import defaults, failure, node, result, save
from stablesr_graphs import one_node

from priorsr.methods.imaging.images import read

pytestmark = [pytest.mark.host, pytest.mark.usefixtures("scenes")]


def cropped(definitions, name="two.png", **more):
    """Faces cut out, and put back where "7" has restored them."""
    return found(definitions, name) | {
        "3": defaults(definitions, "PriorSRCropFaces", image=["1", 0], faces=["2", 0], size=128),
        "5": defaults(
            definitions,
            "PriorSRPasteFaces",
            image=["1", 0],
            crops=["3", 1],
            restored=["7", 0],
            parser="parsing_parsenet",
            scale=1.0,
        ),
        "6": node("PreviewAny", source=["5", 1]),
        "9": save(["5", 0], "pasted"),
        **more,
    }


def test_any_node_restores_cropped_faces(host, definitions):
    source = read(host.base / "input" / "two.png").pixels
    done, said = run(host, cropped(definitions, **{"7": node("ImageInvert", image=["3", 0])}))
    assert "2 of 2 faces restored" in said
    assert (done - source).abs().max() > 0.2
    assert torch.equal(done[..., :6, :], source[..., :6, :])
    same = result(
        host,
        cropped(
            definitions, **{"7": node("ImageScaleBy", image=["3", 0], upscale_method="bicubic", scale_by=2.0)}
        ),
    ).pixels
    assert (same - source).abs().mean() < 2 / 255
    one = node("ImageFromBatch", image=["3", 0], batch_index=0, length=1)
    assert "2 faces were cut out and 1 come back" in failure(host, cropped(definitions, **{"7": one}))
    larger = cropped(definitions, **{"7": node("ImageInvert", image=["3", 0])})
    larger["5"]["inputs"] |= {"scale": 2.0, "upscale_model": ["8", 0]}
    assert result(host, larger | {"8": node("ProbeUpscaleModel")}).pixels.shape[-2:] == (240, 600)


def test_cropping_a_picture_without_faces_goes_on(host, definitions):
    graph = cropped(
        definitions,
        "example.png",
        **{"7": node("ImageInvert", image=["3", 0]), "10": node("PreviewAny", source=["3", 2])},
    )
    outputs = host.run(graph)
    assert outputs["10"]["text"][0] == "0"
    assert "no face found, unchanged" in outputs["6"]["text"][0]
    assert torch.equal(
        read(host.image(outputs["9"]["images"][0])).pixels, read(host.base / "input" / "example.png").pixels
    )


def test_stablesr_restores_cropped_faces(host, definitions):
    upscale = one_node(definitions, tile=64, wrap=False, image=("3", 0), scale=1.0, steps=1)
    graph = upscale | cropped(definitions, "scene.png")
    graph["5"]["inputs"]["restored"] = ["13", 0]
    done, said = run(host, graph)
    assert "1 of 1 faces restored" in said
    assert (done - read(host.base / "input" / "scene.png").pixels).abs().max() > 8 / 255


def chosen(definitions, **regions):
    """Faces of two.png that regions choose, seen as the number of crops and as text."""
    return {
        **found(definitions, "two.png"),
        "50": node("PriorSRFacesFromRegions", image=["1", 0], detector="mtcnn", **regions),
        "51": node("PreviewAny", source=["50", 2]),
        "52": node("PreviewAny", source=["50", 3]),
    }


def test_a_mask_of_the_host_chooses_a_face_and_limits_what_restores(host, definitions):
    graph = chosen(definitions, mask=["54", 0])
    graph["53"] = node("SolidMask", value=0.0, width=300, height=120)
    graph["55"] = node("SolidMask", value=1.0, width=150, height=120)
    graph["54"] = node("MaskComposite", destination=["53", 0], source=["55", 0], x=150, y=0, operation="add")
    more = {"faces": ["50", 0], "clean": False, "scale": 1.0, "region": ["54", 0], "feather": 2.0, **FEW}
    graph |= restored(definitions, "PriorSRRestoreFaces", "two.png", **more)
    outputs = host.run(graph)
    assert outputs["51"]["text"] == ["1"]
    before, after = read(host.base / "input" / "two.png").pixels, read(host.image(outputs["9"]["images"][0]))
    assert torch.equal(after.pixels[..., :146], before[..., :146])
    assert not torch.equal(after.pixels[..., 154:], before[..., 154:])


def test_faces_go_to_nodes_of_the_core_and_come_back(host, definitions):
    """Bounding boxes, which hosts have since they have nodes for them."""
    if "DrawBBoxes" not in definitions:
        pytest.skip("this host has no bounding boxes")
    graph = chosen(definitions, boxes=["56", 0])
    graph["56"] = node("PriorSRFacesToRegions", faces=["2", 0], margin=2.0)
    graph["57"] = node("DrawBBoxes", image=["1", 0], bboxes=["56", 0])
    crop = {"output_width": 64, "output_height": 64, "padding": 0, "keep_aspect": "stretch"}
    graph["58"] = node("CropByBBoxes", image=["1", 0], bboxes=["56", 0], **crop)
    graph["9"], graph["10"] = save(["57", 0], "drawn"), save(["58", 0], "cropped")
    graph["61"] = node("PrimitiveBoundingBox", x=0, y=0, width=140, height=120)
    graph["62"] = node("PriorSRFacesFromRegions", image=["1", 0], detector="mtcnn", boxes=["61", 0])
    graph["63"] = node("PreviewAny", source=["62", 2])
    outputs = host.run(graph)
    assert (outputs["51"]["text"], outputs["63"]["text"]) == (["2"], ["1"])
    before, drawn = read(host.base / "input" / "two.png").pixels, read(host.image(outputs["9"]["images"][0]))
    assert (drawn.pixels - before).abs().max() > 0.3
    assert read(host.image(outputs["10"]["images"][0])).pixels.shape[-2:] == (64, 64)


def test_regions_that_are_none_are_said(host, definitions):
    both = {"mask": ["55", 0], "segs": ["56", 2]}
    graph = chosen(definitions, **both)
    graph["55"] = node("SolidMask", value=1.0, width=150, height=120)
    graph["56"] = node("PriorSRFacesToRegions", faces=["2", 0], margin=2.0)
    assert "not mask and segs: connect one" in failure(host, graph)
    del graph["50"]["inputs"]["mask"]
    assert host.run(graph)["51"]["text"] == ["2"]
