"""What the page offers: the rows of the decision table, every method of the commands, and their options.

Nothing is named here: rows are those of docs/which.md, options those of the commands' own parsers.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import weights
from ..cli.main import build_parser
from ..cli.parser import Parser
from ..device import devices
from ..imaging.region import Box
from ..method import Method
from ..registry import methods

TABLE = Path(__file__).resolve().parents[2] / "docs" / "which.md"
COMMANDS = ("upscale", "restore-faces")  # those that have a subcommand for every method
PLACES = ["IN", "OUT"]
USE = re.compile(r"`priorsr ([^`]+)`")
LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")
# options of terminals, scripts and clusters, which no form shows
ELSEWHERE = {
    *("help", "source", "destination", "overwrite", "workers", "shard", "json", "json_lines", "precision"),
    *("memory", "compile", "batch", "vary", "frames", "identity", "reference"),
}
FORMAT, DEVICE, REGION = "format", "device", "region"
PRESET = "as the preset says"
UNSET = {FORMAT: "png for one picture, as the inputs for several"}  # what holds where no preset decides
FIRST = ("scale", "clean", "preset", "seed")  # shared by many methods, and shown at once
SHOWN = 3  # of a method's own options, those that are shown at once


@dataclass(frozen=True)
class Choice:
    """A row of the decision table: which picture, the command and its method, values of options, and why."""

    picture: str
    command: str
    method: str
    values: tuple[tuple[str, str], ...] = ()
    because: str = ""


@dataclass(frozen=True)
class Option:
    """One option of a command as a form shows it.

    default: what holds where nothing is given, None where `unset` tells it, such as a preset. negative: the
    flag that says no. first: whether it is shown at once.
    """

    name: str
    flag: str
    help: str
    kind: type
    default: Any
    negative: str = ""
    choices: tuple = ()
    low: float | None = None
    high: float | None = None
    needed: bool = False
    free: bool = False
    first: bool = False
    unset: str = PRESET
    form: re.Pattern | None = None

    @property
    def label(self) -> str:
        return self.flag.lstrip("-").replace("-", " ")

    def words(self, value: Any) -> list[str]:
        """The words that give it a value, none for its default. Raises ValueError for another form."""
        if value is None or value == "" or value == self.default:
            return []
        if self.form and not self.form.fullmatch(value := "".join(f"{value}".split())):
            raise ValueError(f"the {self.label} is given by its {self.help}, not by {value}")
        if self.kind is bool:
            return [self.flag if value else self.negative]
        return [self.flag, f"{value}".removesuffix(".0") if self.kind in (int, float) else f"{value}"]


def choices() -> list[Choice]:
    """The rows of the decision table that a page can do: one command with one picture in and one out."""
    found = []
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        uses = USE.fullmatch(cells[1]) if len(cells) == 3 else None
        if uses:
            found.append(_row(LINK.sub(r"\1", cells[0]), shlex.split(uses[1]), cells[2]))
    return found


def _row(picture: str, words: Sequence[str], because: str) -> Choice:
    command, method, *rest = words
    if rest[:2] != PLACES or command not in COMMANDS:
        raise ValueError(f"{TABLE.name}: {' '.join(words)} is no command with IN and OUT")
    pairs = tuple((flag, value) for flag, value in zip(rest[2::2], rest[3::2], strict=True))
    said = LINK.sub(r"\1", because).replace("**", "")
    return Choice(picture, command, method, tuple(p for p in pairs if not p[1].isupper()), said)


@lru_cache(1)
def _parsers() -> dict[tuple[str, str], Parser]:
    found = {}
    for command in COMMANDS:
        (top,) = (one for one in build_parser(command)._actions if one.dest == "command")
        (below,) = (one for one in top.choices[command]._actions if one.dest == "method")  # type: ignore[index]
        found |= {(command, name): sub for name, sub in below.choices.items()}  # type: ignore[union-attr]
    return found


def subcommands() -> dict[tuple[str, str], str]:
    """Every command and method with what it does, in the order of the help."""
    if set(methods()) != {name for command, name in _parsers() if command == COMMANDS[0]}:
        _parsers.cache_clear()  # a package was installed
    return {key: parser.description or "" for key, parser in _parsers().items()}


def options_of(command: str, method: str) -> list[Option]:
    """The options that a form shows, in the order in which it shows them.

    Raises ValueError for a command that there is not.
    """
    if (command, method) not in subcommands():
        raise ValueError(f"there is no command {command} {method}")
    parsers = _parsers()
    others = [{one.dest for one in parser._actions} for key, parser in parsers.items() if key[0] == command]
    shared = set.intersection(*others)
    actions = [one for one in parsers[command, method]._actions if one.dest not in ELSEWHERE]
    actions = [one for one in actions if one.help != argparse.SUPPRESS and not one.dest.startswith("cluster")]
    own = [one.dest for one in actions if one.dest not in shared and one.dest not in FIRST]
    known = methods().get(method)
    made = [option for one in actions if (option := _option(one, known, method)) is not None]
    at_once = [option.name for option in made if option.name in own and not option.free][:SHOWN]
    at_once = [*FIRST[:-1], *(option.name for option in made if option.needed), *at_once, FIRST[-1]]
    made = [replace(option, first=option.name in at_once) for option in made]
    return sorted(
        made, key=lambda one: (at_once.index(one.name),) if one.first else (len(at_once), one.name not in own)
    )


def _option(action: argparse.Action, method: Method | None, called: str) -> Option | None:
    """None for what names a file anywhere, which is for commands; a file of weights bears the restorer's
    name where that is no method.
    """
    name, kind = action.dest, action.type if isinstance(action.type, type) else str
    setting = vars(action).get("setting")
    rule = setting.metadata if setting else {}
    if rule.get("path"):
        return None
    default, choices = action.default, tuple(action.choices or ())
    if default is None and setting and not (method and method.presets):
        default = setting.default
    negative, needed, free = "", False, False
    if isinstance(action, argparse.BooleanOptionalAction):
        kind, negative = bool, action.option_strings[1]
    elif action.nargs == 0:
        kind = bool
    if name == DEVICE:
        choices = (default, *devices())
    if isinstance(action.choices, range):  # limits rather than words
        rule, choices = {"low": action.choices[0], "high": action.choices[-1]}, ()
    weight = next((one for one in method.weights if one.name == name), None) if method else None
    if weight is not None or name == called:
        files = [path.name for path in weights.installed() if path.parent != weights.SHIPPED]
        choices = tuple(dict.fromkeys([*(weight.names() if weight else ()), *files]))
        default = (weight.default if weight else default) or None
        needed, free = default is None and weight is not None and not weight.many, True
    text = re.sub(r" \(default:? [^)]*\)$", "", (action.help or "").replace("%%", "%"))
    if name == REGION:  # files of this machine are no part of a page
        text = "left, top, width and height in pixels of the picture, such as 40,20,100,120"
    return Option(
        name,
        action.option_strings[0],
        text,
        kind,
        default,
        negative,
        choices,
        rule.get("low"),
        rule.get("high"),
        needed,
        free,
        unset=UNSET.get(name, PRESET),
        form=Box.FORM if name == REGION else None,
    )


def given(choice: Choice) -> dict[str, Any]:
    """The values that a row gives its options, by their names."""
    found = {}
    for option in options_of(choice.command, choice.method):
        for flag, value in choice.values:
            if flag == option.flag:
                found[option.name] = option.kind(value)
    return found


def words_of(command: str, method: str, values: Mapping[str, Any], source: str, target: str) -> list[str]:
    """The command as words, with what differs from the defaults; a length of the longer side in place of a
    scale. OUT of one picture bears its format itself.
    """
    words = [command, method, source, target]
    told = {FORMAT} if Path(target).suffix else set()
    told |= {"scale"} if values.get("longest") else set()
    for option in options_of(command, method):
        if option.name in told:
            continue
        words += option.words(values.get(option.name, option.default))
    return words


def spoken(words: Sequence[str]) -> str:
    """The command as one copies it into a terminal."""
    return shlex.join(["priorsr", *words])
