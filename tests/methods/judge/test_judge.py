"""`priorsr judge`: figures equal to those of the benchmark and of torchmetrics, bad pictures named, runs
resumed.
"""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import priorsr
from priorsr.methods.cli.main import main
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import resize
from priorsr.methods.judge import picture as judging
from priorsr.methods.judge.figures import FIGURES
from priorsr.methods.judge.protocol import names, read_protocol
from priorsr.methods.judge.record import read_record
from priorsr.methods.metrics import backbones, perceptual
from priorsr.methods.metrics.benchmark import benchmark, bicubic
from priorsr.methods.metrics.compare import consistency
from priorsr.methods.train.srcnn import luma_upscaler
from priorsr.methods.visionrefine.srcnn import load_srcnn
from priorsr.samplers.noise import Noise


def run(*arguments):
    return main(["judge", *map(str, arguments)])


@pytest.fixture
def sets(tmp_path, photo):
    """hr/, lr/ (a quarter) and sr/ of four pictures of 96 x 120."""
    for i in range(4):
        x = resize(photo, (96, 120)) * (1 - 0.1 * i) + 0.03 * Noise([i])((1, 3, 96, 120))
        x = x.clamp(0, 1)
        low = resize(x, scale=0.25).clamp(0, 1)
        for name, y in (("hr", x), ("lr", low), ("sr", resize(low, scale=4).clamp(0, 1))):
            write(Picture(y), tmp_path / name / f"{i}.png")
    return tmp_path


def test_psnr_and_ssim_are_those_of_the_benchmark(tmp_path, photo):
    """Of luma as grey files, which is what `evaluate srcnn` compares."""
    scale, pictures, made = 2, [photo[0], photo[0].flip(-1)], []
    inner = luma_upscaler(load_srcnn(scale)[0], scale)

    def upscale(low, size):
        made.append(inner(low, size))
        return made[-1]

    for name, method in (("srcnn", upscale), ("bicubic", bicubic)):
        made.clear()
        keep = lambda low, size, m=method: made.append(m(low, size)) or made[-1]  # noqa: E731
        scores = benchmark(method if method is upscale else keep, pictures, scale)
        for i, (x, done) in enumerate(zip(pictures, made, strict=True)):
            from priorsr.methods.imaging.color import luma
            from priorsr.methods.imaging.resize import modcrop

            high = modcrop((luma(x * 255).round() / 255)[None], scale)
            write(Picture(high), tmp_path / name / "hr" / f"{i}.png")
            write(Picture(done.clamp(0, 1)), tmp_path / name / "sr" / f"{i}.png")
        found = priorsr.judge(
            tmp_path / name / "sr", tmp_path / name / "hr", metrics=("psnr", "ssim"), border=scale
        )
        for row, score in zip(found.pictures, scores, strict=True):
            assert row["psnr"] == pytest.approx(score.psnr, abs=1e-6)
            assert row["ssim"] == pytest.approx(score.ssim, abs=1e-6)


class Backbone(nn.Module):
    """A random network in place of Inception."""

    def __init__(self, count=12):
        super().__init__()
        self.num_features = count
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(count, 3, 8, 8, generator=generator) / 4)

    def forward(self, x):
        return nn.functional.conv2d(x.float() / 255, self.weight, stride=4).relu().mean((2, 3))


def test_fid_and_kid_are_those_of_torchmetrics_on_the_same_network(sets, monkeypatch):
    fid = pytest.importorskip("torchmetrics.image.fid").FrechetInceptionDistance(Backbone()).double()
    kid = pytest.importorskip("torchmetrics.image.kid").KernelInceptionDistance(
        Backbone(), subsets=1, subset_size=4
    )
    monkeypatch.setattr(perceptual, "_inception", Backbone)
    monkeypatch.setattr("priorsr.methods.judge.figures.missing", lambda name: None)
    found = priorsr.judge(sets / "sr", sets / "hr", metrics=("fid", "kid")).figures
    for name, real in (("sr", False), ("hr", True)):
        for path in sorted((sets / name).iterdir()):
            levels = (read(path).pixels * 255).round().byte()
            for metric in (fid, kid):
                metric.update(levels, real=real)
    assert found["fid"].value == pytest.approx(float(fid.compute()), abs=1e-5)
    assert found["kid"].value == pytest.approx(float(kid.compute()[0]), rel=1e-5, abs=1e-5)
    assert found["fid"].value > 1e-4


