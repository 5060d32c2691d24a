"""A reader of pickles that builds plain data and records, and has no way to import or call anything.

Python's own Unpickler gets memory from numbers that a file claims (a memo of 2^28 entries in nine bytes) and
hashes what a file nests; this machine does neither. Opcodes: the Python standard library's pickletools.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from .pickle_values import Name, Record, Span, hashable, record

OPCODES = 2_000_000  # a full training file has 200,000; this many take a second and at most 400 MB
LONGEST_LINE = 4096
LONGEST_TEXT = 1 << 24
LONGEST_NUMBER = 32  # bytes of an integer
NUMBERS = {form: struct.Struct(form) for form in ("<H", "<i", "<I", "<Q", ">d")}


class Machine:
    """Reads one pickle of `data` (bytes or a mapped file) from `at` on; afterwards `at` is where the next one
    starts.

    allow: raises PickledCode for a name that the file may not mention. build: what stands for a call of a
    name. persistent: what stands for an object that the file keeps elsewhere. Sets become lists. Raises
    ValueError, IndexError, struct.error and TypeError for damaged pickles.
    """

    def __init__(
        self,
        data,
        at: int = 0,
        stop: int | None = None,
        *,
        allow: Callable[[Name], None],
        build: Callable[[str, tuple], object] = record,
        persistent: Callable[[object], object] | None = None,
    ):
        self.data = data
        self.at = at
        self.stop = len(data) if stop is None else stop
        self.allow = allow
        self.allowed: set[Name] = set()
        self.build = build
        self.persistent = persistent

    def load(self) -> object:
        self.stack: list = []
        self.below: list[list] = []  # stacks under the marks
        self.memo: dict[int, object] = {}
        data, stop = self.data, self.stop
        for _ in range(OPCODES):  # the loop that a file of thousands of tensors is read by: nothing to spare
            at = self.at
            if at >= stop:
                raise ValueError("it ends too early")
            self.at = at + 1
            code = data[at]
            if code == 0x2E:  # STOP
                return self.stack.pop()
            action = ACTIONS.get(code)
            if action is None:
                raise ValueError(f"it is no checkpoint ({code:#04x} stands for nothing that could be data)")
            action(self)
        raise ValueError(f"its pickle has more than {OPCODES} operations")

    def take(self, count: int) -> bytes:
        at = self.at
        if not 0 <= count <= self.stop - at:
            raise ValueError("it ends too early")
        self.at = at + count
        return self.data[at : self.at]

    def byte(self) -> int:
        at = self.at
        if at >= self.stop:
            raise ValueError("it ends too early")
        self.at = at + 1
        return self.data[at]

    def number(self, form: str) -> int:
        return NUMBERS[form].unpack(self.take(NUMBERS[form].size))[0]

    def line(self) -> str:
        end = self.data.find(b"\n", self.at, min(self.stop, self.at + LONGEST_LINE))
        if end < 0:
            raise ValueError("it ends too early, or a line of it never ends")
        return self.take(end + 1 - self.at)[:-1].decode("utf-8")

    def text(self, count: int, encoding: str = "utf-8") -> str:
        if count > LONGEST_TEXT:
            raise ValueError(f"it holds a text of {count} bytes")
        return self.take(count).decode(encoding, "surrogatepass" if encoding == "utf-8" else "strict")

    def integer(self, count: int) -> int:
        if not 0 <= count <= LONGEST_NUMBER:
            raise ValueError(f"it holds a number of {count} bytes")
        return int.from_bytes(self.take(count), "little", signed=True)

    def written(self) -> int | bool:
        line = self.line().removesuffix("L")
        if line in ("00", "01"):
            return line == "01"
        if len(line) > 2 * LONGEST_NUMBER:
            raise ValueError(f"it holds a number of {len(line)} digits")
        return int(line)

    def skip(self, count: int) -> Span:
        if not 0 <= count <= self.stop - self.at:
            raise ValueError("it ends too early")
        self.at += count
        return Span(self.at - count, self.at)

    def push(self, value: object) -> None:
        self.stack.append(value)

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def marked(self) -> list:
        """What was pushed since the last mark, which goes."""
        items = self.stack
        self.stack = self.below.pop()
        return items

    def several(self, count: int) -> tuple:
        if len(self.stack) < count:
            raise ValueError("it takes more than it has put down")
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        return items

    def named(self, module: object, name: object) -> Name:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError("it mentions something without a name")
        full = Name(module, name)
        if full not in self.allowed:
            self.allow(full)
            self.allowed.add(full)
        return full

    def call(self, function: object, args: object) -> None:
        if not isinstance(args, tuple):
            raise ValueError("it calls something without arguments")
        if isinstance(function, Name):
            self.push(self.build(function.full, args))
        else:  # what an unknown call would have given, called
            self.push(Record("?", args))

    def keep(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def extend(self, items: list) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Record):
            raise ValueError("it adds items to what is no list")

    def enter(self, items: list) -> None:
        target = self.stack[-1]
        if isinstance(target, Record):
            return
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError("it adds entries to what is no dict")
        target.update((hashable(items[i]), items[i + 1]) for i in range(0, len(items), 2))

    def set_state(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Record):
            target.state = state
        elif not isinstance(target, dict):  # of a dict its attributes, such as torch's _metadata
            raise ValueError("it gives a state to what has none")

    def kept_elsewhere(self, identity: object) -> None:
        if self.persistent is None:
            raise ValueError("it refers to objects that it does not hold")
        self.push(self.persistent(identity))


def _make_dict(m: Machine) -> None:
    items = m.marked()
    m.push({})
    m.enter(items)


def _instance(m: Machine) -> None:
    name = m.named(m.line(), m.line())
    m.call(name, tuple(m.marked()))


def _object(m: Machine) -> None:
    items = m.marked()
    m.call(items[0], tuple(items[1:]))


def _ignore_keywords(m: Machine) -> None:
    keywords = m.stack.pop()
    if not isinstance(keywords, dict):
        raise ValueError("it calls something without arguments")
    m.call(*m.several(2))


ACTIONS: dict[int, Callable[[Machine], object]] = {
    ord("("): Machine.mark,
    ord("0"): lambda m: m.stack.pop() if m.stack else m.marked(),
    ord("1"): Machine.marked,
    ord("2"): lambda m: m.push(m.stack[-1]),
    ord("F"): lambda m: m.push(float(m.line())),
    ord("G"): lambda m: m.push(m.number(">d")),
    ord("I"): lambda m: m.push(m.written()),
    ord("L"): lambda m: m.push(m.written()),
    ord("J"): lambda m: m.push(m.number("<i")),
    ord("K"): lambda m: m.push(m.byte()),
    ord("M"): lambda m: m.push(m.number("<H")),
    0x8A: lambda m: m.push(m.integer(m.byte())),
    0x8B: lambda m: m.push(m.integer(m.number("<i"))),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("S"): lambda m: m.push(m.line()[1:-1]),
    ord("T"): lambda m: m.push(m.text(m.number("<i"), "latin-1")),  # texts of Python 2
    ord("U"): lambda m: m.push(m.text(m.byte(), "latin-1")),
    ord("V"): lambda m: m.push(m.line()),
    ord("X"): lambda m: m.push(m.text(m.number("<I"))),
    0x8C: lambda m: m.push(m.text(m.byte())),
    0x8D: lambda m: m.push(m.text(m.number("<Q"))),
    ord("C"): lambda m: m.push(m.skip(m.byte())),
    ord("B"): lambda m: m.push(m.skip(m.number("<I"))),
    0x8E: lambda m: m.push(m.skip(m.number("<Q"))),
    0x96: lambda m: m.push(m.skip(m.number("<Q"))),
    ord("]"): lambda m: m.push([]),
    ord("}"): lambda m: m.push({}),
    ord(")"): lambda m: m.push(()),
    0x8F: lambda m: m.push([]),
    ord("l"): lambda m: m.push(m.marked()),
    ord("d"): _make_dict,
    ord("t"): lambda m: m.push(tuple(m.marked())),
    0x91: lambda m: m.push(m.marked()),
    0x85: lambda m: m.push(m.several(1)),
    0x86: lambda m: m.push(m.several(2)),
    0x87: lambda m: m.push(m.several(3)),
    ord("a"): lambda m: m.extend([m.stack.pop()]),
    ord("e"): lambda m: m.extend(m.marked()),
    0x90: lambda m: m.extend(m.marked()),
    ord("s"): lambda m: m.enter(list(m.several(2))),
    ord("u"): lambda m: m.enter(m.marked()),
    ord("g"): lambda m: m.push(m.memo[m.written()]),
    ord("h"): lambda m: m.push(m.memo[m.byte()]),
    ord("j"): lambda m: m.push(m.memo[m.number("<I")]),
    ord("p"): lambda m: m.keep(m.written()),
    ord("q"): lambda m: m.keep(m.byte()),
    ord("r"): lambda m: m.keep(m.number("<I")),
    0x94: lambda m: m.keep(len(m.memo)),
    ord("c"): lambda m: m.push(m.named(m.line(), m.line())),
    0x93: lambda m: m.push(m.named(*m.several(2))),
    ord("R"): lambda m: m.call(*m.several(2)),
    0x81: lambda m: m.call(*m.several(2)),
    0x92: _ignore_keywords,
    ord("i"): _instance,
    ord("o"): _object,
    ord("b"): Machine.set_state,
    ord("P"): lambda m: m.kept_elsewhere(m.line()),
    ord("Q"): lambda m: m.kept_elsewhere(m.stack.pop()),
    0x80: lambda m: m.byte(),  # the protocol
    0x95: lambda m: m.number("<Q"),  # a frame, which only helps who reads ahead
}
