from __future__ import annotations

import json

import pytest
import torch

from priorsr.methods.cli import main as cli
from priorsr.methods.cli.evaluate_detection import counted, expected_faces
from priorsr.methods.imaging.images import Picture, read, write


def test_faces_are_counted_in_each_picture():
    assert counted([1, 0, 2, 5], [1, 1, 1, 4]) == {
        "pictures": 4,
        "faces": 7,
        "found": 6,
        "recall": 0.8571,
        "false": 2,
    }
    assert counted([0, 1], [0, 0]) == {"pictures": 2, "faces": 0, "found": 0, "recall": 1.0, "false": 1}
    assert expected_faces(["a.png", "b.png"], {"b.png": {"faces": "4"}, "c.png": {"faces": "x"}}) == [1, 4]
    with pytest.raises(ValueError, match=r"a\.png has 'two' faces"):
        expected_faces(["a.png"], {"a.png": {"faces": "two"}})


def test_the_command_gives_a_row_for_each_set_and_detector(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PRIORSR_MODELS", str(tmp_path / "nothing"))
    portrait = read(root / "docs/sample/astronaut.png")
    write(portrait, tmp_path / "one" / "portrait.png")
    write(Picture(torch.cat([portrait.pixels, portrait.pixels], 3)), tmp_path / "two" / "pair.png")
    write(Picture(torch.full((1, 3, 40, 50), 0.5)), tmp_path / "two" / "plain.png")
    (tmp_path / "faces.csv").write_text("file,faces\npair.png,2\nplain.png,0\n", encoding="utf-8")
    command = [
        "evaluate",
        "faces",
        str(tmp_path / "one"),
        str(tmp_path / "two"),
        "--table",
        str(tmp_path / "faces.csv"),
        "--device",
        "cpu",
        "--json",
    ]
    assert cli.main(command) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (
        first.items()
        >= {"set": "one", "detector": "mtcnn", "faces": 1, "found": 1, "recall": 1.0, "false": 0}.items()
    )
    assert second.items() >= {"set": "two", "pictures": 2, "faces": 2, "found": 2, "false": 0}.items()
    assert second["seconds"] > 0


def test_a_detector_that_is_named_must_be_there(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PRIORSR_MODELS", str(tmp_path))
    write(Picture(torch.zeros(1, 3, 8, 8)), tmp_path / "in" / "a.png")
    assert cli.main(["evaluate", "faces", str(tmp_path / "in"), "--detectors", "retinaface"]) == 2
    assert "publishes detection_Resnet50_Final.pth" in caplog.text
