"""The page as a server: where it listens, what it lets in, and what it leaves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest

from priorsr.methods.app.command import check_address
from priorsr.methods.cli.main import build_parser, main

COMMAND = (sys.executable, "-m", "priorsr.methods.cli.main", "app", "--port", "0", "--no-browser")


@contextmanager
def served(folder: Path, *options: str):
    """The address of a page whose temporary files lie in a folder."""
    pytest.importorskip("gradio", reason="gradio is not installed (extra app)")
    environment = {**os.environ, "TMPDIR": str(folder), "TEMP": str(folder), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*COMMAND, *options], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        said: list[str] = []
        ready = threading.Event()

        def read():
            for line in process.stderr:
                said.append(line)
                if "the page is at" in line:
                    ready.set()
            ready.set()

        thread = threading.Thread(target=read)
        thread.start()
        try:
            assert ready.wait(300)
            found = re.search(r"the page is at (http://127\.0\.0\.1:\d+)/", "".join(said))
            assert found, "".join(said)
            yield found[1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            thread.join()
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in "".join(said), "".join(said)


def upload(address: str, size: int) -> int:
    """The status of an answer to an upload of so many bytes."""
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    tail = b"\r\n--x--\r\n"
    connection = HTTPConnection(address.removeprefix("http://"), timeout=300)
    connection.putrequest("POST", "/gradio_api/upload")
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", str(len(head) + size + len(tail)))
    connection.endheaders()
    connection.send(head)
    with suppress(ConnectionError):  # of a server that has heard enough
        for start in range(0, size, 10**6):
            connection.send(b"\0" * min(10**6, size - start))
        connection.send(tail)
    with closing(connection):
        return connection.getresponse().status


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_other_addresses_must_be_told_twice(host, capsys, caplog):
    with pytest.raises(ValueError, match="--yes-other-addresses"):
        check_address(host, told=False)
    check_address(host, told=True)
    assert main(["app", "--host", host]) == 2
    assert "is reached from other machines" in caplog.text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_this_machine_needs_no_word(host):
    check_address(host, told=False)


@pytest.mark.parametrize("options", [["--port", "70000"], ["--largest", "0"]])
def test_wrong_numbers_are_refused_first(options, caplog):
    assert main(["app", *options]) == 2
    assert options[1] in caplog.text


def test_without_gradio_it_says_what_to_install(monkeypatch, caplog):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["app"]) == 2
    assert 'pip install "priorsr[app]"' in caplog.text


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_large_uploads_are_refused_and_all_is_removed(tmp_path):
    with served(tmp_path, "--largest", "1") as address:
        assert upload(address, 10_000) == 200
        assert upload(address, 2_000_000) == 413
        assert list(tmp_path.rglob("*.png"))
        with urllib.request.urlopen(address, timeout=60) as page:
            assert "at most 1 MB" in page.read().decode()
    assert not list(tmp_path.glob("priorsr-app-*"))
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_upload_of_500_mb_is_refused_as_it_stands(tmp_path):
    with served(tmp_path) as address:
        assert upload(address, 500_000_000) == 413
        kept = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
        assert kept < 250_000_000  # what had come when the limit was reached, at most
    assert not list(tmp_path.glob("priorsr-app-*"))
    assert not any(path.stat().st_size > 10**6 for path in tmp_path.rglob("*") if path.is_file())


def test_the_package_gets_no_file_of_gradio(root):
    """Which writes one beside every component that a module makes of its own."""
    pytest.importorskip("gradio", reason="gradio is not installed (extra app)")
    import priorsr.methods.app.page

    assert not list(Path(priorsr.methods.app.page.__file__).parent.glob("*.pyi"))


def test_the_commands_of_its_page_are_commands(root):
    text = (root / "docs" / "app.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```\n(.*?)```", text, re.S) for line in block.splitlines()]
    asked = [line.split()[1:] for line in lines if line.startswith("priorsr ")]
    assert [build_parser("app").parse_args(words).host for words in asked] == ["127.0.0.1", "0.0.0.0"]
