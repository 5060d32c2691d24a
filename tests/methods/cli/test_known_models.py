"""The table of published files: what it makes, and `priorsr models list`, `check` and `fetch`."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import save_file

from priorsr.methods.cli import main as cli
from priorsr.methods.registry import methods
from priorsr.methods.weights import fetch as fetching
from priorsr.methods.weights import known
from priorsr.methods.weights.kinds import BY_ID
from priorsr.methods.weights.known import KNOWN, Known, Part, find_known, where

DATA = bytes(range(256)) * 4000
GIVEN = Known(
    "given",
    "given.pth",
    "srcnn",
    "srcnn",
    "a test",
    "1 MB",
    "MIT",
    "yes",
    "example.org/given",
    sha256=hashlib.sha256(DATA).hexdigest(),
    bytes=len(DATA),
)


class Server(BaseHTTPRequestHandler):
    """Serves `files` by their paths below the address, and `data` as any other; `cut` bytes at most in an
    answer, `mark` as the ETag.
    """

    data, cut, mark, asked, files = DATA, len(DATA), '"one"', [], {}

    def do_GET(self):
        kind = type(self)
        name = self.path.removeprefix("/folder/")
        if name != self.path and name not in kind.files:
            self.send_error(404)
            return
        data = kind.files.get(name, kind.data)
        wanted = self.headers.get("Range")
        kind.asked.append(wanted)
        start = 0
        if wanted and self.headers.get("If-Range") == kind.mark:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("ETag", kind.mark)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start : start + kind.cut])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """An address that gives the known file `given`, and what it was asked for."""
    Server.data, Server.cut, Server.mark, Server.asked, Server.files = DATA, len(DATA), '"one"', [], {}
    running = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    one = replace(GIVEN, addresses=(f"http://127.0.0.1:{running.server_port}/given.pth",))
    monkeypatch.setattr(known, "KNOWN", (*KNOWN, one))
    yield one
    running.shutdown()
    running.server_close()
    thread.join()


FILES = {
    "model_index.json": b"{}",
    "unet/config.json": b"{}",
    "unet/one.safetensors": DATA,
    "vae/a.bin": b"v",
}


@pytest.fixture
def folder(server, monkeypatch):
    """The same server with a known folder `several`, the hash of whose largest file is known."""
    Server.files = dict(FILES)
    parts = tuple(Part(name, GIVEN.sha256 if data == DATA else "", len(data)) for name, data in FILES.items())
    place = server.addresses[0].replace("given.pth", "folder")
    one = replace(server, name="several", file="several", parts=parts, addresses=(place,), sha256="")
    monkeypatch.setattr(known, "KNOWN", (*KNOWN, one))
    return one


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def run(*arguments):
    return cli.main(["models", *map(str, arguments)])


def test_the_table_is_whole_and_says_what_it_does_not_know():
    assert len({one.name for one in KNOWN}) == len({one.file for one in KNOWN}) == len(KNOWN)
    for one in KNOWN:
        assert one.kind in BY_ID
        assert one.commercial in ("yes", "no", "ask")
        assert one.method in (*methods(), "restore-faces")
        assert one.folder in (known.PRIORSR, known.CHECKPOINTS, known.DIFFUSERS)
        assert all(re.fullmatch("([0-9a-f]{64})?", part.sha256) for part in (one, *one.parts))
        assert all(a.startswith("https://") for a in one.addresses)
        assert one.parts or all(a.endswith(f"/{one.file}") for a in one.addresses)
        assert len({part.file for part in one.parts}) == len(one.parts)
        for name in (one.name, one.file):
            assert find_known(name) is one
    for kind in BY_ID.values():
        for file in re.findall(r"[\w.-]+\.(?:ckpt|safetensors)", kind.example):
            assert find_known(file), file


def test_the_page_and_the_workflows_are_made_of_it(root):
    spec = importlib.util.spec_from_file_location("make_models", root / "docs" / "make_models.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    again = "run python docs/make_models.py"
    assert made.PAGE.read_text(encoding="utf-8") == made.page(), again
    for path in made.WORKFLOWS.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert text == made.workflow(text), f"{path.name}: {again}"
    assert '"models"' in (made.WORKFLOWS / "guided_upsampler.json").read_text(encoding="utf-8")


def test_missing_files_are_told_from_it(capsys):
    assert "openai/guided-diffusion publishes 64_256_upsampler.pt (MIT); `priorsr models fetch" in where(
        "folder/64_256_upsampler.pt"
    )
    assert "not for commercial use" in where("codeformer")
    assert "fetch" not in where("ffhq_10m.pt")
    assert where("mine.pt") == ""
    assert run("check", "edm-ffhq-64x64-uncond-vp.pkl", "--json") == 2
    told = json.loads(capsys.readouterr().out)["error"]
    assert "github.com/NVlabs/edm publishes edm-ffhq-64x64-uncond-vp.pkl (CC BY-NC-SA 4.0, not" in told


def test_the_list_tells_which_are_here(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PRIORSR_MODELS", str(tmp_path))
    (tmp_path / "codeformer.pth").write_bytes(b"x")
    assert run("list", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["codeformer"]["here"] == str(tmp_path / "codeformer.pth")
    assert not rows["stablesr"]["here"]
    assert run("list") == 0
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 1 + len(KNOWN)
    assert re.search(
        r"codeformer +codeformer.pth +restore-faces +377 MB +S-Lab License 1.0 +no ",
        next(line for line in table if line.startswith("codeformer")),
    )


def srcnn(path):
    shapes = {"conv1": (64, 1, 9, 9), "conv2": (32, 64, 5, 5), "conv3": (1, 32, 5, 5)}
    state = {f"{k}.weight": torch.zeros(s) for k, s in shapes.items()}
    save_file(state | {f"{k}.bias": torch.zeros(s[0]) for k, s in shapes.items()}, path)


def test_check_tells_kind_completeness_hash_and_name(monkeypatch, tmp_path, capsys):
    path = tmp_path / "mine.safetensors"
    srcnn(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert run("check", path) == 0
    assert capsys.readouterr().out.split() == [
        *("file", str(path), "kind", "SRCNN", "complete", "yes", "known", "unknown", "sha256", digest)
    ]
    monkeypatch.setattr(known, "KNOWN", (replace(GIVEN, sha256=digest),))
    assert run("check", path, "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["known"] == "given, by its hash"
    half = tmp_path / "half.safetensors"
    half.write_bytes(path.read_bytes()[:-100])
    named = tmp_path / "given.pth"
    torch.save({"conv1.weight": torch.zeros(1, 1, 3, 3)}, named)
    assert run("check", half, named, "--json") == 1
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["complete"].startswith("no: cannot read")
    assert rows[1]["complete"].startswith("no: ")
    assert rows[1]["known"] == "none: it has the name of given and another hash"
    monkeypatch.setattr(known, "KNOWN", (replace(GIVEN, sha256=""),))
    assert run("check", named, "--json") == 1
    row = json.loads(capsys.readouterr().out)[0]
    assert row["known"] == "given by its name; the published hash is not known"


def test_a_fetched_file_is_whole_and_compared(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PRIORSR_MODELS", str(tmp_path / "models"))
    assert run("fetch", "given", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"file": str(tmp_path / "models" / "given.pth"), "sha256": server.sha256, "compared": True}
    assert (tmp_path / "models" / "given.pth").read_bytes() == DATA
    assert names(tmp_path / "models") == ["given.pth"]
    assert run("fetch", "given") == 2, "nothing is replaced"


def test_a_broken_download_goes_on_where_it_ended(server, tmp_path, caplog):
    Server.cut = 300_000
    for done in (1, 2, 3):
        assert run("fetch", "given", "--folder", tmp_path) == 2
        assert f"it broke off after {300_000 * done} of {len(DATA)} bytes" in caplog.text
        assert "Run it again to go on" in caplog.text
        assert all(name.startswith(".") for name in names(tmp_path)), "no half file under the real name"
    assert run("fetch", "given", "--folder", tmp_path) == 0
    assert (tmp_path / "given.pth").read_bytes() == DATA
    assert names(tmp_path) == ["given.pth"]
    assert [asked for asked in Server.asked if asked] == [f"bytes={300_000 * done}-" for done in (1, 2, 3)]


def test_a_file_that_changed_meanwhile_begins_anew(server, tmp_path):
    Server.cut = 300_000
    assert run("fetch", "given", "--folder", tmp_path) == 2
    Server.cut, Server.mark = len(DATA), '"two"'
    assert run("fetch", "given", "--folder", tmp_path) == 0
    assert not any(Server.asked)
    assert names(tmp_path) == ["given.pth"]


def test_another_content_is_refused_and_not_kept(server, tmp_path, caplog):
    Server.data = DATA[::-1]
    assert run("fetch", "given", "--folder", tmp_path) == 2
    assert "what came is not the published given.pth" in caplog.text
    assert names(tmp_path) == []
    Server.data = DATA + b"x"
    assert run("fetch", "given", "--folder", tmp_path) == 2
    assert f"a file of {len(DATA) + 1} bytes, and {len(DATA)} were published" in caplog.text


def test_a_mirror_and_a_second_address_are_taken(server, tmp_path, monkeypatch):
    (real,) = server.addresses
    lost = replace(server, addresses=("http://127.0.0.1:9/given.pth", real))
    assert fetching.fetch(lost, tmp_path / "a")[0].read_bytes() == DATA
    bare = replace(server, addresses=())
    monkeypatch.setattr(known, "KNOWN", (bare,))
    assert run("fetch", "given", "--folder", tmp_path / "b", "--address", real) == 0


def here(root):
    return {str(p.relative_to(root).as_posix()): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_folder_is_whole_or_not_there(folder, tmp_path, capsys, caplog):
    """A broken download of one of its files goes on in that file; what was whole is not sent again."""
    Server.cut = 700_000
    assert run("fetch", "several", "--folder", tmp_path) == 2
    assert f"unet/one.safetensors: it broke off after 700000 of {len(DATA)} bytes" in caplog.text
    assert names(tmp_path) == [".several.parts"]
    Server.asked.clear()
    assert run("fetch", "several", "--folder", tmp_path, "--json") == 0
    assert [asked for asked in Server.asked if asked] == ["bytes=700000-"]
    assert here(tmp_path) == {f"several/{name}": data for name, data in FILES.items()}
    told = json.loads(capsys.readouterr().out)
    assert told["file"] == str(tmp_path / "several")
    assert told["parts"] == {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    assert not told["compared"], "not every hash is known"
    assert run("fetch", "several", "--folder", tmp_path) == 2
    assert "exists" in caplog.text


def test_a_folder_of_which_a_file_is_missing_or_another_one_is_not_kept(
    folder, tmp_path, monkeypatch, caplog
):
    Server.files = {name: data for name, data in FILES.items() if name != "vae/a.bin"}
    assert run("fetch", "several", "--folder", tmp_path) == 2
    assert "vae/a.bin: the server answers 404" in caplog.text
    Server.files = {**FILES, "unet/one.safetensors": DATA[::-1]}
    Server.mark = '"two"'
    assert run("fetch", "several", "--folder", tmp_path) == 2
    assert "what came is not the published unet/one.safetensors" in caplog.text
    assert names(tmp_path) == [".several.parts"]
    Server.files = dict(FILES)
    monkeypatch.setenv("PRIORSR_MODELS", str(tmp_path))
    address = folder.addresses[0] + "/"
    assert run("fetch", "several", "--address", address) == 0
    assert here(tmp_path / "several") == FILES
    assert names(tmp_path) == ["several"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("fetch", "codeformr", "--folder", "x"),
            "no published file is called codeformr: did you mean codeformer",
        ),
        (("fetch", "codeformer"), "where shall codeformer.pth go? Give --folder"),
        (
            ("fetch", "ffhq_10m", "--folder", "x"),
            "no address of ffhq_10m.pt is known: fetch it from github.com/DPS",
        ),
        (("fetch", "codeformer", "--folder", "x", "--address", "file:///etc/passwd"), "starts with https://"),
        (("check", "nothing.pth"), "there are no weights called nothing.pth"),
    ],
)
def test_mistakes_are_one_sentence(arguments, words, tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("PRIORSR_MODELS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert words in caplog.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
