"""The protocol of a ComfyUI server, against a small one that inverts pictures."""

from __future__ import annotations

import io
import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image, ImageOps

from priorsr.methods.cli.main import main
from priorsr.methods.graph import server as module
from priorsr.methods.graph.engine import Gone
from priorsr.methods.graph.graph import load
from priorsr.methods.graph.server import Server
from priorsr.methods.imaging.images import read

INFO = {
    "LoadImage": {
        "input": {"required": {"image": [["there.png"], {"image_upload": True}]}},
        "output": ["IMAGE", "MASK"],
    },
    "ImageInvert": {"input": {"required": {"image": ["IMAGE"]}}, "output": ["IMAGE"]},
    "SaveImage": {
        "input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "x"}]}},
        "output": [],
        "output_node": True,
    },
}
FLOW = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "there.png"}, "_meta": {"title": "In"}},
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
}


class Fake:
    """A server that does what it is told of: refuse, fail, die after some runs, forget, or never end."""

    def __init__(self):
        self.mood, self.lives, self.given, self.files, self.history = "", 10**9, {}, {}, {}
        self.heard: list[tuple[str, object]] = []
        self.first, self.died = threading.Event(), threading.Event()  # runs wait for the first
        self.first.set()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *words):
                pass

            def answer(self, content, code=200):
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                fake.get(self, urllib.parse.urlsplit(self.path))

            def do_POST(self):
                fake.post(self, self.rfile.read(int(self.headers["Content-Length"])))

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def get(self, to, url):
        if url.path == "/object_info":
            to.answer(INFO)
        elif url.path == "/queue":
            running = [[0, "1", {}]] if self.mood == "endless" else []
            to.answer({"queue_running": running, "queue_pending": []})
        elif url.path.startswith("/history/"):
            key = url.path.rpartition("/")[2]
            to.answer({key: self.history[key]} if key in self.history else {})
        else:
            query = dict(urllib.parse.parse_qsl(url.query))
            assert query["type"] == "output"
            to.answer(self.files[query["filename"]])

    def post(self, to, body):
        self.heard.append((to.path, body))
        if to.path == "/upload/image":
            head, _, rest = body.partition(b"\r\n\r\n\x89PNG")
            name = head.rpartition(b'filename="')[2].partition(b'"')[0].decode()
            assert b'name="type"\r\n\r\ntemp\r\n' in head
            self.given[f"priorsr/{name} [temp]"] = b"\x89PNG" + rest.rpartition(b"\r\n--")[0]
            to.answer({"name": name, "subfolder": "priorsr", "type": "temp"})
        elif to.path != "/prompt":
            to.answer({})
        elif self.mood == "refuses":
            errors = [{"message": "Value not in list", "details": "sampler: 'x' not in []"}]
            told = {"error": {"message": "invalid"}, "node_errors": {"1": {"errors": errors}}}
            to.answer(told, 400)
        elif self.run(json.loads(body)["prompt"]):
            to.answer({"prompt_id": str(len(self.history) + (self.mood in ("endless", "forgets")))})

    def run(self, graph):
        if self.mood in ("endless", "forgets"):
            return True
        self.first.wait(20)
        self.lives -= 1
        if self.lives < 0:
            self.http.socket.close()
            self.died.set()
            return False
        key = str(len(self.history) + 1)
        if self.mood == "fails":
            told = {"node_id": "1", "node_type": "LoadImage", "exception_message": "out of luck\n"}
            status = {"status_str": "error", "messages": [["execution_error", told]]}
            self.history[key] = {"status": status, "outputs": {}}
            return True
        picture = Image.open(io.BytesIO(self.given[graph["1"]["inputs"]["image"]]))
        content = io.BytesIO()
        ImageOps.invert(picture).save(content, "PNG")
        self.files[f"{key}.png"] = content.getvalue()
        saved = [{"filename": f"{key}.png", "subfolder": "", "type": "output"}]
        outputs = {"3": {"images": saved}, "2": {"text": ["done"]}}
        self.history[key] = {"status": {"status_str": "success"}, "outputs": outputs}
        return True


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
