"""The pictures that come along."""

from __future__ import annotations

import pytest

from priorsr.methods.faces.detect import detect
from priorsr.methods.faces.load import load_detector
from priorsr.methods.samples import DAMAGES, HUNG, PICTURES, damaged, sample


def test_samples_are_colour_pictures_with_the_faces_they_promise():
    detector = load_detector()
    counts = {name: len(detect(sample(name), detector)[0].faces) for name in ("portrait", "small faces")}
    assert counts == {"portrait": 1, "small faces": len(HUNG)}
    for name in PICTURES:
        x = sample(name)
        assert x.shape[:2] == (1, 3)
        assert 0 <= x.min() < x.max() <= 1
        assert (x[:, 0] - x[:, 2]).abs().mean() > 0.01
    with pytest.raises(ValueError, match="there is no sample 'cat'"):
        sample("cat")


def test_damage_is_repeatable_and_in_eight_bits():
    face = sample("face")
    for damage in DAMAGES:
        x = damaged(face, damage)
        assert (x == damaged(face, damage)).all()
        assert (x * 255 - (x * 255).round()).abs().max() < 1e-3
        factor = {"none": 1, "old": 2}.get(damage) or int(damage[-1])
        assert x.shape[-1] == 128 // factor
    with pytest.raises(ValueError, match="there is no damage 'fire'"):
        damaged(face, "fire")
