"""What the pages of docs/ say holds."""

from __future__ import annotations

import importlib
import io
import re
import shlex
from contextlib import redirect_stderr

import pytest
import torch
from gaussian_prior import GaussianPrior
from open_clip_tiny import text_state
from safetensors.torch import load_file
from stablesr_tiny import UNET, base_file, tiny

from priorsr.methods.cli.main import build_parser
from priorsr.methods.stablesr.load import TEXT
from priorsr.samplers.karras import DPMpp2M, Euler, Heun
from priorsr.samplers.noise import Noise
from priorsr.samplers.run import run
from priorsr.samplers.schedule import CLEAN, DiscreteSchedule, c_noise, karras_sigmas, sigma_levels
from priorsr.samplers.sde import EulerMaruyama, ReverseDiffusion
from priorsr.samplers.transition import DDIM, DDPM, Renoise

TRANSITIONS = {
    "Euler()": Euler(),
    "Heun()": Heun(),
    "Heun(churn=10, c_noise=c_noise)": Heun(churn=10, c_noise=c_noise),
    "DPMpp2M()": DPMpp2M(),
    "DDIM()": DDIM(),
    "DDIM(eta=0.5)": DDIM(eta=0.5),
    "Renoise()": Renoise(),
    "DDPM()": DDPM(),
    "ReverseDiffusion(corrections=1)": ReverseDiffusion(corrections=1),
    "EulerMaruyama()": EulerMaruyama(),
}
STEPS = 6
LEVELS = {
    "VE": sigma_levels(karras_sigmas(STEPS), c_noise),
    "VP": DiscreteSchedule.named("linear").respace(STEPS).levels(),
}


@pytest.fixture
def text(root) -> str:
    return (root / "docs" / "core.md").read_text(encoding="utf-8")


