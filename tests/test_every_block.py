"""No block of code on any page escapes the tests: each is run by one that is named here, or line by line."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from priorsr.methods.cli.main import main
from priorsr.methods.evaluate.study import read_study
from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import resize
from priorsr.methods.judge.protocol import read_protocol
from priorsr.methods.samples import sample
from priorsr.methods.weights.known import KNOWN

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.S | re.M)
HERE = "test_every_block.py"
RUN_BY = {  # a page's blocks in a language, how many there are, and the test that runs all of them
    ("README.md", "python"): (1, "test_demo.py"),
    ("CONTRIBUTING.md", "python"): (1, HERE),
    ("docs/cite.md", "bibtex"): (1, "test_community.py"),
    ("docs/core.md", "python"): (3, "test_docs.py"),
    ("docs/diffsr.md", "python"): (1, "test_docs.py"),
    ("docs/dpi.md", "python"): (1, "test_docs.py"),
    ("docs/extend.md", "python"): (6, "test_extend.py"),
    ("docs/extend.md", "toml"): (1, HERE),
    ("docs/headless.md", "python"): (1, "methods/cli/test_graph.py"),
    ("docs/judge.md", "python"): (1, "test_docs.py"),
    ("docs/judge.md", "toml"): (2, HERE),
    ("docs/python.md", "python"): (6, "test_docs.py"),
    ("docs/srdg.md", "python"): (1, "test_docs.py"),
    ("docs/stablesr.md", "python"): (1, "test_docs.py"),
    ("docs/start_programmer.md", "python"): (1, "test_start.py"),
}
SETS_UP = {  # lines that are no command of ours, and what tries them
    "make demo": "test_start.py",
    "make test": "the tests themselves",
    "make lint": "CI",
    "make docs": "CI, test_site.py",
    "make docs-lint": "CI, test_english.py",
    "COMFYUI_PATH=... make test-host": "tests/host, with a ComfyUI",
    "python -m venv .venv": "tools/check_wheel.py",
    '.venv/bin/python -m pip install -e ".[test]"': "CI",
    ".venv/bin/python -m priorsr.methods.cli.demo demo": "test_demo.py",
    "source .venv/bin/activate": "a shell's own",
    "cd ComfyUI/custom_nodes": "a shell's own",
    "git clone https://github.com/priorsr/priorsr PriorSR": "test_start.py clones what lies here",
    "git clone https://github.com/priorsr/priorsr && cd priorsr": "test_start.py clones what lies here",
    "python -m pip install -r PriorSR/requirements.txt": "test_package.py",
    "python -m pip install .": "tools/check_wheel.py",
    'pip install "priorsr[app]"': "CI",
}
ELSEWHERE = {  # commands that are hours, or need what no test has, and the tests of their small likes
    "priorsr app": "tests/methods/app",
    "priorsr train": "tests/methods/train",
    "torchrun": "tests/methods/train/test_stablesr.py",
    "priorsr evaluate": "tests/methods/evaluate",
    "priorsr calibrate": "tests/methods/diffsr",
    "priorsr models fetch": "tests/methods/cli/test_known_models.py",
    "priorsr models check": "tests/methods/cli/test_known_models.py",
    "--cluster": "tests/methods/cli/test_cluster.py",
    "spandrel": "tests/methods/upscale_model",  # a network of any architecture, as a file of another's
    "--protocol srdg-recognition": "tests/methods/judge",  # people, each in several pictures
    "--identities": "tests/methods/judge",
    "--reference photographs_of_her/": "tests/methods/faces/test_candidates.py",
    "--classifier happy.safetensors": "tests/methods/cli/test_srdg.py",
    "--classifier ckpt_gender": "tests/methods/cli/test_srdg.py",
    "edm32.safetensors": "tests/methods/train/test_edm.py",  # which a line above it trains
}
OTHERS = {name.partition(".")[0] for one in KNOWN for name in (one.file, one.name)}  # files that are to fetch


def pages() -> list[Path]:
    found = [path for folder in ("docs", "weights", "web/docs") for path in (ROOT / folder).rglob("*.md")]
    return sorted([*ROOT.glob("*.md"), *found])


def blocks() -> Iterator[tuple[str, str, str]]:
    """Every block of code: its page, language and text."""
    for page in pages():
        for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            yield page.relative_to(ROOT).as_posix(), language, text


def lines() -> list[tuple[str, str]]:
    """Every line of the blocks without a language, and its page."""
    plain = [(page, text.replace("\\\n", " ")) for page, language, text in blocks() if not language]
    return [(page, line.strip()) for page, text in plain for line in text.splitlines() if line.strip()]


def tried_elsewhere(line: str) -> str:
    """The tests of a line's like, "" where it can be run as it stands."""
    told = next((tests for part, tests in ELSEWHERE.items() if part in line), "")
    files = {Path(word).name.partition(".")[0] for word in shlex.split(line, comments=True)[1:]}
    return told or ("those of its method, with small files of that form" if files & OTHERS else "")


