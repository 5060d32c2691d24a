"""What a pickle holds, as plain data: names, records of what it wants built, spans of bytes."""

from __future__ import annotations

from typing import NamedTuple

LARGEST_KEY = 1 << 60  # integers beyond it can be made to share one hash
PLAIN = (str, bytes, bool, int, float, type(None))


class Name(NamedTuple):
    """Something of a module, by its name alone."""

    module: str
    name: str

    @property
    def full(self) -> str:
        return f"{self.module}.{self.name}"


class Record:
    """What a pickle wants built, kept as data: its name, arguments and state."""

    __slots__ = ("args", "name", "state")

    def __init__(self, name: str, args: tuple = ()):
        self.name = name
        self.args = args
        self.state = None


class Span(NamedTuple):
    """Where bytes lie in the file."""

    start: int
    stop: int


def record(name: str, args: tuple) -> object:
    return Record(name, args)


def hashable(value: object) -> object:
    """The key itself where its hash costs nothing, else a record in its place: a nested tuple can take for
    ever.
    """
    if isinstance(value, (Name, Record)):
        return value
    if isinstance(value, tuple):
        return value if all(isinstance(v, PLAIN) for v in value) else Record("key")
    if isinstance(value, int) and abs(value) >= LARGEST_KEY:
        return Record("key")
    return value if isinstance(value, PLAIN) else Record("key")
