"""A picture for faces."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def smooth():
    """Waves and a slope, 1 3 200 260 in 0..1."""
    y, x = torch.meshgrid(torch.linspace(0, 3, 200), torch.linspace(0, 4, 260), indexing="ij")
    return torch.stack([0.5 + 0.3 * torch.sin(x + y), 0.5 + 0.3 * torch.cos(2 * x - y), 0.4 + 0.1 * x])[None]
