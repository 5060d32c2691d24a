"""What is shown while a batch is worked on: the colours of the small picture, and not too often."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from priorsr.methods import timing
from priorsr.methods.batches import one_by_one
from priorsr.methods.imaging.resize import resize
from priorsr.methods.method import Plan, Upscaler


class Grey(Upscaler):
    """A luma prior that predicts grey in each of four steps, which take some seconds each."""

    def __init__(self, each):
        self.each, self.now = each, 0.0

    def plan(self, size, scale):
        return Plan(self.result_size(size, scale), 4, 0)

    def enlarge(self, low, scale, seeds, step, report):
        size = self.result_size(low.shape[-2:], scale)
        for _ in range(4):
            self.now += self.each
            step(SimpleNamespace(pred=SimpleNamespace(x0=torch.zeros(len(low), 1, *size))))
        return resize(low, size)


@pytest.fixture
def shown_of(monkeypatch):
    def shown(low, each=1.0):
        upscaler, seen = Grey(each), []
        monkeypatch.setattr(timing, "clock", lambda: upscaler.now)
        one_by_one(upscaler, low, 2, [0] * len(low), lambda done, of, x: seen.append(x), lambda text: None)
        return seen

    return shown


def test_a_prior_of_luma_shows_the_colours_of_each_picture(shown_of):
    red, blue = torch.tensor([0.8, 0.3, 0.3]), torch.tensor([0.3, 0.3, 0.8])
    low = torch.stack([red, blue])[:, :, None, None].expand(-1, -1, 16, 16).contiguous()
    seen = shown_of(low)
    assert len(seen) == 8
    first, last = (x.mean((0, 2, 3)) / 2 + 0.5 for x in (seen[0], seen[-1]))
    assert seen[0].shape == (1, 3, 32, 32)
    assert first[0] > first[2] + 0.3
    assert last[2] > last[0] + 0.3
    grey = shown_of(low.mean(1, keepdim=True))
    assert grey[0].shape == (1, 1, 32, 32)


def test_pictures_are_shown_at_most_four_times_a_second(shown_of):
    seen = shown_of(torch.full((2, 3, 16, 16), 0.5), 0.1)
    assert [x is not None for x in seen] == [True, False, False, True, False, False, True, False]