def test_what_networks_say_of_a_pair_is_handed_through(sets, monkeypatch):
    monkeypatch.setattr("priorsr.methods.judge.figures.missing", lambda name: None)
    for name, network in (("_lpips", lambda n: None), ("_dists", None)):
        del network
        monkeypatch.setattr(perceptual, name, lambda *_: Pairwise())
    found = priorsr.judge(sets / "sr", sets / "hr", metrics=("lpips-vgg", "lpips-alex", "dists"))
    for row in found.pictures:
        a, b = (read(sets / n / f"{row['file']}.png").pixels for n in ("sr", "hr"))
        for name in ("lpips-vgg", "lpips-alex", "dists"):
            assert row[name] == pytest.approx(float((a - 2 * b).square().mean()), abs=1e-7)


class Pairwise(nn.Module):
    """Not symmetric, so that an exchange would show."""

    @property
    def net(self):
        return lambda a, b, normalize: self(a, b)

    def forward(self, a, b):
        return (a - 2 * b).square().mean((1, 2, 3))


def test_dists_and_lpips_are_those_of_torchmetrics(sets, monkeypatch):
    """On random networks of torchvision, where that is installed."""
    models = pytest.importorskip("torchvision.models", exc_type=(ImportError, RuntimeError))
    lpip = pytest.importorskip("torchmetrics.functional.image.lpips")
    module = pytest.importorskip("torchmetrics.functional.image.dists")
    torch.manual_seed(0)
    random = models.vgg16(weights=None)
    monkeypatch.setattr(module, "vgg16", lambda weights: random)
    network, judge_of = module.DISTSNetwork(), lpip._LPIPS(pretrained=True, net="vgg", pnet_rand=True).eval()
    monkeypatch.setattr(perceptual, "_dists", lambda: network)
    monkeypatch.setattr(perceptual, "_lpips", lambda name: type("Held", (), {"net": judge_of}))
    monkeypatch.setattr("priorsr.methods.judge.figures.missing", lambda name: None)
    found = priorsr.judge(sets / "sr", sets / "hr", metrics=("dists", "lpips-vgg"))
    for row in found.pictures:
        a, b = (read(sets / n / f"{row['file']}.png").pixels for n in ("sr", "hr"))
        assert row["dists"] == pytest.approx(network(a, b).item(), abs=1e-5)
        assert row["lpips-vgg"] == pytest.approx(float(judge_of(a, b, normalize=True)), abs=1e-5)


