"""One ComfyUI server for the whole run; COMFYUI_PATH is its checkout, HOST_PYTHON the interpreter that can
run it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from face_graphs import LEFT, SIDE, TOP
from graphs import latent, node
from host_server import serve
from stablesr_graphs import BASE, sd
from tiny_checkpoints import MISFITS, corrector

from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import resize

PACK = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def host(tmp_path_factory):
    if not os.environ.get("COMFYUI_PATH"):
        pytest.skip("COMFYUI_PATH is not set")
    server = serve(os.environ["COMFYUI_PATH"], tmp_path_factory.mktemp("host") / "base")
    yield server
    server.close()


@pytest.fixture(scope="session")
def definitions(host):
    return host.get("/object_info")


@pytest.fixture(scope="module")
def models(host):
    """Where the files of the tiny checkpoint and of StableSR lie, by their names."""
    folder = host.base / "models"
    return lambda name: str(folder / ("checkpoints" if name == BASE else "priorsr") / name)


@pytest.fixture(scope="module")
def lr(host):
    """The latent of the picture that StableSR's graphs restore."""
    graph = sd() | {"9": node("SaveLatent", samples=["3", 0], filename_prefix="encoded")}
    return latent(host, {key: graph[key] for key in ("1", "2", "3", "9", "20")})


@pytest.fixture(scope="module")
def correctors(host):
    """Correctors that do not fit the face prior at x4, beside the one that does."""
    for name, said in {**MISFITS, "latent": {"channels": 4}}.items():
        corrector(host.base / "models" / "priorsr" / f"{name}_corrector.safetensors", **said)


@pytest.fixture(scope="session")
def scenes(host):
    """scene.png shows one face in the middle of much else, two.png two of them."""
    portrait = resize(read(PACK / "docs/sample/astronaut.png").pixels, (SIDE, SIDE)).clamp(0, 1)
    scene = torch.full((1, 3, 120, 150), 0.4)
    scene[..., TOP : TOP + SIDE, LEFT : LEFT + SIDE] = portrait
    write(Picture(scene), host.base / "input" / "scene.png")
    write(Picture(torch.cat([scene, scene], 3)), host.base / "input" / "two.png")
