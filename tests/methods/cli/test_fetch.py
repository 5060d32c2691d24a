"""`priorsr models fetch`: files and folders that are whole or not there."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import replace
from http.server import ThreadingHTTPServer

import pytest
from command import contents, run
from file_server import DATA, GIVEN, Server

from priorsr.methods.weights import fetch as fetching
from priorsr.methods.weights import known
from priorsr.methods.weights.known import KNOWN, Part


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


def test_a_fetched_file_is_whole_and_compared(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PRIORSR_MODELS", str(tmp_path / "models"))
    assert run("models", "fetch", "given", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"file": str(tmp_path / "models" / "given.pth"), "sha256": server.sha256, "compared": True}
    assert (tmp_path / "models" / "given.pth").read_bytes() == DATA
    assert names(tmp_path / "models") == ["given.pth"]
    assert run("models", "fetch", "given") == 2, "nothing is replaced"


def test_a_broken_download_goes_on_where_it_ended(server, tmp_path, caplog):
    Server.cut = 300_000
    for done in (1, 2, 3):
        assert run("models", "fetch", "given", "--folder", tmp_path) == 2
        assert f"it broke off after {300_000 * done} of {len(DATA)} bytes" in caplog.text
        assert "Run it again to go on" in caplog.text
        assert all(name.startswith(".") for name in names(tmp_path)), "no half file under the real name"
    assert run("models", "fetch", "given", "--folder", tmp_path) == 0
    assert (tmp_path / "given.pth").read_bytes() == DATA
    assert names(tmp_path) == ["given.pth"]
    assert [asked for asked in Server.asked if asked] == [f"bytes={300_000 * done}-" for done in (1, 2, 3)]


def test_a_file_that_changed_meanwhile_begins_anew(server, tmp_path):
    Server.cut = 300_000
    assert run("models", "fetch", "given", "--folder", tmp_path) == 2
    Server.cut, Server.mark = len(DATA), '"two"'
    assert run("models", "fetch", "given", "--folder", tmp_path) == 0
    assert not any(Server.asked)
    assert names(tmp_path) == ["given.pth"]


def test_another_content_is_refused_and_not_kept(server, tmp_path, caplog):
    Server.data = DATA[::-1]
    assert run("models", "fetch", "given", "--folder", tmp_path) == 2
    assert "what came is not the published given.pth" in caplog.text
    assert names(tmp_path) == []
    Server.data = DATA + b"x"
    assert run("models", "fetch", "given", "--folder", tmp_path) == 2
    assert f"a file of {len(DATA) + 1} bytes, and {len(DATA)} were published" in caplog.text


def test_a_mirror_and_a_second_address_are_taken(server, tmp_path, monkeypatch):
    (real,) = server.addresses
    lost = replace(server, addresses=("http://127.0.0.1:9/given.pth", real))
    assert fetching.fetch(lost, tmp_path / "a")[0].read_bytes() == DATA
    bare = replace(server, addresses=())
    monkeypatch.setattr(known, "KNOWN", (bare,))
    assert run("models", "fetch", "given", "--folder", tmp_path / "b", "--address", real) == 0


def test_a_folder_is_whole_or_not_tcontents(folder, tmp_path, capsys, caplog):
    """A broken download of one of its files goes on in that file; what was whole is not sent again."""
    Server.cut = 700_000
    assert run("models", "fetch", "several", "--folder", tmp_path) == 2
    assert f"unet/one.safetensors: it broke off after 700000 of {len(DATA)} bytes" in caplog.text
    assert names(tmp_path) == [".several.parts"]
    Server.asked.clear()
    assert run("models", "fetch", "several", "--folder", tmp_path, "--json") == 0
    assert [asked for asked in Server.asked if asked] == ["bytes=700000-"]
    assert contents(tmp_path) == {f"several/{name}": data for name, data in FILES.items()}
    told = json.loads(capsys.readouterr().out)
    assert told["file"] == str(tmp_path / "several")
    assert told["parts"] == {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    assert not told["compared"], "not every hash is known"
    assert run("models", "fetch", "several", "--folder", tmp_path) == 2
    assert "exists" in caplog.text


def test_a_folder_of_which_a_file_is_missing_or_another_one_is_not_kept(
    folder, tmp_path, monkeypatch, caplog
):
    Server.files = {name: data for name, data in FILES.items() if name != "vae/a.bin"}
    assert run("models", "fetch", "several", "--folder", tmp_path) == 2
    assert "vae/a.bin: the server answers 404" in caplog.text
    Server.files = {**FILES, "unet/one.safetensors": DATA[::-1]}
    Server.mark = '"two"'
    assert run("models", "fetch", "several", "--folder", tmp_path) == 2
    assert "what came is not the published unet/one.safetensors" in caplog.text
    assert names(tmp_path) == [".several.parts"]
    Server.files = dict(FILES)
    monkeypatch.setenv("PRIORSR_MODELS", str(tmp_path))
    address = folder.addresses[0] + "/"
    assert run("models", "fetch", "several", "--address", address) == 0
    assert contents(tmp_path / "several") == FILES
    assert names(tmp_path) == ["several"]
