"""The picture of srdg.md: tiny faces of the portrait by the network alone, and pulled towards either
expression.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from priorsr.methods.faces.crops import cut_faces
from priorsr.methods.faces.detect import detect
from priorsr.methods.faces.load import load_detector
from priorsr.methods.faces.paint import RestoreSettings
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import resize
from priorsr.methods.samples import FOLDER as SAMPLES
from priorsr.methods.srdg.attributes import attribute_targets, load_attribute
from priorsr.methods.srdg.method import PRESETS, condition, load_sr_prior, srdg_upscale

SMALL, H, SHOWN = (8, 16), 100.0, 2.0  # pixels of the small faces, strength, enlargement of the picture


@torch.no_grad()
def main(folder: Path) -> None:
    picture = read(SAMPLES / "astronaut.png").pixels[:, :3]
    prior, happy = load_sr_prior("srdg_face64"), load_attribute("happy64")
    settings = replace(PRESETS["shipped"], h=H)
    face = cut_faces(
        picture, [detect(picture, load_detector())[0].faces], RestoreSettings(size=prior.size, frame="tight")
    ).clamp(0, 1)
    rows = []
    for side in SMALL:
        low, scale = condition(face, prior.size // side).clamp(0, 1), prior.size // side
        asked = ((), *(attribute_targets([happy], {"happy": label}) for label in happy.classes))
        found = [srdg_upscale(prior, low, scale, wanted, settings, seeds=[0]) for wanted in asked]
        rows.append(torch.cat([resize(low, (prior.size, prior.size), method="nearest"), *found, face], 3))
    write(
        Picture(resize(torch.cat(rows, 2), scale=SHOWN, method="nearest").clamp(0, 1)),
        folder / "srdg_face.png",
        overwrite=True,
    )


if __name__ == "__main__":
    main(Path(__file__).parent)