RUN = [(page, line) for page, line in lines() if line.startswith("priorsr ") and not tried_elsewhere(line)]


def test_every_block_in_a_language_has_a_test_that_names_its_page():
    counted = Counter((page, language) for page, language, _ in blocks() if language)
    assert counted == {key: count for key, (count, _) in RUN_BY.items()}
    for (page, _), (_, test) in RUN_BY.items():
        assert Path(page).stem.lower() in (ROOT / "tests" / test).read_text(encoding="utf-8").lower(), page


def test_every_other_line_is_a_command_or_known():
    for page, line in lines():
        words = line.partition("  #")[0].strip()
        if words not in SETS_UP:
            assert words.startswith(("priorsr ", "torchrun ")), f"{page}: {line}"
    assert {line.partition("  #")[0].strip() for _, line in lines()} >= set(SETS_UP)


def test_every_reason_holds_and_leads_to_tests():
    for part, tests in ELSEWHERE.items():
        assert any(part in line for _, line in lines()), part
        assert (ROOT / tests).exists(), tests
    assert len(RUN) > 40


def test_the_example_of_style_works():
    (code,) = (text for page, language, text in blocks() if (page, language) == ("CONTRIBUTING.md", "python"))
    names: dict = {"Tensor": Tensor}
    exec(compile(code, "CONTRIBUTING.md", "exec"), names)  # noqa: S102 (our own text)
    kept = names["recoverable"](torch.arange(3), torch.tensor([0.1, 0.2, 0.3]), 0.2)
    assert kept.tolist() == [True, True, False]
    with pytest.raises(ValueError, match="no level loses less than"):
        names["recoverable"](torch.arange(3), torch.tensor([0.1, 0.2, 0.3]), 0.01)


