"""Command lines put together at random from what the parser knows and from nonsense.

Each ends with exit code 0, 1 or 2, says why where it is not 0, prints JSON where that is asked for, leaves
the inputs as they were and nothing half written. PRIORSR_FUZZ is how many are tried (40).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import time

import pytest
from PIL import Image

from priorsr.methods.cli import main as cli
from priorsr.methods.cli.main import build_parser
from priorsr.methods.imaging.images import read

COUNT = int(os.environ.get("PRIORSR_FUZZ", "20"))
LONGEST = 60.0  # processor seconds of a command line
NUMBERS = ("0", "1", "2", "-1", "-0.0", "nan", "inf", "1e999", "9" * 400, "x", "", "1,2", "0x10", "٣", "1_0")
SMALL = ("1", "2", "3", "0", "-1", "x", "nan")  # of what would take long: steps, sides, scales
LONG = ("scale", "longest", "size", "limit", "samples", "count", "seeds", "batch", "varied", "swept")
WORDS = (
    "",
    "x",
    "auto",
    "none",
    "face64",
    "srcnn_x2",
    "/",
    "..",
    "\udcff",
    "é",
    "-",
    "--",
    "%s",
    "{}",
    "a\nb",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Files to name: pictures, a folder of them, weights that are none, a recipe, an empty folder."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "in").mkdir()
    (folder / "empty").mkdir()
    for i, mode in enumerate(("RGB", "L", "RGBA")):
        Image.effect_noise((5 + i, 6), 60).convert(mode).save(folder / "in" / f"{i}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    (folder / "broken.safetensors").write_bytes(b"no weights")
    (folder / "recipe.json").write_text("[[[", encoding="utf-8")
    return folder


def leaves(parser, path=()):
    """Every command with its subcommands: words and parser."""
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not inner:
        yield path, parser
    for action in inner:
        for name, one in action.choices.items():
            yield from leaves(one, (*path, name))


COMMANDS = [leaf for leaf in leaves(build_parser()) if leaf[0]]


def value(action, place, dice):
    """Something for an option."""
    if action.choices and dice.random() < 0.8:
        return str(dice.choice(list(action.choices)))
    long = any(part in action.dest for part in ("step", "respac", "tile", "overlap", *LONG))
    if long or action.type in (int, float):
        return dice.choice(SMALL if long or dice.random() < 0.5 else NUMBERS)
    return dice.choice((*WORDS, *map(str, sorted(place.iterdir()))))


def line(place, target, dice):
    """The words of one command line."""
    path, parser = dice.choice(COMMANDS)
    words = list(path)
    training = path[0] in ("train", "evaluate", "calibrate")  # which only get what ends them at once
    for action in parser._actions:
        if isinstance(action, (argparse._HelpAction, argparse._VersionAction)):
            continue
        many = dice.choice((1, 1, 2)) if action.nargs == "+" else 1
        if action.option_strings:
            if not action.required and dice.random() > min(0.5, 3 / len(parser._actions)):
                continue
            if action.dest.endswith(("steps", "respacing")) and dice.random() < 0.7:
                words += [action.option_strings[0], "2"]
                continue
            words.append(dice.choice(action.option_strings))
            words += [value(action, place, dice) for _ in range(many if action.nargs != 0 else 0)]
        elif dice.random() < 0.97:
            sources = [place / "in" / "0.png", place / "in" / "2.png", place / "in", place / "broken.png"]
            out = action.dest in ("destination", "out")
            names = [target / "o.png", target, target / "o.webp", target / "o.tiff", place / "in"]
            known = names if out else [*sources, place / "empty", place / "nobody"]
            words += [str(place / "nobody" if training else dice.choice(known)) for _ in range(many)]
    fast = path[0] in ("upscale", "restore-faces") and path[1] not in ("bicubic", "srcnn", "clean")
    for flag, given in (("--steps", "2"), ("--respacing", "2"), ("--sampling-steps", "2")):
        known = any(flag in action.option_strings for action in parser._actions)
        if fast and known and not any(word.startswith(flag) for word in words):
            words += [flag, given]
    if fast and "--scale" not in words and "--longest" not in words:
        words += ["--scale", "2"]
    for _ in range(dice.choice((0, 0, 0, 1, 2))):
        at = dice.randrange(len(words) + 1)
        words[at:at] = [dice.choice((*WORDS, "--json", "--nothing", "--help", "--seed=1", "--overwrite"))]
    return [word.replace("\0", "") for word in words]


def state(folder):
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.filterwarnings("ignore")
def test_every_line_ends_with_a_code_and_a_reason(place, tmp_path, capsys, caplog, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = state(place)
    for number in range(COUNT):
        dice = random.Random(f"line/{number}")
        target = tmp_path / f"out{number}"
        words = line(place, target, dice)
        start = time.process_time()
        code, said, out = outcome(words, capsys, caplog)
        told = f"line {number}: {words}"
        assert code in (0, 1, 2), f"{told} ended with {code!r}"
        assert code == 0 or said.strip(), f"{told} says nothing"
        assert "Traceback" not in said, told
        assert time.process_time() - start < LONGEST, f"{told} takes too long"
        if "--json" in words and "--help" not in words and "-h" not in words and out.strip():
            for document in out.splitlines() if "--json-lines" in words else [out]:
                json.loads(document)
        now = state(place)
        changed = [name for name, digest in before.items() if now.get(name) != digest]
        assert not changed or "--overwrite" in words, f"{told} changed {changed}"
        for path in [*tmp_path.rglob("*"), *place.rglob("*")]:
            assert not path.name.endswith(".part"), f"{told} left {path}"
        if now != before:
            settle(place, before)
        for path in target.rglob("*.png"):
            if path.is_file():
                read(path)


def settle(place, before):
    """Outputs that went among the inputs are removed; what a line may replace is an input from now on."""
    for path in [p for p in place.rglob("*") if p.is_file() and str(p) not in before]:
        path.unlink()
    before.clear()
    before.update(state(place))


def outcome(words, capsys, caplog):
    """Exit code, what is said, and what is printed."""
    caplog.clear()
    try:
        code = cli.main(words)
    except SystemExit as end:
        code = end.code or 0
    out, err = capsys.readouterr()
    return code, err + caplog.text + out, out
