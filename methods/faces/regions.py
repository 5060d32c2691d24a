"""Faces by regions that others found or drew: boxes, masks, meshes of landmarks."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..imaging.resize import size_of
from .detect import Detection, Detector, DetectSettings, Faces, colours, detect, no_faces

# of a frontal face in its box: medians over 16 faces of the detector that ships, made symmetric
FRONTAL = ((0.27, 0.40), (0.73, 0.40), (0.50, 0.62), (0.29, 0.76), (0.71, 0.76))
# of MediaPipe's mesh: the corners of both eyes, the tip of the nose, the corners of the mouth, as seen
MESH = ((33, 133), (362, 263), (1,), (61,), (291,))
MESH_POINTS = 468  # without the irises, which later models add
AROUND = 0.5  # of a box, how far around it a face is looked for again
DOUBTFUL = 0.5  # lowest score of a face where somebody says that there is one
COARSE = 256  # longer side at which parts of a mask are told apart


def faces_in(
    picture: Tensor,
    boxes: Tensor,
    detector: Detector | None = None,
    settings: DetectSettings = DetectSettings(),
    known: Faces | None = None,
) -> Detection:
    """The faces of a picture 1 C H W in 0..1 whose middles lie in boxes N 4 (left, top, right, bottom).

    known: faces among which to choose, in place of a detector's. In a box without a face the detector looks
    again, closer and with less confidence; where it finds none, a frontal face is taken to fill the box,
    which the notes say. Without a detector such a box stays empty. Raises ValueError.
    """
    found = known
    if found is None:
        found = no_faces() if detector is None else detect(picture, detector, settings)[0].faces
    held = holding(boxes, found)
    faces, notes = [found[torch.nonzero(held.any(0))[:, 0]]], []
    for i in torch.nonzero(~held.any(1))[:, 0].tolist():
        closer = no_faces() if detector is None else _closer(picture, boxes[i], detector, settings)
        if not len(closer) and detector is not None:
            notes.append(f"region {i} shows no face, so a frontal one is taken to fill it")
            closer = frontal(boxes[i : i + 1])
        elif not len(closer):
            notes.append(f"region {i} holds none of the faces")
        faces.append(closer)
    every = together(faces)
    return Detection(every[(every.boxes[:, 0] + every.boxes[:, 2]).argsort(stable=True)], tuple(notes))


def holding(boxes: Tensor, faces: Faces) -> Tensor:
    """Which boxes N 4 hold the middles of which of n faces, N n."""
    middle = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    return ((middle >= boxes[:, None, :2]) & (middle <= boxes[:, None, 2:])).all(2)


def frontal(boxes: Tensor) -> Faces:
    """Upright faces seen from the front that fill boxes N 4, without a score."""
    points = torch.tensor(FRONTAL, dtype=torch.float32, device="cpu")
    corner, sides = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
    return Faces(boxes.float(), boxes.new_zeros(len(boxes)), (corner + points * sides).float())


def faces_of_meshes(boxes: Tensor, scores: Tensor, points: Tensor) -> Faces:
    """Faces by boxes N 4, scores (N,) and the points of MediaPipe's face mesh, N 468 2 or more.

    Raises ValueError.
    """
    if points.ndim != 3 or points.shape[1] < MESH_POINTS or points.shape[2] != 2:
        raise ValueError(f"a face mesh has {MESH_POINTS} points or more, not {tuple(points.shape[1:])}")
    marks = torch.stack([points[:, list(some)].mean(1) for some in MESH], 1)
    return Faces(boxes.float(), scores.float(), marks.float())


def parts(mask: Tensor) -> Tensor:
    """The boxes N 4 of the connected parts of a mask 1 1 H W where it is at least half, from left to right.

    Parts that are closer than a 256th of the longer side are one.
    """
    height, width = size_of(mask)
    step = -(-max(height, width) // COARSE)
    solid = (mask >= 0.5).float()
    coarse = F.max_pool2d(solid, step, ceil_mode=True)
    labels = torch.arange(1, coarse.numel() + 1, dtype=torch.float32, device="cpu").view_as(coarse) * coarse
    while True:  # each part gets the largest number of its pixels
        spread = F.max_pool2d(labels, 3, 1, 1) * coarse
        # the pixel of that number has a larger one by now: windings take few rounds
        spread = torch.cat([spread.new_zeros(1), spread.flatten()])[spread.long()]
        if torch.equal(spread, labels):
            break
        labels = spread
    wide = labels.repeat_interleave(step, 2).repeat_interleave(step, 3)[..., :height, :width] * solid
    boxes = []
    for label in labels.unique()[labels.unique() > 0]:
        rows, cols = torch.nonzero(wide[0, 0] == label, as_tuple=True)
        boxes.append([cols.min(), rows.min(), cols.max(), rows.max()])
    found = torch.tensor(boxes, dtype=torch.float32, device="cpu").view(-1, 4)
    return found[found[:, 0].argsort(stable=True)]


def together(some: list[Faces]) -> Faces:
    """The faces of several sets as one."""
    return Faces(*(torch.cat([getattr(f, name) for f in some]) for name in ("boxes", "scores", "landmarks")))


def _closer(picture: Tensor, box: Tensor, detector: Detector, settings: DetectSettings) -> Faces:
    """The best face whose middle lies in a box, looked for in the box and around it."""
    height, width = size_of(picture)
    reach = (box[2:] - box[:2] + 1) * AROUND
    left, top = (int(v) for v in (box[:2] - reach).floor().clamp(min=0))
    right, bottom = (int(v) for v in (box[2:] + reach).ceil())
    crop = colours(picture)[..., top : min(bottom, height), left : min(right, width)]
    if not crop.numel():
        return no_faces()
    doubtful = min(settings.confidence, DOUBTFUL)
    smallest = max(1, int((box[2:] - box[:2]).max()) // 4)
    looking = replace(settings, confidence=doubtful, smallest=smallest, order="best", which=())
    seen = detect(crop, detector, looking)[0].faces
    shift = torch.tensor([left, top], dtype=torch.float32, device="cpu")
    moved = Faces(seen.boxes + shift.repeat(2), seen.scores, seen.landmarks + shift)
    return moved[torch.nonzero(holding(box[None], moved)[0])[:1, 0]]
