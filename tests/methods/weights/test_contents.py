"""What is in a file of weights: nothing but real, dense, finite tensors under text is taken."""

from __future__ import annotations

import pickle
import struct

import pytest
import torch
from pickle_attacks import refused

from priorsr.methods import weights
from priorsr.methods.nets.srcnn import SRCNN


def srcnn(**changes):
    return {**SRCNN().state_dict(), **changes}


@pytest.mark.parametrize(
    "content",
    [
        {1: torch.zeros(1)},
        {**srcnn(), 7: torch.zeros(1)},
        {(1, 2): torch.zeros(1)},
        {"model": {None: torch.zeros(1)}},
        srcnn(**{"conv1.bias": torch.zeros(64, dtype=torch.int64)}),
        srcnn(**{"conv1.bias": torch.zeros(64, dtype=torch.bool)}),
        srcnn(**{"conv1.bias": torch.zeros(64, dtype=torch.complex64)}),
        srcnn(**{"conv1.bias": torch.zeros(64).to_sparse()}),
        srcnn(**{"conv1.bias": torch.zeros(64, device="meta")}),
        srcnn(**{"conv1.bias": torch.full((64,), torch.nan)}),
        srcnn(**{"conv1.bias": torch.full((64,), torch.inf)}),
        srcnn(**{"conv1.bias": [0.0] * 64}),
        srcnn(**{"conv1.weight": torch.zeros(())}),
        torch.zeros(3),
        [torch.zeros(3)],
        "text",
        None,
        {},
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_only_real_dense_finite_tensors_under_text_are_taken(tmp_path, content):
    path = tmp_path / "a.pt"
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"a\.pt"):
        weights.load(path)


@pytest.mark.filterwarnings("ignore")
def test_quantised_tensors_are_refused(tmp_path):
    bias = torch.quantize_per_tensor(torch.zeros(64), 0.1, 0, torch.qint8)
    torch.save(srcnn(**{"conv1.bias": bias}), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt.*conv1.bias is no dense tensor of real numbers .qtensor"):
        weights.load(tmp_path / "a.pt")


@pytest.mark.parametrize("content", [b"", b"P", b"PK\x03\x04", b"PK\x03\x04" + bytes(15), b"\x80\x02"])
@pytest.mark.parametrize("suffix", weights.SUFFIXES)
def test_stumps_are_named(tmp_path, content, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    refused(path)


@pytest.mark.parametrize(
    "header", [b"[]", b"null", b'{"a": 1}', b'{"a": {"dtype": "F32"}}', b"[" * 100_000, b"\xff"]
)
def test_safetensors_headers_are_checked(tmp_path, header):
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    refused(path)


def test_a_scale_of_5000_digits_is_none(tmp_path):
    weights.save(SRCNN(), tmp_path / "a.safetensors", {"scale": "9" * 5000})
    assert weights.load(tmp_path / "a.safetensors").scale is None
    weights.save(SRCNN(), tmp_path / "a.safetensors", {"scale": "\u00b2"})
    assert weights.load(tmp_path / "a.safetensors").scale is None


def test_plain_pickles_of_plain_things_are_no_networks(tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(pickle.dumps({"version": 3, "weights": [1, 2]}))
    refused_words = pytest.raises(ValueError, match="first keys: version, weights")
    with refused_words:
        weights.load(path)
