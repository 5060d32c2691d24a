"""Folders of pictures to learn from and to judge by: one bad file stops no work on the others."""

from __future__ import annotations

import pytest
import torch

from priorsr.methods.imaging.datasets import read_named
from priorsr.methods.imaging.images import Picture, write
from priorsr.methods.train.pairs import Crops


@pytest.fixture
def folder(tmp_path, photo):
    """Two sound pictures, one without a head, one of no bytes, and one whose pixels end early."""
    for name in ("a.png", "m.jpg", "z.png"):
        write(Picture(photo), tmp_path / "data" / name)
    whole = (tmp_path / "data" / "m.jpg").read_bytes()
    (tmp_path / "data" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "data" / "m.jpg").unlink()
    (tmp_path / "data" / "head.png").write_bytes(b"no picture")
    (tmp_path / "data" / "none.webp").touch()
    return tmp_path / "data"


def test_what_cannot_be_read_is_left_out_and_said(folder, caplog):
    assert [name for name, _ in read_named([folder])] == ["a.png", "z.png"]
    for name in ("cut.jpg", "head.png", "none.webp"):
        assert sum(name in record.getMessage() for record in caplog.records) == 1


def test_crops_are_of_the_pictures_that_can_be_read(folder, caplog):
    crops = Crops.of([folder], 32, flip=False)
    assert [path.name for path in crops.files] == ["a.png", "cut.jpg", "z.png"]  # whose heads are sound
    squares = crops.judged(3)
    assert squares.shape == (3, 3, 32, 32)
    following = Crops((crops.files[2],), 32, flip=False)
    assert torch.equal(squares[1], following(1, 0))  # pixels of one file, cut at one place
    assert "cut.jpg" in caplog.text


def test_nothing_left_is_the_error_of_the_last(folder):
    for name in ("a.png", "z.png"):
        (folder / name).unlink()
    with pytest.raises(ValueError, match=r"none\.webp is empty"):
        read_named([folder])
    (folder / "none.webp").unlink()
    with pytest.raises(ValueError, match=r"cannot read .*cut.jpg"):
        Crops.of([folder], 32)(0)
