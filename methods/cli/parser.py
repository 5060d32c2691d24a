"""A parser that answers with the nearest word, and what a command is; nothing heavy is imported for it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from ..settings import nearest


class Parser(argparse.ArgumentParser):
    """Complains in one sentence that names the nearest option, with exit code 2, and as JSON where that was
    asked for.
    """

    given: tuple[str, ...] = ()

    def parse_known_args(self, args=None, namespace=None):
        self.given = tuple(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def parse_args(self, args=None, namespace=None):
        options, rest = self.parse_known_args(args, namespace)
        if rest:
            known = [flag for action in _actions(self, options) for flag in action.option_strings]
            hint = nearest(rest[0].split("=")[0], known) if rest[0].startswith("-") else ""
            self.refuse(f"there is no option {rest[0]}{hint if 'did you mean' in hint else ''}")
        return options

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            what = action.metavar or (action.option_strings or [action.dest])[0]
            hint = nearest(str(value), [str(c) for c in action.choices])
            raise argparse.ArgumentError(None, f"there is no {what} {value!r}{hint}")

    def error(self, message: str) -> NoReturn:
        self.refuse(message)

    def refuse(self, message: str) -> NoReturn:
        """Raises SystemExit 2."""
        print(f"{self.prog}: {message} (--help shows what there is)", file=sys.stderr)
        if "--json" in self.given:
            print(json.dumps({"error": message}))
        raise SystemExit(2)


def _actions(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[argparse.Action]:
    """The actions of a parser and of those of its subcommands that were chosen."""
    found = []
    for action in parser._actions:
        found.append(action)
        if isinstance(action, argparse._SubParsersAction):
            name = getattr(options, action.dest, "")  # an argument of the same name may hold a list
            chosen = action.choices.get(name) if isinstance(name, str) else None
            found += _actions(chosen, options) if chosen else []
    return found


@dataclass(frozen=True)
class Command:
    """A command's name, its line of help, its options and what it does."""

    name: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    json: bool = True  # whether --json is added here
