"""Folders that several processes share: the same files, whoever makes them, and nothing left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from command import contents, run

from priorsr.methods.cli import folder
from priorsr.methods.cli.folder import Shard
from priorsr.methods.imaging.images import Picture, write

KILLS = int(os.environ.get("PRIORSR_KILLS", "1"))
COUNT = 30
SETTINGS = ("--scale", "2", "--seed", "3")
CODE = [sys.executable, "-m", "priorsr.methods.cli.main"]
slow = pytest.mark.slow
posix = pytest.mark.skipif(os.name != "posix", reason="signals and owners are those of POSIX")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """in/: pictures in three folders."""
    root = tmp_path_factory.mktemp("workers")
    draw = torch.Generator().manual_seed(0)
    for i in range(COUNT):
        write(Picture(torch.rand(1, 3, 40, 40, generator=draw)), root / "in" / str(i % 3) / f"{i:02}.png")
    return root / "in"


@pytest.fixture(scope="module")
def whole(source):
    """What one process makes of it."""
    out = source.parent / "whole"
    assert run("upscale", "srcnn", source, out, *SETTINGS) == 0
    assert len(contents(out)) == COUNT
    return contents(out)


@pytest.mark.parametrize("count", [pytest.param(1, marks=slow), 2, pytest.param(3, marks=slow)])
def test_workers_make_the_files_of_one_process(source, whole, tmp_path, capsys, count):
    assert run("upscale", "srcnn", source, tmp_path, *SETTINGS, "--workers", count, "--json") == 0
    assert contents(tmp_path) == whole
    told = json.loads(capsys.readouterr().out)
    assert (told["written"], told["skipped"], told["failed"]) == (COUNT, 0, 0)
    assert len({one["source"] for one in told["files"]}) == COUNT


def test_shards_make_the_files_of_one_process(source, whole, tmp_path, capsys):
    sizes = []
    for i in (1, 2, 3):
        assert run("upscale", "srcnn", source, tmp_path, *SETTINGS, "--shard", f"{i}/3", "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert told["skipped"] == 0
        sizes.append(told["written"])
    assert sum(sizes) == COUNT
    assert min(sizes) > 2
    assert contents(tmp_path) == whole


@slow
def test_workers_and_shards_make_the_files_of_one_process_by_a_prior(tmp_path):
    """What is invented too, in pictures of several sizes and any number of processes."""
    draw = torch.Generator().manual_seed(0)
    for i in range(6):
        side = 12 + 4 * (i % 2)
        write(Picture(torch.rand(1, 3, side, side, generator=draw)), tmp_path / "in" / f"{i}.png")
    words = ("upscale", "diffsr", tmp_path / "in")
    settings = ("--scale", "4", "--steps", "2", "--seed", "3")
    assert run(*words, tmp_path / "whole", *settings) == 0
    assert len(contents(tmp_path / "whole")) == 6
    for count in (1, 2, 3):
        assert run(*words, tmp_path / str(count), *settings, "--workers", count) == 0
        assert contents(tmp_path / str(count)) == contents(tmp_path / "whole"), count
    for i in (1, 2, 3):
        assert run(*words, tmp_path / "shards", *settings, "--shard", f"{i}/3") == 0
    assert contents(tmp_path / "shards") == contents(tmp_path / "whole")


def test_a_batch_makes_the_files_of_one_at_a_time(source, whole, tmp_path):
    assert run("upscale", "srcnn", source, tmp_path, *SETTINGS, "--batch", "7") == 0
    assert contents(tmp_path) == whole


@slow
def test_a_batch_of_a_prior_makes_the_files_of_one_at_a_time(tmp_path):
    draw = torch.Generator().manual_seed(0)
    for i in range(5):
        side = 16 if i != 2 else 12
        write(Picture(torch.rand(1, 1, side, side, generator=draw)), tmp_path / "in" / f"{i}.png")
    words = ("--scale", "4", "--steps", "2", "--seed", "3")
    assert run("upscale", "diffsr", tmp_path / "in", tmp_path / "one", *words) == 0
    assert run("upscale", "diffsr", tmp_path / "in", tmp_path / "three", *words, "--batch", "3") == 0
    assert len(contents(tmp_path / "one")) == 5
    assert contents(tmp_path / "one") == contents(tmp_path / "three")


@slow
def test_workers_overwrite_each_file_once(source, whole, tmp_path, capsys):
    for name in whole:
        write(Picture(torch.zeros(1, 1, 4, 4)), tmp_path / name)
    words = (*SETTINGS, "--workers", "2", "--overwrite", "--json")
    assert run("upscale", "srcnn", source, tmp_path, *words) == 0
    assert contents(tmp_path) == whole
    assert json.loads(capsys.readouterr().out)["written"] == COUNT


def test_workers_tell_a_line_for_each_file(source, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    write(Picture(torch.zeros(1, 3, 8, 8)), tmp_path / "in" / "good.png")
    words = ("upscale", "bicubic", tmp_path / "in", tmp_path / "out", "--json-lines")
    assert run(*words, "--workers", "2") == 1
    *lines, counts = map(json.loads, capsys.readouterr().out.splitlines())
    assert {one["status"] for one in lines} == {"written", "failed"}
    assert (counts["written"], counts["failed"]) == (1, 1)
    assert list(contents(tmp_path / "out")) == ["good.png"]
    assert run(*words) == 1
    *lines, counts = map(json.loads, capsys.readouterr().out.splitlines())
    assert sorted(one["status"] for one in lines) == ["failed", "skipped"]
    assert counts == {"written": 0, "skipped": 1, "failed": 1, "passed_over": []}


def begun(source, target, *more):
    words = ["upscale", "srcnn", str(source), str(target), *SETTINGS, "--workers", "2", *more]
    return words, subprocess.Popen([*CODE, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def owners(target):
    """The processes whose claims are there."""
    found = set()
    for path in target.rglob(".priorsr-*.claim"):
        try:
            found.add(json.loads(path.read_text())["pid"])
        except (OSError, ValueError):
            continue
    return found


def wait_for(condition, seconds=600.0):  # a start alone takes a minute on a busy machine
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return found


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@posix
@slow
def test_a_killed_worker_leaves_its_pictures_to_the_others(source, whole, tmp_path):
    dice = random.Random(1)
    for number in range(KILLS):
        target = tmp_path / str(number)
        words, team = begun(source, target)
        victim = dice.choice(sorted(wait_for(lambda target=target: owners(target))))
        time.sleep(dice.random() * 0.3)
        if is_alive(victim):
            os.kill(victim, signal.SIGKILL)
        assert team.wait(600) == 0
        assert contents(target) == whole, number
        assert run(*words) == 0
        assert contents(target) == whole, number


@posix
@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGINT, marks=slow), signal.SIGTERM, pytest.param(signal.SIGKILL, marks=slow)],
)
def test_workers_end_with_the_one_that_started_them(source, whole, tmp_path, number):
    _, team = begun(source, tmp_path)
    workers = wait_for(lambda: owners(tmp_path))
    team.send_signal(number)
    code = team.wait(600)
    assert code in {signal.SIGINT: (130, 0), signal.SIGTERM: (143, 0), signal.SIGKILL: (-9,)}[number]
    wait_for(lambda: not any(map(is_alive, workers)))
    left = contents(tmp_path)
    if number != signal.SIGKILL:
        assert set(left) <= set(whole), "leftovers"
    assert all(data == whole[name] for name, data in left.items() if name in whole)
    # what two workers leave is resumed by one
    assert run("upscale", "srcnn", source, tmp_path, *SETTINGS) == 0
    assert contents(tmp_path) == whole


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--workers", "0"), "from 1"),
        (("--workers", "some"), "auto or a number"),
        (("--shard", "4/3"), "second of three"),
        (("--shard", "x"), "second of three"),
        (("--batch", "0"), "from 1"),
    ],
)
def test_bad_numbers_are_told_before_any_work(tmp_path, capsys, words, said):
    with pytest.raises(SystemExit) as error:
        run("upscale", "bicubic", tmp_path, tmp_path / "out", *words)
    assert error.value.code == 2
    assert said in capsys.readouterr().err


def test_a_single_picture_is_not_shared(source, tmp_path, caplog):
    single = source / "0" / "00.png"
    assert run("upscale", "bicubic", single, tmp_path / "o.png", "--shard", "1/2") == 2
    assert "single picture" in caplog.text
    caplog.clear()
    assert run("upscale", "bicubic", single, tmp_path / "o.png", "--workers", "1") == 2
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "priorsr: workers share the pictures of a folder, and this is a single one: leave out --workers"
    ]
    assert contents(tmp_path) == {}


@slow
def test_workers_that_find_nothing_say_it_once(tmp_path, caplog, capsys):
    (tmp_path / "in").mkdir()
    assert run("upscale", "bicubic", tmp_path / "in", tmp_path / "out", "--workers", "2", "--json") == 2
    assert sum("there is no picture in" in record.message for record in caplog.records) == 1
    assert "there is no picture in" in json.loads(capsys.readouterr().out)["error"]


def test_shards_are_the_same_on_every_machine():
    names = [f"a/{i}.png" for i in range(300)]
    parts = [[n for n in names if Shard(k, 3).has(folder.Path(n))] for k in (1, 2, 3)]
    assert sorted(n for part in parts for n in part) == sorted(names)
    assert [len(part) for part in parts] == [106, 89, 105]
    assert Shard.of("2/3") == Shard(2, 3)
