"""`priorsr report`, and what the protocols that come along ask of folders."""

from __future__ import annotations

import json

import pytest
import torch

import priorsr
from priorsr.methods.cli.main import main
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import resize
from priorsr.methods.judge.record import read_record
from priorsr.methods.judge.report import grouped
from priorsr.methods.metrics.compare import compare
from priorsr.samplers.noise import Noise


@pytest.fixture
def sets(tmp_path, photo):
    """hr/ of three pictures of 97 x 121, a sharp and a blurred set of results of 96 x 120."""
    for i in range(3):
        x = (resize(photo, (97, 121)) * (1 - 0.1 * i) + 0.03 * Noise([i])((1, 3, 97, 121))).clamp(0, 1)
        write(Picture(x), tmp_path / "hr" / f"{i}.png")
        cut = x[..., :96, :120]
        for scale, name in ((0.75, "sharp"), (0.25, "soft")):
            y = resize(resize(cut, scale=scale), (96, 120)).clamp(0, 1)
            write(Picture(y), tmp_path / name / f"{i}.webp", quality=100)
    return tmp_path


def judged(sets, name, *more):
    out = sets / f"{name}{len(more)}.json"
    asked = ("judge", sets / name, "--truth", sets / "hr", "--out", out, *more)
    assert main([str(a) for a in asked]) == 0
    return out


def test_records_of_one_protocol_share_a_table_and_the_best_is_bold(sets, capsys):
    asked = ("--protocol", "sr-luma", "--scale", "4", "--metrics", "psnr", "ssim")
    files = [judged(sets, name, *asked) for name in ("soft", "sharp")]
    files.append(judged(sets, "soft", *asked, "--border", "1"))
    capsys.readouterr()
    out = ["report", *map(str, files), "--out", str(sets / "r.md"), "--plot", str(sets / "r.png")]
    assert main(out) == 0
    text = (sets / "r.md").read_text()
    assert text.count("## ") == 2
    soft, sharp, other = (line for line in text.splitlines() if line.startswith(("| soft", "| sharp")))
    assert "**" not in soft
    assert sharp.count("**") == 4
    assert "**" not in other  # nothing to compare with
    value = read_record(files[1]).figures["psnr"]
    assert f"**{value.value:.2f}** ({value.low:.2f} .. {value.high:.2f})" in sharp
    assert min(read(sets / "r.png").pixels.shape[-2:]) > 100
    assert main(out) == 2  # nothing is replaced
    assert main(["report", *map(str, files), "--json"]) == 0
    assert [len(group) for group in json.loads(capsys.readouterr().out)] == [2, 1]
    assert [len(group) for group in grouped([read_record(f) for f in files])] == [2, 1]


def test_the_benchmarks_protocol_cuts_and_compares_as_the_literature(sets):
    found = priorsr.judge(sets / "soft", sets / "hr", protocol="sr-luma", scale=4.0, metrics=("psnr", "ssim"))
    for row in found.pictures:
        a = read(sets / "soft" / f"{row['file']}.webp").pixels
        b = read(sets / "hr" / f"{row['file']}.png").pixels[..., :96, :120]
        expected = compare(a, b, "luma", 4)[0]
        assert (row["psnr"], row["ssim"]) == pytest.approx((expected["psnr"], expected["ssim"]))
    with pytest.raises(ValueError, match="give --scale"):
        priorsr.judge(sets / "soft", sets / "hr", protocol="sr-luma")


def test_names_of_published_sets_pair(tmp_path, photo):
    for camera in ("Canon_001", "Nikon_002"):
        for name, end in (("hr", "HR"), ("lr", "LR4"), ("sr", "LR4")):
            x = resize(photo, scale=0.5).clamp(0, 1) if name == "lr" else photo
            write(Picture(x), tmp_path / name / f"{camera}_{end}.png")
    write(Picture(photo), tmp_path / "sr" / "odd.png")
    found = priorsr.judge(tmp_path / "sr", tmp_path / "hr", tmp_path / "lr", protocol="realsr")
    assert [row["file"] for row in found.pictures] == ["Canon_001", "Nikon_002"]
    assert [one.reason for one in found.failures] == ["its name does not end in _LR4 as the protocol says"]
    assert "lpips-alex" in found.lacking  # which a protocol asks for, and a machine may lack


def test_wrapping_arithmetic_is_kept_apart(sets):
    plain = priorsr.judge(sets / "soft", sets / "soft", metrics=("psnr",))
    assert "psnr-wrapping" not in plain.figures
    one = sets / "one.png"
    write(Picture(torch.zeros(1, 3, 16, 16)), one)
    write(Picture(torch.full((1, 3, 16, 16), 16 / 255)), sets / "other.png")
    found = priorsr.judge(one, sets / "other.png", protocol="visionrefine-wrapping").figures
    assert found["psnr-wrapping"].value == float("inf")  # 256 wraps to 0
    assert found["psnr"].value == pytest.approx(24.05, abs=0.01)


def test_recognition_among_people(tmp_path):
    """Embeddings stand for a recogniser's; the protocol, table and gallery are the user's."""
    from priorsr.methods.judge import picture

    people = {"a1": "a", "a2": "a", "b1": "b", "b2": "b", "c1": "c"}
    for i, name in enumerate(people):
        level = {"a": 0.1, "b": 0.5, "c": 0.9}[people[name]]
        shown = torch.full((1, 3, 64, 64), level)
        shown[:, 1] += 0.01 * i
        for folder in ("sr", "hr"):
            write(Picture(shown.clamp(0, 1)), tmp_path / folder / f"{name}.png")
    table = tmp_path / "people.csv"
    table.write_text("file,identity\n" + "".join(f"{n}.png,{w}\n" for n, w in people.items() if n != "c1"))

    class Levels:
        def __init__(self, *_):
            pass

        def __call__(self, x):
            angle = x[:, 0].mean() * 1.5
            return torch.nn.functional.pad(torch.stack([angle.cos(), angle.sin()])[None], (0, 126))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(picture, "Identity", Levels)
        patch.setattr("priorsr.methods.judge.figures.available", lambda: None)
        found = priorsr.judge(
            tmp_path / "sr", tmp_path / "hr", protocol="srdg-recognition", identities=[table]
        )
    assert found.figures["auc"].value == 1
    assert found.figures["eer"].value == 0
    assert (found.figures["rank-1"].value, found.figures["rank-1"].n) == (1, 4)
    assert {one.file for one in found.failures} == {"c1"}