def test_the_record_holds_what_others_need(sets, capsys):
    asked = (sets / "sr", "--truth", sets / "hr", "--inputs", sets / "lr", "--out", sets / "run.json")
    assert run(*asked, "--json", "--scale", "4", "--border", "scale", "--label", "bicubic") == 0
    held = json.loads((sets / "run.json").read_text())
    assert held == json.loads(capsys.readouterr().out)
    assert not (sets / "run.json.rows").exists()
    assert held["label"] == "bicubic"
    assert (held["protocol"]["border"], held["protocol"]["scale"]) == ("scale", 4)
    assert held["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert held["weights"].keys() >= {"niqe"}
    assert len(held["weights"]["niqe"]) == 64
    assert held["lacking"].keys() | held["figures"].keys() >= {
        n for n, one in FIGURES.items() if not one.asked
    }
    for name in ("psnr", "ssim", "mae", "sharpness", "consistency"):
        one = held["figures"][name]
        assert one["n"] == 4
        assert one["low"] <= one["value"] <= one["high"]
    expected = [
        float(consistency(*(read(sets / n / f"{i}.png").pixels for n in ("sr", "lr")))) for i in range(4)
    ]
    assert [row["consistency"] for row in held["pictures"]] == pytest.approx(expected)
    again = read_record(sets / "run.json")
    assert again.described() == held
    assert run(*asked) == 2
    (sets / "other.json").write_text("{}")
    with pytest.raises(ValueError, match=r"other\.json is no record"):
        read_record(sets / "other.json")


def test_bad_pictures_are_named_counted_and_the_rest_is_judged(sets, capsys, caplog, photo):
    (sets / "sr" / "1.png").write_bytes(b"no picture")
    write(Picture(photo), sets / "sr" / "2.png", overwrite=True)
    write(Picture(photo), sets / "sr" / "alone.png")
    write(Picture(photo), sets / "hr" / "missing.png")
    assert run(sets / "sr", "--truth", sets / "hr", "--json", "--metrics", "psnr", "mae") == 1
    held = json.loads(capsys.readouterr().out)
    assert [row["file"] for row in held["pictures"]] == ["0", "3"]
    reasons = {one["file"].rpartition("/")[2]: one["reason"] for one in held["failures"]}
    assert reasons.keys() == {"1.png", "2.png", "alone.png", "missing.png"}
    for name, words in (
        ("1.png", "cannot read"),
        ("2.png", "differ in size"),
        ("alone.png", "no true picture"),
        ("missing.png", "no result"),
    ):
        assert words in reasons[name]
        assert name in caplog.text


def test_one_picture_has_no_distance_of_sets_and_a_picture_without_a_face_no_identity(
    tmp_path, photo, capsys
):
    write(Picture(resize(photo, (120, 160))), tmp_path / "one.png")
    place = tmp_path / "one.png"
    assert (
        run(place, "--truth", place, "--faces", "find", "--json", "--metrics", "psnr", "identity", "frechet")
        == 1
    )
    held = json.loads(capsys.readouterr().out)
    assert held["figures"]["psnr"]["value"] == "inf"
    assert "identity" not in held["figures"]
    reasons = " ".join(one["reason"] for one in held["failures"])
    for words in ("no face was found", "no frechet: sets of 0 and 0"):
        assert words in reasons


def test_an_interrupted_run_resumes_without_judging_again(sets, monkeypatch):
    asked = (sets / "sr", "--truth", sets / "hr", "--metrics", "psnr", "--out", sets / "run.json")
    own, calls = judging.PictureJudge.__call__, []

    def stopping(self, job):
        calls.append(job.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return own(self, job)

    monkeypatch.setattr(judging.PictureJudge, "__call__", stopping)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert run(*asked) == 130
        kept = (sets / "run.json.rows").read_text().splitlines()
        assert kept
        assert not (sets / "run.json").exists()
        (sets / "run.json.rows").write_text("\n".join([*kept, '["cut']) + "\n")
        monkeypatch.setattr(
            judging.PictureJudge, "__call__", lambda self, job: calls.append(job.name) or own(self, job)
        )
        calls.clear()
        assert run(*asked) == 0
    finally:
        torch.set_num_threads(before)
    assert len(calls) == 4 - len(kept)
    first = json.loads((sets / "run.json").read_text())
    assert run(*asked[:-2], "--out", sets / "whole.json") == 0
    assert json.loads((sets / "whole.json").read_text()) == first


def test_a_metric_that_was_named_and_lacks_something_is_bad_use(sets, capsys, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(sets))
    assert run(sets / "sr", "--metrics", "psnr") == 2
    assert run(sets / "sr", "--truth", sets / "hr", "--metrics", "fid") == 2
    assert run(sets / "sr", "--protocol", "plaine") == 2
    with pytest.raises(ValueError, match="'ssmi': did you mean ssim"):
        priorsr.judge(sets / "sr", metrics=("ssmi",))
    assert run(sets / "sr") == 0
    text = capsys.readouterr().out
    for name, url in ((n, one.url) for n, one in backbones.REQUIREMENTS.items() if n in FIGURES):
        assert name in text
        if FIGURES[name].needs == ():
            assert url in text
    assert "no MUSIQ" in text


@pytest.mark.parametrize("name", names())
def test_protocols_that_come_along_are_whole(name):
    held = read_protocol(name, scale=4.0).check()
    assert held.name == name
    assert held.about
    assert set(held.metrics) <= set(FIGURES)
    assert set(held.versions) <= {*FIGURES, "embedding"}


def test_a_protocol_of_the_users_own(sets, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('about = "mine"\nborder = 3\ncolour = "luma"\n[pairs]\nresults = "_x"\n')
    for path in sorted((sets / "sr").iterdir()):
        path.rename(path.with_name(f"{path.stem}_x.png"))
    found = priorsr.judge(sets / "sr", sets / "hr", protocol=own, metrics=("psnr",))
    assert [row["file"] for row in found.pictures] == ["0", "1", "2", "3"]
    assert found.protocol["pairs"]["results"] == "_x"
    for text, words in (
        ("bordr = 3", "no 'bordr': did you mean border"),
        ('colour = "lab"', "'lab' is not one of"),
        ("border = [", "own.toml"),
        ("border = -2", "below 0"),
    ):
        own.write_text(text)
        with pytest.raises(ValueError, match=words):
            read_protocol(own)
