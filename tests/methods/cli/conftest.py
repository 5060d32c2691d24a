"""Pictures and models for the commands."""

from __future__ import annotations

import pytest
import tiny_checkpoints
from PIL import Image

from priorsr.methods.imaging.images import Picture, write


@pytest.fixture
def files(tmp_path, photo):
    """in/: three pictures, one damaged, one text file, one in a subfolder."""
    source = tmp_path / "in"
    write(Picture(photo), source / "a.png")
    write(Picture(photo.flip(3), photo[:, :1]), source / "deep" / "b.webp")
    write(Picture(photo[:, :1], bits=16), source / "c.png")
    (source / "broken.jpg").write_bytes(b"\xff\xd8 not a picture")
    (source / "notes.txt").write_text("hello")
    return source


@pytest.fixture
def pictures(tmp_path, photo):
    """in/: a.png and z.png."""
    for name in ("a.png", "z.png"):
        write(Picture(photo), tmp_path / "in" / name)
    return tmp_path / "in"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder of all kinds of checkpoints with random weights."""
    folder = tmp_path_factory.mktemp("models")
    tiny_checkpoints.make(folder)
    return folder


@pytest.fixture
def place(root, models, monkeypatch, tmp_path):
    """in.png and small.png, among models with random weights."""
    monkeypatch.setenv("PRIORSR_MODELS", str(models))
    with Image.open(root / "docs" / "sample" / "astronaut.png") as picture:
        picture.convert("RGB").resize((20, 16)).save(tmp_path / "in.png")
        picture.convert("RGB").resize((8, 7)).save(tmp_path / "small.png")
