"""The protocol of a ComfyUI server, against a small one that inverts pictures."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import struct
import sys
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

        self.sockets: dict[str, BaseHTTPRequestHandler] = {}
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def listen(self, to, client):
        """The other end of a websocket, until it is closed (RFC 6455)."""
        self.sockets[client] = to
        seed = to.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(seed.encode()).digest()).decode()
        head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        to.wfile.write(f"{head}Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())
        to.close_connection = True
        if self.mood != "hangs up":
            to.rfile.read(8)  # its end
            to.wfile.write(b"\x88\x02\x03\xe8")

    def tell(self, client, message):
        """A message to who listens."""
        if self.mood in ("mute", "hangs up") or client not in self.sockets:
            return
        content = message if isinstance(message, bytes) else json.dumps(message).encode()
        head = bytes([0x82 if isinstance(message, bytes) else 0x81, 126])
        self.sockets[client].wfile.write(head + struct.pack(">H", len(content)) + content)

    def tell_steps(self, client, key):
        """What a host says of a run, among what it says of others and what nobody knows."""
        of = {"prompt_id": key}
        picture = io.BytesIO()
        Image.new("RGB", (5, 3), (10, 200, 30)).save(picture, "PNG")
        about = json.dumps({"node_id": "2"}).encode()
        for message in (
            {"type": "status", "data": {"status": {}}},
            {"type": "executing", "data": {"node": None, "prompt_id": "another's"}},
            {"type": "new", "data": 3},
            {"type": "progress", "data": {**of, "node": "2"}},
            {"type": "executing", "data": {**of, "node": "2"}},
            {"type": "progress", "data": {**of, "node": "2", "value": 1, "max": 2}},
            struct.pack(">II", 1, 2) + picture.getvalue(),
            struct.pack(">II", 1, 1) + b"no picture",
            struct.pack(">II", 3, 1) + b"a text",
            struct.pack(">II", 4, len(about)) + about + picture.getvalue(),
            {"type": "progress", "data": {**of, "node": "2", "value": 2, "max": 2}},
        ):
            self.tell(client, message)

    def get(self, to, url):
        if url.path == "/ws":
            client = urllib.parse.parse_qs(url.query)["clientId"][0]
            to.answer(b"", 404) if self.mood == "mute" else self.listen(to, client)
        elif url.path == "/object_info":
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
        elif self.run(json.loads(body)["prompt"], json.loads(body)["client_id"]):
            to.answer({"prompt_id": str(len(self.history) + (self.mood in ("endless", "forgets")))})

    def run(self, graph, client):
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
        if self.mood == "films":
            self.files["clip.mp4"] = b"frames"
            saved = [{"filename": "clip.mp4", "subfolder": "", "type": "output"}]
        outputs = {"3": {"images": saved}, "2": {"text": ["done"]}}
        self.tell_steps(client, key)
        self.history[key] = {"status": {"status_str": "success"}, "outputs": outputs}
        self.tell(client, {"type": "executing", "data": {"prompt_id": key, "node": None}})
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
