"""The networks that find faces and tell their parts, and the choice among faces."""

from __future__ import annotations

import torch
from golden_cases import Case, adapter
from torch import Tensor

from priorsr.methods.faces.detect import Faces, largest, most_central
from priorsr.methods.faces.retinaface import RetinaFaceDetector, anchors
from priorsr.methods.nets.parsenet import ParseNet, ParseNetConfig
from priorsr.methods.nets.retinaface import RetinaFace


@adapter("face", "retinaface")
@torch.no_grad()
def retinaface(case: Case) -> dict[str, Tensor]:
    body = "resnet50" if "body.layer1.0.conv1.weight" in case.manifest else "mobile0.25"
    detector = RetinaFaceDetector(
        case.fill(RetinaFace(body)), case.config["conf_threshold"], case.config["nms_threshold"]
    )
    x = case.inputs["image"] - torch.tensor([104.0, 117.0, 123.0])[:, None, None]
    raw, (boxes, points, _), faces = detector.network(x), detector.decoded(x), detector.detect(x)
    return {
        "loc": raw.boxes,
        "conf": raw.chances,
        "landmarks": raw.landmarks,
        "priors": anchors(tuple(x.shape[-2:])),
        "boxes_px": boxes,
        "points_px": points.flatten(1),
        "detections": torch.cat([faces.boxes, faces.scores[:, None], faces.landmarks.flatten(1)], 1),
    }


@adapter("face", "parsenet")
@torch.no_grad()
def parsenet(case: Case) -> dict[str, Tensor]:
    c = case.config["net"]
    names = ("in_size", "out_size", "min_feat_size", "base_ch", "parsing_ch", "res_depth")
    network = case.fill(ParseNet(ParseNetConfig(*(c[name] for name in names), limits=tuple(c["ch_range"]))))
    scores, picture = network(case.inputs["x"])
    best = scores.topk(2, 1).values
    return {"logits": scores[:, :, ::2, ::2], "image": picture, "margin": best[:, 0] - best[:, 1]}


@adapter("face", "select")
def select(case: Case) -> dict[str, Tensor]:
    boxes = torch.tensor(case.config["boxes"], dtype=torch.float32)
    faces, size = (
        Faces(boxes[:, :4], boxes[:, 4], torch.zeros(len(boxes), 5, 2)),
        (case.config["h"], case.config["w"]),
    )
    return {
        "largest": torch.tensor([float(largest(faces, size))]),
        "center": torch.tensor([float(most_central(faces, size))]),
    }
