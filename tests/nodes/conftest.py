"""The nodes on a stand-in of the host, with tiny checkpoints in its models folder, and pictures for them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import tiny_checkpoints
import torch
from PIL import Image
from torch import Tensor

from priorsr.methods.graph import standin
from priorsr.methods.graph.standin import calling

SAMPLE = Path(__file__).resolve().parents[2] / "docs" / "sample" / "astronaut.png"


class Pack:
    """The nodes by their ids without the prefix, and the host they are on."""

    def __init__(self, host: standin.Host, module):
        self.host, self.module = host, module
        self.nodes = {
            node.GET_SCHEMA().node_id: node for node in asyncio.run(module.PriorSRExtension().get_node_list())
        }

    def run(self, name: str, **given) -> tuple:
        """The outputs of a node; what is not given is at its default."""
        return calling.execute(self.nodes[f"PriorSR{name}"], **given)

    def linked(self, name: str, values: dict, **given) -> tuple:
        """The same with values that links bring, which no list has to offer."""
        node = self.nodes[f"PriorSR{name}"]
        called = calling.arguments(node, **given) | values
        with torch.inference_mode():
            return node.execute(**called).args

    def image(self, name: str, **given) -> Tensor:
        """The first output of a node, an IMAGE as the host wants them."""
        picture = self.run(name, **given)[0]
        assert picture.ndim == 4
        assert picture.dtype == torch.float32
        assert picture.min() >= 0
        assert picture.max() <= 1
        return picture

    def watched(self, name: str, stop_after: int = 0, **given) -> tuple[list[tuple[int, int]], tuple]:
        """The moves (done, total) of the bar while a node runs, cancelled after so many; and its outputs.

        What was loaded before is loaded still, and nothing else.
        """
        before, moves, outputs = list(self.host.loaded), [], ()

        def report(done: int, total: int) -> None:
            moves.append((done, total))
            self.host.cancelling = len(moves) == stop_after

        self.host.report = report
        try:
            if stop_after:
                with pytest.raises(standin.Cancelled):
                    self.run(name, **given)
            else:
                outputs = self.run(name, **given)
        finally:
            self.host.report = lambda done, total: None
            self.host.cancelling = False
        assert self.host.loaded == before
        return moves, outputs


@pytest.fixture(scope="session")
def pack(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    folder = models / "priorsr"
    folder.mkdir()
    tiny_checkpoints.make(folder)
    tiny_checkpoints.make_latent(models)
    (folder / "broken.safetensors").write_bytes(b"not weights")
    (folder / "readme.txt").write_text("no weights")
    with standin.installed(models, "priorsr.nodes") as (host, module):
        yield Pack(host, module)


@pytest.fixture
def bare(pack, tmp_path, monkeypatch):
    """The same pack of somebody who has no weight files."""
    _, suffixes = pack.host.folders["priorsr"]
    monkeypatch.setitem(pack.host.folders, "priorsr", ([str(tmp_path)], suffixes))
    return pack


@pytest.fixture(scope="session")
def photograph() -> Tensor:
    """A portrait as an IMAGE, 1 128 128 3."""
    with Image.open(SAMPLE) as picture:
        small = picture.convert("RGB").resize((128, 128), Image.Resampling.BICUBIC)
    return torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).reshape(1, 128, 128, 3) / 255


@pytest.fixture(scope="session")
def scene(photograph) -> Tensor:
    """One face in the middle of much else, 1 120 150 3."""
    picture = torch.full((1, 120, 150, 3), 0.4)
    portrait = torch.nn.functional.interpolate(
        photograph.movedim(-1, 1), (56, 56), mode="bilinear", antialias=True
    )
    picture[:, 30:86, 50:106] = portrait.movedim(1, -1)
    return picture


@pytest.fixture
def patch(photograph) -> Tensor:
    """Two small pictures with odd sides and alpha, 2 15 11 4."""
    alpha = torch.linspace(0, 1, 15 * 11).reshape(1, 15, 11, 1).expand(2, -1, -1, -1)
    pictures = torch.cat([photograph[:, 40:55, 50:61], photograph[:, 60:75, 50:61]])
    return torch.cat([pictures, alpha], -1)
