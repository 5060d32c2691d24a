"""The protocol of a ComfyUI server, against a small one that inverts pictures."""

from __future__ import annotations

import json
import sys

import pytest
from fake_comfy import Fake
from PIL import Image

from priorsr.methods.cli.main import main
from priorsr.methods.graph import server as module
from priorsr.methods.graph.engine import Gone
from priorsr.methods.graph.graph import load
from priorsr.methods.graph.server import Server
from priorsr.methods.imaging.images import read

FLOW = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "there.png"}, "_meta": {"title": "In"}},
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
}


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    made = Fake()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def flow(tmp_path):
    (tmp_path / "flow.json").write_text(json.dumps(FLOW))
    return tmp_path / "flow.json"


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for i in range(8):
        name = f"{'sub/' if i % 2 else ''}{i}.png"
        Image.new("RGB", (3 + i, 2), (20 * i, 7, 250)).save(folder / name)
    return folder


def inverted(path, source):
    return bool((read(path).pixels * 255).round().equal(255 - (read(source).pixels * 255).round()))


def test_a_picture_there_and_back(fake, flow, pictures):
    server = Server(fake.url.removeprefix("http://"))
    graph = load(flow, server.definitions)
    result = server.run(graph, {"1": read(pictures / "2.png")})
    assert result.texts == {"2": ["done"]}
    assert (result.picture.pixels * 255).round()[0, :, 0, 0].tolist() == [215, 248, 5]
    assert graph.nodes["1"]["inputs"]["image"] == "there.png"


def test_steps_and_previews_are_heard(fake, flow, pictures, monkeypatch):
    pytest.importorskip("websockets", reason="steps of a server need websockets")
    monkeypatch.setattr(module, "FIRST_PAUSE", 20.0)  # that the end of the run cuts short
    server, steps, previews = Server(fake.url), [], []
    graph, given = load(flow, server.definitions), {"1": read(pictures / "2.png")}
    result = server.run(graph, given, lambda *step: steps.append(step), previews.append)
    assert result.texts == {"2": ["done"]}
    assert steps == [("2", 0, 0), ("2", 1, 2), ("2", 2, 2)]
    assert [(one.size, one.getpixel((0, 0))) for one in previews] == [((5, 3), (10, 200, 30))] * 2
    asked = json.loads(fake.heard[-1][1])
    assert asked["extra_data"] == {"preview_method": "auto"}
    server.run(graph, given)
    again = json.loads(fake.heard[-1][1])
    assert "extra_data" not in again
    assert again["client_id"] != asked["client_id"]


def test_a_video_is_a_file_of_the_folder(fake, flow, pictures, tmp_path, capsys):
    fake.mood = "films"
    run = ["graph", "run", str(flow), "--input", str(pictures / "2.png"), "--server", fake.url, "--json"]
    for more in ([], [], ["--overwrite"]):  # the second finds it as it is
        assert main([*run, "--out", str(tmp_path / "out"), *more]) == 0
        (told,) = json.loads(capsys.readouterr().out)["files"]
        assert told["report"]["more"] == [str(tmp_path / "out" / "2.mp4")]
        assert [p.name for p in (tmp_path / "out").iterdir()] == ["2.mp4"]
    (tmp_path / "out" / "2.mp4").write_bytes(b"the user's own")
    assert main([*run, "--out", str(tmp_path / "out")]) == 1
    assert (tmp_path / "out" / "2.mp4").read_bytes() == b"the user's own"


@pytest.mark.parametrize("mood", ["mute", "hangs up", "absent"])
def test_a_server_that_cannot_be_heard_gives_the_same(
    fake, flow, pictures, tmp_path, mood, monkeypatch, caplog
):
    caplog.set_level("INFO")
    fake.mood = mood
    if mood == "absent":
        monkeypatch.setitem(sys.modules, "websockets.sync.client", None)
    command = ["graph", "run", str(flow), "--input", str(pictures), "--out", str(tmp_path / "out")]
    assert main([*command, "--server", fake.url]) == 0
    for path in pictures.rglob("*.png"):
        assert inverted(tmp_path / "out" / path.relative_to(pictures), path)
    said = {
        "mute": f"{fake.url} shows no steps, for its websocket does not answer",
        "absent": 'steps and previews of a server need websockets: pip install "priorsr[server]"',
    }
    assert caplog.text.count("its history is asked for results instead") == (mood in said)
    assert said.get(mood, "") in caplog.text


