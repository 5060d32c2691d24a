from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from priorsr.methods.imaging import images, replacing
from priorsr.methods.imaging.images import Picture, check_writable, read, write
from priorsr.methods.imaging.replacing import DAY, sweep

posix = pytest.mark.skipif(os.name != "posix", reason="signals and owners are told on POSIX only")


def leftover(folder, pid, host=None, token="0123abcd"):
    path = folder / f".priorsr-{host or replacing.host_name()}-{pid}-{token}.part"
    path.write_bytes(b"half of a picture")
    return path


def gone():
    """The number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    return child.pid


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_names_of_255_bytes_are_written(tmp_path, photo, suffix):
    for name in ("x" * (255 - len(suffix)) + suffix, "图" * ((255 - len(suffix)) // 3) + suffix):
        assert write(Picture(photo), tmp_path / name).is_file()
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(ValueError, match="too long a name"):
        write(Picture(photo), tmp_path / ("x" * 300 + suffix))


@pytest.mark.parametrize("links", [True, False])
def test_a_lost_race_replaces_nothing(tmp_path, photo, links, monkeypatch):
    path = tmp_path / "a.png"

    def no_links(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    assert read(write(Picture(photo), tmp_path / "b.png")).bits == 8
    race = replacing.replacing(path, overwrite=False)
    race.__enter__().write_bytes(b"second")
    path.write_bytes(b"first")
    with pytest.raises(FileExistsError, match=r"a\.png exists"):
        race.__exit__(None, None, None)
    assert path.read_bytes() == b"first"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_a_dangling_link_counts_as_existing(tmp_path, photo):
    (tmp_path / "a.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(FileExistsError):
        write(Picture(photo), tmp_path / "a.png")
    assert (tmp_path / "a.png").is_symlink()
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OSError, match="link to nowhere"):
        check_writable(tmp_path / "out" / "a.png")


@posix
def test_leftovers_of_ended_runs_are_swept(tmp_path, photo):
    dead, ours = leftover(tmp_path, gone()), leftover(tmp_path, os.getpid())
    living, foreign = leftover(tmp_path, os.getppid()), leftover(tmp_path, 1, "ffffff")
    old = leftover(tmp_path, 1, "eeeeee")
    os.utime(old, (time.time() - 2 * DAY,) * 2)
    mine = tmp_path / ".something-else.part"
    mine.write_bytes(b"")
    with replacing.replacing(tmp_path / "b.png") as partial:
        partial.write_bytes(b"b")
        sweep(tmp_path)
        assert partial.exists()
    assert not any(p.exists() for p in (dead, ours, old))
    assert all(p.exists() for p in (living, foreign, mine))


@posix
def test_a_write_sweeps_its_folder_first(tmp_path, photo):
    dead = leftover(tmp_path, gone())
    write(Picture(photo), tmp_path / "a.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert not dead.exists()


WRITER = """
    import sys, time
    from pathlib import Path
    from priorsr.methods.imaging.replacing import replacing
    from priorsr.methods.cli.main import _stopping, Stopped
    try:
        with _stopping(), replacing(Path(sys.argv[1]) / "a.png") as partial:
            partial.write_bytes(b"half")
            print("writing", flush=True)
            time.sleep(60)
    except Stopped as error:
        sys.exit(128 + error.number)
"""


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGKILL"])
def test_a_signal_while_writing(tmp_path, name):
    number = getattr(signal, name)
    if name != "SIGKILL" and signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"{name} is ignored here, as nohup does, and by what is started from here")
    writer = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)]
    with subprocess.Popen(writer, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        child.send_signal(number)
        code = child.wait()
    left = list(tmp_path.iterdir())
    if name == "SIGKILL":
        assert [p.suffix for p in left] == [".part"]
        assert sweep(tmp_path) == 1
        left = list(tmp_path.iterdir())
    else:
        assert code == 128 + number
    assert left == []


def test_threads_write_their_own_files(tmp_path, photo):
    def work(i):
        write(Picture(photo), tmp_path / f"{i}.png")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(tmp_path.glob("*.png"))) == 8
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("name", "alpha", "size", "words"),
    [
        ("o.tiff", False, None, "choose a name ending in"),
        ("o", False, None, "choose a name ending in"),
        ("o.jpg", True, None, "transparency"),
        ("o.jpg", False, (70_000, 5), "write PNG"),
        ("o.webp", True, (5, 16_384), "write PNG"),
        ("file/o.png", False, None, "is a file"),
        ("file/deep/o.png", False, None, "is a file"),
        ("folder.png", False, None, "is a folder"),
        ("x" * 252 + ".png", False, None, "too long a name"),
        ("x" * 300 + "/o.png", False, None, "too long a name"),
    ],
)
def test_what_cannot_be_written_is_known_before_any_work(tmp_path, name, alpha, size, words):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises((ValueError, OSError), match=words):
        check_writable(tmp_path / name, alpha, size)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.png"]


def test_what_can_be_written_leaves_no_trace_when_checked(tmp_path):
    for name in ("o.png", "new/folder/o.jpg", "o.webp"):
        check_writable(tmp_path / name, alpha=name == "o.png", size=(10, 10))
    assert not list(tmp_path.iterdir())
    assert images.replacing is replacing.replacing
