"""Frames of a batch are worked one by one: beyond pictures and results, eight need the memory of two."""

from __future__ import annotations

import pytest
from test_upscale import DIFFSR, DPI, DPS, EDM, GUIDED, SRDG
from torch import Tensor

from priorsr.methods.memory import peak_bytes
from priorsr.methods.registry import methods

COPIES = 4  # of a picture and its result that a node may hold: given, in planes, each alone, joined
QUICK = ("UpscaleBicubic", "UpscaleNoPrior", "UpscaleSRCNN")
TINY = {"prior": "tiny_adm.safetensors", "respacing": "2"}
CASES = {
    "UpscaleBicubic": {},
    "UpscaleNoPrior": {},
    "UpscaleSRCNN": {},
    "UpscaleClean": {},
    "UpscaleDPS": DPS,
    "UpscaleEDMDPS": EDM,
    "UpscaleGuided": GUIDED,
    "UpscaleDiffSR": DIFFSR,
    "UpscaleDPI": DPI,
    "UpscaleSRDG": SRDG,
    "UpscaleDDRM": TINY,
    "UpscaleDDNM": TINY,
    "UpscaleILVR": TINY,
    "UpscaleRePaint": TINY,
}
OTHERS = {"UpscaleModel", "UpscaleStableSR"}  # of a file of one's own, and of models that only hosts run
FACES = {"RestoreFaces": {"method": "srcnn"}, "CodeFormer": {}, "RestoreAlignedFace": {"batch": 1}}


def test_every_method_is_among_them():
    assert {one.node_id.removeprefix("PriorSR") for one in methods().values()} == {*CASES, *OTHERS}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in CASES]
)
def test_upscaling_eight_frames_needs_the_memory_of_two(pack, photograph, name):
    check(pack, name, photograph[:, 40:50, 48:58], {"scale": 2.0} | CASES[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", FACES)
def test_restoring_the_faces_of_eight_frames_needs_the_memory_of_two(pack, photograph, name):
    given = dict(FACES[name])
    if name == "RestoreAlignedFace":
        (given["codeformer"],) = pack.run("LoadCodeFormer", codeformer="codeformer.safetensors")
    check(pack, name, photograph, given)


def check(pack, name: str, frame: Tensor, given: dict) -> None:
    pack.run(name, image=frame, **given)  # what is read once and kept
    peaks, one = {}, 0
    for count in (2, 8):
        frames, made = frame.expand(count, -1, -1, -1).contiguous(), []

        def run(frames: Tensor = frames, made: list = made) -> None:
            made.append(pack.run(name, image=frames, **given)[0])

        peaks[count] = peak_bytes(run, "cpu")
        one = frames[0].nbytes + made[0][0].nbytes
        assert len(made[0]) == count
    assert peaks[2] > 2 * one
    assert peaks[8] - peaks[2] <= 6 * COPIES * one, (peaks, one)
