"""The command as a process: signals, closed and broken streams, consoles of few characters, JSON errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from priorsr.methods.cli import commands
from priorsr.methods.cli import main as cli
from priorsr.methods.imaging.images import Picture, read, write

COMMAND = (sys.executable, "-m", "priorsr.methods.cli.main")
posix = pytest.mark.skipif(os.name != "posix", reason="a shell and signals of POSIX")


def start(*arguments, **options):
    """The command as a shell starts it: hearing SIGINT, which programs in the background do not."""
    hearing = {} if os.name == "nt" else {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    given = [*COMMAND, *map(str, arguments)]
    return subprocess.Popen(given, stderr=subprocess.PIPE, text=True, **hearing, **options)


def shell(line, **environment):
    words = " ".join(COMMAND)
    return subprocess.run(
        ["bash", "-c", line.replace("priorsr", words)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGKILL"])
def test_a_stopped_folder_run_leaves_whole_files_and_resumes(tmp_path, photo, name):
    number, count = getattr(signal, name), 30
    for i in range(count):
        write(Picture(photo.repeat(1, 1, 4, 4)), tmp_path / "in" / f"{i:02}.png")
    out = tmp_path / "out"
    with start("upscale", tmp_path / "in", out, "--method", "bicubic") as run:
        while run.poll() is None and (not out.is_dir() or len(list(out.iterdir())) < 3):
            time.sleep(0.01)
        run.send_signal(number)
        run.communicate()
    assert run.returncode == (-number if name == "SIGKILL" else 128 + number)
    if name != "SIGKILL":
        assert all(p.suffix == ".png" for p in out.iterdir())
    assert 2 <= len(list(out.glob("*.png"))) < count
    assert cli.main(["upscale", str(tmp_path / "in"), str(out), "--method", "bicubic"]) == 0
    assert sorted(p.name for p in out.iterdir()) == [f"{i:02}.png" for i in range(count)]
    assert len({p.read_bytes() for p in out.iterdir()}) == 1


@posix
def test_a_broken_pipe_is_quiet():
    done = shell("priorsr models --json | true; echo ${PIPESTATUS[0]}")
    assert done.stdout.strip() in ("0", "141")
    assert done.stderr == ""


@posix
def test_streams_may_be_closed(tmp_path, photo):
    write(Picture(photo), tmp_path / "a.png")
    for i, closed in enumerate((">&-", "<&- >&- 2>&-")):
        out = tmp_path / f"{i}.png"
        done = shell(f"priorsr upscale bicubic {tmp_path}/a.png {out} --scale 2 --json {closed}")
        assert done.returncode == 0, (closed, done.stderr)
        assert read(out).pixels.shape[-1] == 142


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_full_device_is_told():
    done = shell("priorsr models > /dev/full")
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


@posix
def test_a_console_that_cannot_show_a_name_loses_no_result(tmp_path, photo):
    for name in ("图.png", "b.png"):
        write(Picture(photo), tmp_path / name)
    done = shell(f"priorsr compare {tmp_path}/图.png {tmp_path}/b.png", PYTHONIOENCODING="cp1252")
    assert done.returncode == 0, done.stderr
    assert "?.png" in done.stdout
    done = shell(f"priorsr upscale bicubic {tmp_path}/图.png {tmp_path}/图2.png", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr


def test_usage_errors_are_json_where_that_is_asked_for(capsys):
    for arguments in (["upscale", "--json"], ["upscale", "none", "a", "b", "--json"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 2
        captured = capsys.readouterr()
        assert json.loads(captured.out)["error"]
        (sentence,) = captured.err.splitlines()
        assert sentence.endswith("(--help shows what there is)")
    with pytest.raises(SystemExit):
        cli.main(["upscale"])
    assert capsys.readouterr().out == ""


def test_the_limit_of_pixels_can_be_raised(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    Image.new("L", (20, 20)).save(tmp_path / "a.png")
    arguments = ["upscale", str(tmp_path / "a.png"), str(tmp_path / "o.png"), "--method", "bicubic"]
    assert cli.main(arguments) == 1
    assert "PRIORSR_MAX_PIXELS" in caplog.text
    monkeypatch.setenv("PRIORSR_MAX_PIXELS", "many")
    assert cli.main(arguments) == 2
    monkeypatch.setenv("PRIORSR_MAX_PIXELS", "400")
    assert cli.main(arguments) == 0


@pytest.mark.parametrize(
    "error", [RuntimeError("no such device"), MemoryError(), ZeroDivisionError("by zero")]
)
def test_every_error_is_one_line_and_json(monkeypatch, capsys, caplog, error):
    from priorsr.methods import weights

    def fails():
        raise error

    monkeypatch.setattr(weights, "installed", fails)
    assert cli.main(["models", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"] == (str(error) or type(error).__name__)
    assert len(caplog.records) == 1


def test_handlers_are_put_back(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["models"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_whatever_a_command_raises_is_one_line(monkeypatch, capsys, tmp_path):
    def broken(options):
        raise TypeError("no such thing")

    command = next(c for c in commands.COMMANDS if c.name == "compare")
    monkeypatch.setattr(commands, "COMMANDS", (replace(command, run=broken),))
    assert cli.main(["compare", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--json"]) == 2
    said = json.loads(capsys.readouterr().out)["error"]
    assert said.startswith("TypeError: no such thing; this is a fault of the program")
