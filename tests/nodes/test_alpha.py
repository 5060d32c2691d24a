"""What is hidden under full transparency counts for nothing, in every node that resamples."""

from __future__ import annotations

import pytest
import torch

NODES = {
    "UpscaleSRCNN": {"scale": 2.0},
    "UpscaleBicubic": {"scale": 2.0},
    "UpscaleDiffSR": {"scale": 4.0, "steps": 2},
    "Resize": {"to": "scale", "to.scale": 2.0},
    "PreClean": {"reduction": 1.0},
    "Degrade": {"degradation": "blur"},
    "RestoreFaces": {"method": "srcnn", "scale": 2.0},
    "EnhanceOutside": {"mask": torch.zeros(1, 33, 33), "filters": "paper"},
}


def disc(hidden: float) -> torch.Tensor:
    """White on transparent pixels of a hidden colour, 1 33 33 4."""
    y, x = torch.meshgrid(torch.arange(33), torch.arange(33), indexing="ij")
    alpha = (((y - 16) ** 2 + (x - 16) ** 2) < 120).float()
    colours = torch.where(alpha > 0, 1.0, hidden)[..., None].expand(-1, -1, 3)
    return torch.cat([colours, alpha[..., None]], -1)[None]


@pytest.mark.parametrize("name", NODES)
def test_hidden_colours_leave_no_fringe(pack, name):
    found = []
    for hidden in (0.0, 0.5):
        picture = disc(hidden)
        more = {"cleaned": picture[..., :3]} if name == "PreClean" else {}
        found.append(pack.image(name, image=picture, **NODES[name], **more))
    colours, alpha = found[0][..., :3], found[0][..., 3:]
    if name == "PreClean":  # what another node cleaned has seen the hidden colours
        assert torch.equal(found[0][..., 3], found[1][..., 3])
        return
    on_white = (colours * alpha + (1 - alpha)) * 255
    assert on_white.min() >= 245
    on_white = (found[1][..., :3] * alpha + (1 - alpha)) * 255
    torch.testing.assert_close(on_white, (colours * alpha + (1 - alpha)) * 255, rtol=0, atol=0.5)
