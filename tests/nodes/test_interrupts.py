"""Long work without steps moves a bar to its end, and ends soon after the user cancels."""

from __future__ import annotations

import pytest
import torch

from priorsr.methods.graph import standin

FACES = {"detector": "mtcnn", "smallest": 20}
WORK = {  # what is given beside the picture, and how often work on a picture of 128 x 128 looks at the flag
    "DetectFaces": ({**FACES}, 200),
    "Degrade": ({"degradation": "real-world"}, 100),
    "ColourCorrection": ({"source": torch.rand(1, 40, 40, 3), "method": "wavelet"}, 20),
    "EnhanceOutside": ({"mask": torch.zeros(1, 128, 128)}, 10),
    "Resize": ({"to": "scale", "to.scale": 2.0}, 4),
    "ImageQuality": ({"reference": torch.rand(1, 128, 128, 3)}, 20),
    "PreClean": ({"cleaned": torch.rand(1, 128, 128, 3)}, 4),
    "ReadAttributes": ({}, 20),
    "FaceMask": ({"kind": "hull"}, 3),
    "RestoreFaces": ({"method": "srcnn", **FACES}, 200),
    "UpscaleBicubic": ({"scale": 2.0}, 10),
    "UpscaleClean": ({"scale": 1.0}, 50),
    "UpscaleSRCNN": ({"scale": 2.5}, 50),
}
# the model of the one brings the host's own bar, and the other has no steps
BARS = [name for name in WORK if name not in ("PreClean", "UpscaleBicubic")]


def given(pack, name: str, image) -> dict:
    more = dict(WORK[name][0])
    if name == "FaceMask":
        more["faces"] = pack.run("DetectFaces", image=image, **FACES)[0]
    if name == "ReadAttributes":
        more["classifiers"] = pack.run("LoadAttributeClassifier", classifier="happy64")[0]
        pack.run(name, image=image, **more)  # the host keeps them loaded from then on
    return {"image": image, **more}


@pytest.mark.parametrize("name", BARS)
@pytest.mark.parametrize("count", [1, 3])
def test_the_bar_moves_to_its_end(pack, photograph, name, count):
    moves, _ = pack.watched(name, **given(pack, name, photograph.expand(count, -1, -1, -1)))
    assert moves[-1][0] == moves[-1][1]
    assert [done for done, _ in moves] == sorted(done for done, _ in moves)
    assert len({total for _, total in moves}) == 1
    if name != "ReadAttributes":  # which sees all pictures at once
        assert moves[-1][1] >= count


@pytest.mark.parametrize("name", WORK)
def test_work_looks_at_the_flag_all_the_way(pack, photograph, monkeypatch, name):
    """It ends where it is asked to, in its first and in its last third; nothing stays loaded."""
    asked = given(pack, name, photograph)
    least = WORK[name][1]
    looks = 0

    def look():
        nonlocal looks
        looks += 1
        if looks == stop:
            raise standin.Cancelled

    monkeypatch.setattr(pack.host, "looked", look)
    stop = 0
    pack.run(name, **asked)  # what is read once and kept is looked at once
    looks = 0
    pack.run(name, **asked)
    assert looks >= least
    every = looks
    for stop in (every // 6 + 1, every - 1):
        looks, before = 0, list(pack.host.loaded)
        with pytest.raises(standin.Cancelled):
            pack.run(name, **asked)
        assert looks == stop
        assert pack.host.loaded == before


def test_pictures_without_faces_move_the_bar_too(pack):
    moves, _ = pack.watched("RestoreFaces", image=torch.full((2, 64, 64, 3), 0.5), method="srcnn")
    assert moves == [(1, 2), (2, 2)]