@pytest.fixture
def one_thread():
    """Thousands of tiny operations: on a busy machine threads would wait for each other longer than they
    work.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def table(text: str, title: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    lines = [
        line for line in text.split(f"## {title}\n")[1].split("\n## ")[0].splitlines() if line.startswith("|")
    ]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.usefixtures("one_thread")
def test_its_python_runs_in_order_and_holds(text, tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for i, code in enumerate(blocks):
        exec(compile(code, f"docs/core.md, block {i}", "exec"), names)  # noqa: S102 (our own text)
    assert "tensor" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_python_of_diffsr_runs(root, monkeypatch, capsys):
    (code,) = re.findall(
        r"```python\n(.*?)```", (root / "docs" / "diffsr.md").read_text(encoding="utf-8"), re.S
    )
    monkeypatch.chdir(root)
    names: dict = {}
    exec(compile(code, "docs/diffsr.md", "exec"), names)  # noqa: S102 (our own text)
    assert "% of the schedule" in capsys.readouterr().out
    assert tuple(names["larger"].shape) == (1, 3, 65, 65)


def test_the_python_of_the_functions_runs(root, monkeypatch, capsys):
    blocks = re.findall(
        r"```python\n(.*?)```", (root / "docs" / "python.md").read_text(encoding="utf-8"), re.S
    )
    assert len(blocks) == 6
    monkeypatch.chdir(root)
    names: dict = {}
    for i, code in enumerate(blocks):
        exec(compile(code, f"docs/python.md, block {i}", "exec"), names)  # noqa: S102 (our own text)
    assert "['restored']" in capsys.readouterr().out


COMMAND = re.compile(r"^priorsr (?:[^#\n\\]|\\\n)*", re.M)


def commands(root) -> list[str]:
    """Every command line in the code blocks of the pages."""
    pages = [root / "README.md", *sorted((root / "docs").glob("*.md")), *sorted((root / "web").rglob("*.md"))]
    texts = [page.read_text(encoding="utf-8") for page in pages]
    blocks = [block for text in texts for block in re.findall(r"^```\w*\n(.*?)^```", text, re.S | re.M)]
    return [line.replace("\\\n", " ") for block in blocks for line in COMMAND.findall(block)]


def test_command_lines_of_pages_are_understood(root):
    found = [line for line in commands(root) if "..." not in line]
    assert len(found) > 20
    for line in found:
        _, command, *arguments = shlex.split(re.sub(r"\$\w+", "2", line))  # what a shell would put there
        with redirect_stderr(io.StringIO()) as said:
            try:
                build_parser(command).parse_args([command, *arguments])
            except SystemExit:
                pytest.fail(f"{line}\n{said.getvalue()}")


def test_the_python_of_judging_runs(root, monkeypatch, capsys):
    page = (root / "docs" / "judge.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    monkeypatch.chdir(root)
    exec(compile(code, "docs/judge.md", "exec"), {})  # noqa: S102 (our own text)
    assert "niqe" in capsys.readouterr().out


def test_the_python_of_dpi_runs(root, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", (root / "docs" / "dpi.md").read_text(encoding="utf-8"), re.S)
    monkeypatch.chdir(root)
    names: dict = {}
    exec(compile(code, "docs/dpi.md", "exec"), names)  # noqa: S102 (our own text)
    assert tuple(names["larger"].shape) == (1, 3, 64, 64)
    assert names["corrector"] is not None


@pytest.mark.usefixtures("one_thread")
def test_the_python_of_stablesr_runs_with_files_of_the_released_form(root, monkeypatch, tmp_path):
    (code,) = re.findall(
        r"```python\n(.*?)```", (root / "docs" / "stablesr.md").read_text(encoding="utf-8"), re.S
    )
    text = {f"{TEXT[0]}{key}": value for key, value in text_state(UNET.context_dim).items()}
    base_file(tmp_path / "base.safetensors", {**tiny().layers.released_state(), **text})
    torch.save({"state_dict": load_file(tmp_path / "base.safetensors")}, tmp_path / "stablesr_000117.ckpt")
    torch.save(
        {f"decoder.{key}": value for key, value in tiny().cfw.state_dict().items()},
        tmp_path / "vqgan_cfw_00011.ckpt",
    )
    monkeypatch.setenv("PRIORSR_MODELS", str(tmp_path))
    monkeypatch.chdir(root)
    names: dict = {}
    smaller = code.replace(
        "StableSRSettings(steps=20", "StableSRSettings(steps=2, tile=128, overlap=64"
    )  # small files ask for small tiles
    assert smaller != code
    exec(compile(smaller, "docs/stablesr.md", "exec"), names)  # noqa: S102 (our own text)
    assert tuple(names["larger"].shape) == (1, 3, 256, 256)
    assert tuple(names["context"].shape) == (1, 77, UNET.context_dim)
    assert names["larger"].std() > 0.01


@pytest.mark.parametrize(
    "name",
    [
        "architecture",
        "diffsr",
        "dpi",
        "faces",
        "judge",
        "python",
        "report",
        "srdg",
        "stablesr",
        "visionrefine",
    ],
)
def test_links_of_pages_exist(root, name):
    page = root / "docs" / f"{name}.md"
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_table_of_transitions_is_complete(text):
    assert [name.strip("`") for name, *_ in table(text, "Transitions")] == list(TRANSITIONS)


@pytest.mark.parametrize("name", TRANSITIONS)
def test_transitions_are_as_the_table_says(text, name):
    (row,) = (row for row in table(text, "Transitions") if row[0] == f"`{name}`")
    _, _, random, calls, priors = row
    for family, levels in LEVELS.items():
        prior = GaussianPrior(torch.zeros(1, 1, 1), torch.ones(1, 1, 1))
        start = Noise(0)((1, 1, 4, 4)) * levels[0].sigma
        if priors == "alpha 1" and family == "VP":
            with pytest.raises(ValueError, match="variance-exploding"):
                run(prior, start, levels, TRANSITIONS[name], noise=Noise(1))
            continue
        assert priors in ("any", "alpha 1")
        first = run(prior, start, levels, TRANSITIONS[name], noise=Noise(1))
        a_step = int(calls[0])
        assert prior.calls == a_step * STEPS - (a_step - 1 if calls.endswith("the last 1") else 0)
        other = run(prior, start, levels, TRANSITIONS[name], noise=Noise(2))
        assert torch.equal(first, other) == (random == "no")


def test_links_names_and_levels_of_the_text_exist(text, root):
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (root / "docs" / target).is_file(), target
    for path in re.findall(r"`((?:samplers|tests)/[\w/]+\.py)`", text):
        assert (root / path).is_file(), path
    for module, name in re.findall(r"`(priorsr\.methods\.[\w.]+)\.(\w+)`", text):
        assert hasattr(importlib.import_module(module), name), name
    for levels in LEVELS.values():
        assert levels[-1] == CLEAN == (0.0, 1.0, 0.0)
    kept = DiscreteSchedule.named("linear").respace("10").levels()
    assert [level.t for level in kept[:-1]] == [
        999.0,
        888.0,
        777.0,
        666.0,
        555.0,
        444.0,
        333.0,
        222.0,
        111.0,
        0.0,
    ]


def test_a_child_stream_does_not_shift_its_parent():
    plain, parent = Noise([1, 2]), Noise([1, 2])
    parent.child("mask")((2, 5))
    assert torch.equal(plain((2, 5)), parent((2, 5)))


def test_the_python_of_srdg_runs(root, monkeypatch):
    (code,) = re.findall(
        r"```python\n(.*?)```", (root / "docs" / "srdg.md").read_text(encoding="utf-8"), re.S
    )
    monkeypatch.chdir(root)
    names: dict = {}
    exec(compile(code, "docs/srdg.md", "exec"), names)  # noqa: S102 (our own text)
    assert tuple(names["larger"].shape) == (1, 1, 64, 64)


def test_the_map_of_visionrefine_names_what_exists(root):
    page = (root / "docs" / "visionrefine.md").read_text(encoding="utf-8")
    names = re.findall(r"`(priorsr\.methods\.[\w.]+)\.(\w+)`", page)
    assert len(names) >= 7
    for module, name in names:
        assert hasattr(importlib.import_module(module), name), name


@pytest.mark.parametrize(
    "node",
    [
        "RestoreFaces",
        "CodeFormer",
        "RestoreAlignedFace",
        "UpscaleDiffSR",
        "UpscaleDPI",
        "UpscaleSRDG",
        "GuideAttributes",
    ],
)
def test_the_help_of_what_invents_faces_says_that_they_prove_nothing(root, node):
    english, chinese = (
        (root / "web" / "docs" / page).read_text(encoding="utf-8")
        for page in (f"PriorSR{node}.md", f"PriorSR{node}/zh.md")
    )
    assert re.search(r"not prove|no evidence|no proof|not proof|proves? nothing", " ".join(english.split()))
    assert "不能证明" in chinese