def test_the_files_that_are_shown_are_read(tmp_path):
    tomllib = pytest.importorskip("tomllib", reason="tomllib needs Python 3.11")
    (entry,) = (text for page, language, text in blocks() if (page, language) == ("docs/extend.md", "toml"))
    assert list(tomllib.loads(entry)["project"]["entry-points"]) == ["priorsr.methods"]
    protocol, study = (
        text for page, language, text in blocks() if (page, language) == ("docs/judge.md", "toml")
    )
    for name, text in (("mine.toml", protocol), ("study.toml", study)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_protocol(tmp_path / "mine.toml").check().pairs.results == "_out"
    assert len(read_study(tmp_path / "study.toml").runs) == 2


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory) -> Path:
    """A folder in which the names of the pages are small pictures, folders and records."""
    place = tmp_path_factory.mktemp("stand-ins")
    portrait, face = sample("portrait"), sample("face")
    small = Picture(resize(portrait, (48, 48)).clamp(0, 1))
    for name in ("IN", "RESTORED", "REFERENCE"):
        write(small, place / f"{name}.png")
    for name in ("PHOTO.png", "photo.jpg", "photo.png"):
        write(Picture(resize(portrait, (160, 160)).clamp(0, 1)), place / name)
    for name, side in (("FACE", 16), ("FACE_8", 8), ("FACE_16", 16), ("FACE_32", 32)):
        write(Picture(resize(face, (side, side)).clamp(0, 1)), place / f"{name}.png")
    mask = torch.zeros(1, 1, 48, 48)
    mask[..., :24] = 1
    write(Picture(mask), place / "MASK.png")
    sides = {"photos": 32, "TRUE": 64, "RESULTS": 64, "SMALL": 16, "BICUBIC": 64, "Set5": 64}
    for folder, side in sides.items():
        for i, x in enumerate((face, portrait)):
            write(Picture(resize(x, (side, side)).clamp(0, 1)), place / folder / f"{i}.png")
    shutil.copyfile(ROOT / "example_workflows" / "srcnn_upscale.json", place / "flow.json")
    (place / "ComfyUI" / "custom_nodes").mkdir(parents=True)
    for name in ("ddnm", "srcnn", "bicubic"):
        asked = [
            "judge",
            f"{place}/RESULTS",
            "--truth",
            f"{place}/TRUE",
            "--metrics",
            "psnr",
            "--label",
            name,
        ]
        assert main([*asked, "--out", f"{place}/{name}.json"]) == 0
    if importlib.util.find_spec("av"):
        clip(place / "clip.mp4")
    return place


def clip(path: Path) -> None:
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        frame = (read(ROOT / "docs" / "sample" / "face.png").pixels[0, :, :32, :32] * 255).byte()
        for packet in stream.encode(
            av.VideoFrame.from_ndarray(frame.permute(1, 2, 0).numpy().copy(), "rgb24")
        ):
            out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "line"), RUN, ids=[f"{Path(page).stem}-{i}" for i, (page, _) in enumerate(RUN)]
)
def test_a_command_runs_as_it_is_printed(page, line, stand_ins, tmp_path, monkeypatch):
    """But for names in capitals, which stand for a picture or a folder of the reader's."""
    if "clip.mp4" in line and not (stand_ins / "clip.mp4").exists():
        pytest.skip("needs the video extra")
    for path in stand_ins.iterdir():
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, tmp_path / path.name)
    for name in ("docs", "example_workflows"):
        (tmp_path / name).symlink_to(ROOT / name)
    write(Picture(resize(sample("portrait"), (96, 96)).clamp(0, 1)), tmp_path / "demo" / "damaged.png")
    shutil.copyfile(tmp_path / "IN.png", tmp_path / "demo" / "input.png")
    if page == "docs/start_researcher.md":  # whose lines go on from one another
        write(read(tmp_path / "FACE_32.png"), tmp_path / "out" / "small.png")
        write(read(ROOT / "docs" / "sample" / "face.png"), tmp_path / "out" / "diffsr.png")
    monkeypatch.chdir(tmp_path)
    folder = page == "docs/scale.md"
    said = shlex.split(line.replace("$SLURM_ARRAY_TASK_ID", "2"), comments=True)
    words = [standing(word, folder) for word in said]
    place = {"upscale": 4, "restore-faces": 4, "degrade": 3}.get(words[1], 0)
    target = Path(words[place])
    if place and target.is_dir():
        shutil.rmtree(target)
    assert main(words[1:]) == 0
    assert not place or target.exists()


def standing(word: str, folder: bool) -> str:
    """What stands for a name in capitals."""
    if word in ("IN", "OUT"):
        return {"IN": "photos", "OUT": "outs"}[word] if folder else f"{word}.png"
    if word in ("PHOTO", "FACE", "FACE_8", "FACE_16", "FACE_32", "MASK", "RESTORED", "REFERENCE"):
        return f"{word}.png"
    return word
