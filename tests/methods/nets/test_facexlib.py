"""Our detector and parser beside facexlib's own classes, on the same random weights (make test-facexlib)."""

from __future__ import annotations

import pytest
import torch

from priorsr.methods.nets.parsenet import ParseNet
from priorsr.methods.nets.retinaface import RetinaFace

pytestmark = pytest.mark.facexlib
WHY = "facexlib needs a torchvision made for this torch: make test-facexlib has an environment of its own"


@pytest.fixture(autouse=True)
def whole_torchvision():
    pytest.importorskip("torchvision.ops", reason=WHY, exc_type=(ImportError, RuntimeError))
    pytest.importorskip("facexlib", reason=WHY)


@torch.no_grad()
def random_weights(network):
    """Weights that keep the size of what passes through, and statistics of batches that are not 0 and 1."""
    draw = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if value.ndim > 1:
            value.normal_(0, value[0].numel() ** -0.5, generator=draw)
        elif name.endswith(("running_var", "weight")):
            value.uniform_(0.5, 1.5, generator=draw)
        elif value.is_floating_point():
            value.normal_(0, 0.1, generator=draw)
    return network.eval()


@pytest.mark.parametrize("body", ["resnet50", "mobile0.25"])
def test_retinaface_answers_as_facexlib_does(body):
    from facexlib.detection.retinaface import RetinaFace as Theirs

    ours = random_weights(RetinaFace(body))
    theirs = Theirs(network_name=body, half=False, device="cpu").eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(1)) * 60
    with torch.no_grad():
        answers = ours(x)
        expected = theirs(x)
    for mine, other in zip(answers, expected, strict=True):
        assert mine.shape == other.shape
        assert (mine - other).abs().max() <= 1e-5 * other.abs().max().clamp_min(1)


def test_parsenet_answers_as_facexlib_does():
    from facexlib.parsing.parsenet import ParseNet as Theirs

    ours, theirs = random_weights(ParseNet()), Theirs(in_size=512, out_size=512, parsing_ch=19).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        answers, expected = ours(x), theirs(x)
    for mine, other in zip(answers, expected, strict=True):
        assert mine.shape == other.shape
        assert (mine - other).abs().max() <= 1e-4 * other.abs().max().clamp_min(1)
