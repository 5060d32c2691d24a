"""The demo is what a newcomer sees first."""

from __future__ import annotations

import re

import pytest

from priorsr.methods.cli import demo
from priorsr.methods.imaging.images import Picture, read, write


def test_demo_writes_its_pictures_and_beats_bicubic(tmp_path, capsys):
    assert demo.main(str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert out.count("bicubic") >= 3
    assert out.count("SRCNN") == 3
    assert "noise level" in out
    assert "2 of 2 faces restored" in out
    psnr = [float(value) for value in re.findall(r"(?:damaged|restored) +([\d.]+) dB", out)]
    gains = [after - before for before, after in zip(psnr[::2], psnr[1::2], strict=True)]
    assert gains == pytest.approx([2.0, 0.7, 0.7], abs=0.2)  # which docs/gallery.md says
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "bicubic.png",
        "comparison.png",
        "damaged.png",
        "input.png",
        "old_photograph.png",
        "original.png",
        "restored.png",
        "srcnn.png",
    ]
    assert read(tmp_path / "srcnn.png").pixels.shape == read(tmp_path / "original.png").pixels.shape


@pytest.mark.slow
def test_the_readmes_python_runs_as_printed(tmp_path, root, photo, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", (root / "README.md").read_text(encoding="utf-8"), re.S)
    write(Picture(photo), tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 (our own text)
    assert read(tmp_path / "photo_x4.png").pixels.shape[-2:] == (212, 284)
