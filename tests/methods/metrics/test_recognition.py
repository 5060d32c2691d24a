"""1:1 and 1:N recognition, and intervals of figures, against hand calculation and scikit-learn."""

from __future__ import annotations

import pytest
import torch

from priorsr.methods.metrics.bootstrap import summary, summary_of_set
from priorsr.methods.metrics.recognition import (
    Faces,
    equal_error_rate,
    identification,
    protocol_pairs,
    roc_auc,
)
from priorsr.samplers.noise import Noise


@pytest.fixture
def distances():
    """With ties, as 8-bit pictures have them."""
    draw = Noise([0])((1, 400))[0]
    return (draw[:150] * 10).round() / 10, (draw[150:] * 10 + 12).round() / 10


def test_auc_is_that_of_scikit_learn(distances):
    metrics = pytest.importorskip("sklearn.metrics")
    genuine, impostor = distances
    labels = [1] * len(genuine) + [0] * len(impostor)
    expected = metrics.roc_auc_score(labels, (-torch.cat([genuine, impostor])).tolist())
    assert roc_auc(genuine, impostor) == pytest.approx(expected, abs=1e-9)


def test_auc_counts_pairs(distances):
    genuine, impostor = distances
    nearer = (genuine[:, None] < impostor).double() + (genuine[:, None] == impostor).double() / 2
    assert roc_auc(genuine, impostor) == pytest.approx(float(nearer.mean()), abs=1e-12)
    assert roc_auc(genuine, genuine + 100) == 1
    with pytest.raises(ValueError, match="both kinds"):
        roc_auc(genuine, impostor[:0])


def test_equal_error_rate():
    genuine, impostor = torch.tensor([1.0, 2.0, 3.0, 6.0]), torch.tensor([4.0, 5.0, 7.0, 8.0])
    # at 4: one of four refused, one of four accepted
    assert equal_error_rate(genuine, impostor) == pytest.approx(0.25)
    assert equal_error_rate(genuine, genuine + 10) == 0
    assert equal_error_rate(genuine + 10, genuine) == pytest.approx(1)


def test_people_are_found_at_their_rank():
    def at(*degrees):
        turned = torch.tensor(degrees).deg2rad()
        return torch.stack([turned.cos(), turned.sin()], 1)

    gallery = Faces(at(0.0, 10.0, 50.0, 90.0), ("a1", "b1", "c1", "d1"), ("a", "b", "c", "d"))
    probes = Faces(at(1.0, 4.0, 80.0, 60.0), ("a2", "b2", "c2", "e2"), ("a", "b", "c", "e"))
    found = identification(probes, gallery)
    assert found.probes == 3
    # a first; b after a; c after d
    assert found.cmc == pytest.approx((1 / 3, 1, 1, 1))
    assert found.rank(10) == 1
    genuine, impostor = protocol_pairs(probes, gallery)
    assert (len(genuine), len(impostor)) == (3, 13)
    same = Faces(gallery.embeddings, gallery.names, gallery.people)
    with pytest.raises(ValueError, match="another picture"):
        identification(same, gallery)


def test_intervals_hold_the_mean_and_shrink():
    draw = Noise([3])((1, 400))[0]
    few, many = summary(draw[:25].tolist()), summary(draw.tolist())
    for one, n in ((few, 25), (many, 400)):
        assert one.low < one.value < one.high
        # the standard error of the mean, to a fifth
        assert (one.high - one.low) / (2 * 1.96) == pytest.approx(float(draw[:n].std()) / n**0.5, rel=0.2)
    assert summary(draw.tolist()) == many
    assert summary([2.0]) == summary([2.0], 5)
    assert summary([2.0]).low is None
    assert summary([1.0, 2.0, 9.0], median=True).value == 2
    set_of = summary_of_set(lambda which: float(draw[which].mean()) + 5, 400)
    assert set_of.value == pytest.approx(many.value + 5, abs=1e-6)
    assert set_of.high - set_of.low == pytest.approx(many.high - many.low, rel=0.3)
