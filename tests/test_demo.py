"""The demo is what a newcomer sees first."""

from __future__ import annotations

from priorsr.methods import demo
from priorsr.methods.images import read


def test_demo_writes_its_pictures_and_beats_bicubic(tmp_path, capsys):
    assert demo.main(str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert out.count("bicubic") >= 3
    assert out.count("SRCNN") == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bicubic.png", "comparison.png", "input.png", "original.png", "srcnn.png"]
    assert read(tmp_path / "srcnn.png").pixels.shape == read(tmp_path / "original.png").pixels.shape
