"""Runs of the page: the command's own bytes, errors of one sentence, and nothing left behind."""

from __future__ import annotations

import threading
import zipfile

import pytest

from priorsr.methods.app.run import MEMORY, STOPPED, Runs, Upload, kept_name, places, shown
from priorsr.methods.cli.main import main
from priorsr.methods.imaging.images import Picture, read, write


@pytest.fixture
def runs():
    one = Runs()
    yield one
    one.close()
    assert not one.root.exists()


@pytest.fixture
def uploaded(tmp_path, photo):
    return Upload(write(Picture(photo), tmp_path / "sent" / "0123.png"), "my photo.png")


def test_the_command_that_is_shown_gives_the_same_bytes(runs, uploaded, tmp_path, monkeypatch):
    words = ["upscale", "diffsr", *places([uploaded.name]), "--scale", "1.5", "--steps", "2", "--seed", "7"]
    run = runs.begin("a", words, [uploaded])
    steps = list(run.steps())
    assert run.error == ""
    assert steps[0][:2] == (1, 2)
    ((_, target),) = run.pairs
    assert target.name == "my photo_restored.png"
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / uploaded.name).write_bytes(uploaded.path.read_bytes())
    monkeypatch.chdir(tmp_path / "there")
    assert main(words) == 0
    assert (tmp_path / "there" / target.name).read_bytes() == target.read_bytes()


def test_several_are_one_archive_and_a_bad_one_is_named(runs, uploaded, tmp_path):
    bad, note = tmp_path / "bad", tmp_path / "note"
    bad.write_bytes(b"no picture")
    note.write_text("a note")
    files = [uploaded, Upload(bad, "bad.png"), Upload(note, "note.txt")]
    run = runs.begin("a", ["upscale", "bicubic", *places([f.name for f in files])], files)
    list(run.steps())
    assert run.error == ""
    assert len(run.failures) == 2
    assert any("pictures/bad.png: " in one for one in run.failures)
    assert any(one.startswith("note.txt: ") for one in run.failures)
    with zipfile.ZipFile(run.archive()) as archive:
        assert [name for name in archive.namelist() if not name.endswith("/")] == ["my photo.png"]


def test_what_is_no_picture_is_one_sentence_without_a_folder(runs, tmp_path):
    (tmp_path / "x").write_bytes(b"no picture")
    name = "letter.png"
    run = runs.begin("a", ["upscale", "bicubic", *places([name])], [Upload(tmp_path / "x", name)])
    assert list(run.steps()) == []
    (said,) = run.failures
    assert said.startswith("cannot read letter.png")
    assert str(runs.root) not in said
    assert [p.name for p in run.folder.iterdir()] == [name]


def test_a_wrong_command_is_one_sentence(runs, uploaded):
    for words, said in ((["--prior", "gone"], "gone"), (["--level"], "level")):
        run = runs.begin("a", ["upscale", "diffsr", *places([uploaded.name]), *words], [uploaded])
        list(run.steps())
        assert said in run.error
        assert "\n" not in run.error
        assert not run.pairs


def test_a_run_that_is_stopped_leaves_nothing(runs, uploaded):
    words = [
        "upscale",
        "diffsr",
        *places([uploaded.name]),
        "--scale",
        "1.5",
        "--level",
        "100",
        "--steps",
        "1000",
    ]
    run = runs.begin("a", words, [uploaded])
    began = threading.Event()

    def go():
        for _ in run.steps():
            began.set()

    thread = threading.Thread(target=go)
    thread.start()
    assert began.wait(120), (run.error, run.notes)
    assert runs.stop("a")
    thread.join(60)
    assert run.error == STOPPED
    assert [p.name for p in run.folder.iterdir()] == [uploaded.name]
    assert not runs.stop("a")
    runs.leave("a")
    assert not run.folder.exists()


def test_a_run_that_is_stopped_before_it_began_does_not_begin(runs, uploaded):
    run = runs.begin("a", ["upscale", "bicubic", *places([uploaded.name])], [uploaded])
    assert runs.stop("a")
    assert list(run.steps()) == []
    assert run.error == STOPPED
    assert run.process is None


def test_a_run_that_the_system_ends_says_so(runs, uploaded):
    run = runs.begin("a", ["upscale", "diffsr", *places([uploaded.name]), "--scale", "1.5"], [uploaded])
    for _ in run.steps():
        assert run.process is not None
        run.process.kill()
    assert run.error == MEMORY


def test_a_new_run_takes_the_place_of_the_last_one_of_its_user_alone(runs, uploaded):
    words = ["upscale", "bicubic", *places([uploaded.name])]
    first, other, second = (runs.begin(who, words, [uploaded]) for who in "aba")
    assert not first.folder.exists()
    assert other.folder.exists()
    assert second.folder.exists()


def test_names_of_uploads_lead_nowhere_and_are_no_options():
    assert kept_name("../../etc/x.png") == "x.png"
    assert kept_name("..\\..\\x.png") == "x.png"
    assert kept_name("--overwrite.png") == "overwrite.png"
    assert kept_name("..") == "picture"


def test_two_of_one_name_are_refused(runs, uploaded):
    with pytest.raises(ValueError, match="two of the pictures are called my photo"):
        runs.begin("a", ["upscale", "bicubic", "pictures", "restored"], [uploaded, uploaded])


def test_what_a_browser_is_shown_is_a_small_enough_png(tmp_path, photo):
    source = write(Picture(photo[..., :4].repeat(1, 1, 1, 1100), bits=16), tmp_path / "a.png")
    small = read(shown(source, tmp_path / "shown" / "b.png"))
    assert small.pixels.shape[-1] == 4096
    assert small.bits == 8