def test_the_newest_preview_lies_in_a_file(fake, flow, pictures, tmp_path, caplog, monkeypatch):
    pytest.importorskip("websockets", reason="previews of a server need websockets")
    monkeypatch.setattr(module, "FIRST_PAUSE", 20.0)
    command = ["graph", "run", str(flow), "--input", str(pictures), "--out", str(tmp_path / "out")]
    command += ["--server", fake.url, "--preview", str(tmp_path / "now.png")]
    assert main(command) == 0
    with Image.open(tmp_path / "now.png") as picture:
        assert (picture.size, picture.getpixel((0, 0))) == ((5, 3), (10, 200, 30))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["flow.json", "in", "now.png", "out"]
    (tmp_path / "out" / "2.png").unlink()
    assert main(command) == 0  # its own file may be there
    Image.new("RGB", (2, 2)).save(tmp_path / "mine.png")
    before = (tmp_path / "mine.png").read_bytes()
    monkeypatch.setitem(sys.modules, "websockets.sync.client", None)
    for more, words in (
        ([], "need websockets"),
        (["--preview", str(tmp_path / "x.jpg")], "ends in .png"),
        (["--preview", str(tmp_path / "mine.png")], "exists and is no preview"),
        (["--preview", str(pictures / "x.png")], "would be an input of the next run"),
        (["--preview", str(tmp_path / "out" / "4.png")], "is a file of this run"),
        (["--server", fake.url], "shows one picture at a time"),
    ):
        caplog.clear()
        monkeypatch.setitem(sys.modules, "websockets.sync.client", None)
        if more:
            monkeypatch.delitem(sys.modules, "websockets.sync.client")
        assert main([*command, *more]) == 2
        assert words in caplog.text
    assert (tmp_path / "mine.png").read_bytes() == before


def test_a_folder_with_subfolders_resumes(fake, flow, pictures, tmp_path, capsys):
    command = ["graph", "run", str(flow), "--input", str(pictures), "--out", str(tmp_path / "out")]
    command += ["--server", fake.url, "--json"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["written"], told["skipped"], told["failed"]) == (8, 0, 0)
    assert told["files"][0]["report"]["texts"] == {"2": ["done"]}
    for path in pictures.rglob("*.png"):
        assert inverted(tmp_path / "out" / path.relative_to(pictures), path)
    (tmp_path / "out" / "2.png").unlink()
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["written"], told["skipped"]) == (1, 7)
    assert len(fake.history) == 9


def test_several_share_a_folder_and_one_may_die(fake, flow, pictures, tmp_path, caplog):
    other = Fake()
    other.lives = 0
    fake.first = other.died
    command = ["graph", "run", str(flow), "--input", str(pictures), "--out", str(tmp_path / "out")]
    assert main([*command, "--server", fake.url, "--server", other.url]) == 0
    assert f"{other.url} does not answer any more" in caplog.text
    assert "the others go on" in caplog.text
    assert len(fake.history) == 8
    for path in pictures.rglob("*.png"):
        assert inverted(tmp_path / "out" / path.relative_to(pictures), path)


def test_the_last_one_dies(fake, flow, pictures, tmp_path, capsys, caplog):
    fake.lives = 3
    command = ["graph", "run", str(flow), "--input", str(pictures), "--out", str(tmp_path / "out")]
    assert main([*command, "--server", fake.url, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["written"], told["failed"]) == (3, 5)
    assert caplog.text.count("does not answer any more") == 5
    assert "run the same command, which does what is missing" in caplog.text
    assert len([p for p in (tmp_path / "out").rglob("*") if p.is_file()]) == 3


def test_all_of_several_die(fake, flow, pictures, tmp_path, capsys):
    other = Fake()
    fake.lives = other.lives = 1
    command = ["graph", "run", str(flow), "--input", str(pictures), "--out", str(tmp_path / "out")]
    assert main([*command, "--server", fake.url, "--server", other.url, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["written"], told["failed"]) == (2, 6)


@pytest.mark.parametrize(
    ("mood", "words"),
    [("refuses", "node 1 (In): Value not in list: sampler"), ("fails", "node 1 (In): out of luck")],
)
def test_what_a_server_says_of_a_graph(fake, flow, pictures, tmp_path, caplog, mood, words):
    fake.mood = mood
    command = ["graph", "run", str(flow), "--input", str(pictures / "2.png"), "--out", str(tmp_path / "out")]
    assert main([*command, "--server", fake.url]) == 1
    assert words in caplog.text
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_server_that_forgets_a_run(fake, flow, pictures):
    fake.mood = "forgets"
    server = Server(fake.url)
    with pytest.raises(Gone, match="has lost the run"):
        server.run(load(flow, server.definitions), {"1": read(pictures / "2.png")})


def test_an_interrupted_run_leaves_the_queue(fake, flow, pictures, monkeypatch):
    fake.mood = "endless"
    monkeypatch.setitem(sys.modules, "websockets.sync.client", None)
    server = Server(fake.url)

    def sleep(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        server.run(load(flow, server.definitions), {"1": read(pictures / "2.png")})
    assert fake.heard[-1] == ("/interrupt", b'{"prompt_id": "1"}')


@pytest.mark.parametrize("url", ["127.0.0.1:1", "ftp://127.0.0.1", "http://"])
def test_a_server_that_is_not_there(flow, tmp_path, capsys, caplog, url):
    assert main(["graph", "run", str(flow), "--out", str(tmp_path / "out"), "--server", url, "--json"]) == 2
    assert "ComfyUI" in json.loads(capsys.readouterr().out)["error"]
    assert not (tmp_path / "out").exists()


def test_something_else_that_serves(fake, flow, tmp_path, monkeypatch):
    monkeypatch.setattr(Fake, "get", lambda self, to, url: to.answer(b"<html>"))
    with pytest.raises(Gone, match="there is no ComfyUI at"):
        Server(fake.url)
