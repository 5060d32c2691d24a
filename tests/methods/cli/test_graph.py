"""`priorsr graph` without a host: the command's pictures, folders, files and workflows."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
from graph_runs import said, several
from PIL import Image
from small_workflows import WORKFLOWS, small

from priorsr.methods.cli.main import main
from priorsr.methods.graph.definitions import runs_alone
from priorsr.methods.graph.files import read_flow
from priorsr.methods.graph.graph import load
from priorsr.methods.imaging.images import read

pytestmark = pytest.mark.usefixtures("place")
ROOT = Path(__file__).parents[3]
NEEDY = {
    name: [one["class_type"] for one in load(path).nodes.values() if not runs_alone(one["class_type"])]
    for name, path in WORKFLOWS.items()
}
ALONE = [name for name, kinds in NEEDY.items() if not kinds]
HOSTED = [name for name, kinds in NEEDY.items() if kinds]
FP32 = ["--precision", "fp32"]  # in which nodes compute, and commands where the processor has no fast bf16
METHODS = {
    "bicubic": ["--scale", "2.5"],
    "srcnn": ["--longest", "50", "--channels", "rgb", *FP32],
    "dpi": ["--prior=tiny_adm", "--corrector=none", "--scale=2", "--steps=2", "--seed=5", *FP32],
}


@pytest.mark.parametrize("method", list(METHODS))
def test_a_workflow_made_of_a_command_gives_its_picture(tmp_path, method):
    form = ["--api"] * (method in ("srcnn", "dpi"))
    command = ["upscale", method, str(tmp_path / "small.png"), str(tmp_path / "out.png"), *METHODS[method]]
    assert main(command) == 0
    flow = tmp_path / "flow.json"
    assert main(["graph", "from-command", "--to", str(flow), *form, *command]) == 0
    assert main(["graph", "run", str(flow), "--out", str(tmp_path / "flow")]) == 0
    assert (tmp_path / "flow" / "small.png").read_bytes() == (tmp_path / "out.png").read_bytes()


def test_previews_of_a_run_without_a_host(tmp_path):
    command = ["upscale", "dpi", str(tmp_path / "small.png"), "x.png", *METHODS["dpi"]]
    flow, shown = tmp_path / "flow.json", tmp_path / "now.png"
    assert main(["graph", "from-command", "--to", str(flow), *command]) == 0
    run = ["graph", "run", str(flow), "--out", str(tmp_path / "out")]
    assert main([*run, "--preview", str(shown)]) == 0
    with Image.open(shown) as picture:
        assert picture.size == (16, 14)
        assert picture.info["Software"] == "PriorSR preview"


@pytest.mark.parametrize("form", [[], ["--api"]], ids=["saved", "api"])
def test_a_region_is_a_mask_of_the_workflow(tmp_path, form):
    Image.linear_gradient("L").resize((5, 4)).save(tmp_path / "mask.png")
    command = ["upscale", "srcnn", str(tmp_path / "small.png"), str(tmp_path / "out.png"), "--scale", "2"]
    command += ["--region", str(tmp_path / "mask.png"), "--feather", "1.5", *FP32]
    assert main(command) == 0
    flow = tmp_path / "flow.json"
    assert main(["graph", "from-command", "--to", str(flow), *form, *command]) == 0
    assert main(["graph", "run", str(flow), "--out", str(tmp_path / "flow")]) == 0
    (made,) = (tmp_path / "flow").iterdir()
    assert made.read_bytes() == (tmp_path / "out.png").read_bytes()


def test_folders_are_those_of_the_command(tmp_path, capsys):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.jpg"):
        Image.open(tmp_path / "small.png").save(folder / name)
    (folder / "c.png").write_bytes(b"no picture")
    command = ["upscale", "dpi", str(folder), str(tmp_path / "out"), *METHODS["dpi"]]
    assert main(command) == 1
    flow = tmp_path / "flow.json"
    assert main(["graph", "from-command", "--to", str(flow), *command]) == 0
    run = ["graph", "run", str(flow), "--input", str(folder), "--json", "--out", str(tmp_path / "graph")]
    capsys.readouterr()
    assert main(run) == 1
    told = said(capsys)
    assert (told["written"], told["skipped"], told["failed"]) == (2, 0, 1)
    for name in ("a.png", "sub/b.jpg"):
        assert (tmp_path / "graph" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    seeds = [one["report"].get("seeds") for one in told["files"] if one["status"] == "written"]
    assert seeds[0] != seeds[1]
    shutil.copy(folder / "a.png", folder / "c.png")
    assert main(run) == 0
    assert (said(capsys)["written"], len(list((tmp_path / "graph").rglob("*.*")))) == (1, 3)
    assert main([*run[:-1], str(tmp_path / "same"), "--no-vary"]) == 0
    assert {one["report"]["seeds"]["2.seed"] for one in said(capsys)["files"]} == {5}


SECONDS = ("diffsr_face", "dpi_face", "dps_face", "guided_upsampler")  # that these take, each


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SECONDS)) for name in ALONE]
)
def test_workflows_of_the_repository_run_without_a_host(tmp_path, name, monkeypatch, caplog):
    (tmp_path / "flow.json").write_text(small(name).to_json())
    run = ["graph", "run", str(tmp_path / "flow.json"), "--input", str(tmp_path / "in.png")]
    assert main([*run, "--out", str(tmp_path / "out")]) == 0, caplog.text
    assert read(tmp_path / "out" / "in.png").pixels.std() > 0.01


def test_workflows_that_need_a_host_say_so(tmp_path, caplog):
    for name in HOSTED:
        caplog.clear()
        assert main(["graph", "run", str(WORKFLOWS[name]), "--out", str(tmp_path / "out")]) == 2
        assert "needs --comfyui or --server" in caplog.text
        assert any(word in caplog.text for word in ("Sampl", "Checkpoint", "Video"))
    assert not (tmp_path / "out").exists()


def test_texts_are_in_the_json_and_values_can_be_set(tmp_path, capsys):
    run = ["graph", "run", str(WORKFLOWS["srcnn_upscale"]), "--input", str(tmp_path / "in.png"), "--json"]
    more = [
        "--set",
        "2.scale=3",
        "--set",
        "Half as large.degradation=noise",
        "--set",
        "4.degradation.amount=9",
    ]
    more += ["--set", "5.scale=1"]
    assert main([*run, *more, "--out", str(tmp_path / "out")]) == 0
    (told,) = said(capsys)["files"]
    assert told["report"]["texts"]["10"][0].startswith("PSNR")
    assert tuple(read(tmp_path / "out" / "in.png").pixels.shape[-2:]) == (48, 60)


def test_several_results_lie_beside_each_other(tmp_path, capsys):
    flow, out = several(tmp_path), tmp_path / "out"
    run = ["graph", "run", str(flow), "--out", str(out), "--json"]
    assert main(run) == 0
    assert said(capsys)["files"][0]["report"]["more"] == [str(out / "in_4_1.png")]
    first, second = read(out / "in.png").pixels, read(out / "in_4_1.png").pixels
    assert (first + second - 1).abs().max() < 1e-6
    (out / "in.png").unlink()  # as of a run that was killed before its last file
    assert main(run) == 0
    Image.new("RGB", (3, 3)).save(out / "in_4_1.png")
    (out / "in.png").unlink()
    capsys.readouterr()
    assert main(run) == 1
    assert read(out / "in_4_1.png").pixels.shape[-1] == 3  # the user's own
    assert not (out / "in.png").exists()
    assert main([*run, "--overwrite"]) == 0
    assert read(out / "in_4_1.png").pixels.shape[-1] == 20


def test_a_graph_of_texts_and_one_without_input(tmp_path, capsys):
    flow = tmp_path / "flow.json"
    text = {"1": {"class_type": "PreviewAny", "inputs": {"source": ["2", 1]}}}
    text["2"] = {"class_type": "PriorSRResize", "inputs": {"image": ["3", 0]}}
    flow.write_text(json.dumps(text))
    assert main(["graph", "run", str(flow), "--out", str(tmp_path / "out")]) == 2
    assert (
        main(["graph", "run", str(several(tmp_path)), "--out", str(tmp_path / "out"), "--format", "webp"])
        == 0
    )
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["in.webp", "in_4_1.webp"]


def test_inputs_check_and_convert(tmp_path, capsys):
    flow = WORKFLOWS["srcnn_upscale"]
    assert main(["graph", "inputs", str(flow)]) == 0
    text = capsys.readouterr().out
    assert "2  SRCNN Upscale  (PriorSRUpscaleSRCNN)\n    scale = 2.0  FLOAT 1.0 .. 64.0\n" in text
    assert main(["graph", "inputs", str(flow), "--json"]) == 0
    assert [row["max"] for row in said(capsys) if row["input"] == "scale"] == [64.0, 64.0]
    assert main(["graph", "check", str(WORKFLOWS["tiled_sampling"]), "--json"]) == 0
    assert "node 13 (SamplerCustomAdvanced)" in said(capsys)["needs_comfyui"]
    assert main(["graph", "check", str(WORKFLOWS["stablesr_upscale"]), "--json"]) == 1
    assert any("example.png" in one for one in said(capsys)["problems"])
    api = tmp_path / "api.json"
    assert main(["graph", "convert", str(flow), "--to", str(api), "--set", "2.scale=4"]) == 0
    assert read_flow(api)["2"]["inputs"]["scale"] == 4.0
    assert main(["graph", "convert", str(flow), "--to", str(api)]) == 2
    assert main(["graph", "convert", str(api)]) == 0
    assert said(capsys) == read_flow(api)


def test_the_page_of_commands_works_as_printed(tmp_path, monkeypatch):
    text = (ROOT / "docs" / "headless.md").read_text("utf-8")
    for name in ("docs", "example_workflows"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    commands = text.split("```")[1].strip().splitlines()
    assert len(commands) == 5
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command
    code = text.split("```python")[1].split("```")[0]
    exec(compile(code, "headless.md", "exec"), {})  # noqa: S102
    assert (
        read(tmp_path / "headless.png").pixels.shape[-1]
        == 3 * read("docs/sample/astronaut.png").pixels.shape[-1]
    )
