"""Found faces drawn on their picture."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..imaging.images import to_uint8
from ..imaging.strips import by_strips
from .detect import Faces, colours

BOX, POINT = (255, 160, 0), (0, 220, 255)


def overlay(picture: Tensor, faces: Faces) -> Tensor:
    """1 C H W in 0..1 as 1 3 H W with each face's box, number, score and landmarks; lines as thick as the
    picture needs.
    """
    image = Image.fromarray(to_uint8(colours(picture)[0]).permute(1, 2, 0).contiguous().cpu().numpy())
    draw, thick = ImageDraw.Draw(image), max(1, round(min(image.size) / 300))
    for i, (box, score, points) in enumerate(
        zip(faces.boxes.tolist(), faces.scores.tolist(), faces.landmarks.tolist(), strict=True)
    ):
        draw.rectangle(box, outline=BOX, width=thick)
        draw.text(
            (box[0] + 2 * thick, box[1] + 2 * thick), f"{i}: {score:.2f}", fill=BOX, font_size=12 * thick
        )
        for x, y in points:
            draw.ellipse((x - 2 * thick, y - 2 * thick, x + 2 * thick, y + 2 * thick), fill=POINT)
    drawn = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    return by_strips(lambda part: part.float() / 255, drawn)
