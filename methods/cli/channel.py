"""A bounded queue between the threads of a run."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

WAITING = 64 * 2**20  # bytes of pictures that wait to be written; a larger one is waited for


class Channel:
    """A bounded queue; what was taken from it counts as held until it is done."""

    waiting = WAITING

    def __init__(self, most: int):
        self.most, self.held, self.bytes = most, 0, 0
        self._items: deque[tuple[Any, int]] = deque()
        self._putting, self._ended, self._closed = 0, False, False
        self._changed = threading.Condition()

    def put(self, item: Any, size: int = 0) -> None:
        """Wait until there is room for so many bytes, or nothing else is there, and append."""
        with self._changed:
            self._putting += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or self._room(size))
            self._putting -= 1
            if not self._closed:
                self._items.append((item, size))
                self.held += 1
                self.bytes += size
            self._changed.notify_all()

    def _room(self, size: int) -> bool:
        return len(self._items) < self.most and (not self.held or self.bytes + size <= self.waiting)

    def settle(self) -> None:
        """Wait until everything that was put is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self.held)

    def group(self, most: int = 1, key: Callable[[Any], Hashable] = lambda item: None) -> list:
        """The first item with those of its key behind it, alone if that is None; [] where nothing comes.

        Waits until there are `most`, or no more come or have room.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._enough(most))
            if self._closed or not self._items:
                return []
            wanted = key(self._items[0][0])
            chosen = [self._items[0]]
            if wanted is not None:
                chosen = [one for one in self._items if key(one[0]) == wanted][:most]
            for one in chosen:
                self._items.remove(one)
            self._changed.notify_all()
            return chosen

    def _enough(self, most: int) -> bool:
        if self._items:
            return len(self._items) >= most or self._ended or self._putting > 0
        return self._ended and not self.held  # what is held may come back

    def done(self, chosen: Iterable[tuple[Any, int]]) -> None:
        """What was taken is no more."""
        with self._changed:
            for _, size in chosen:
                self.held -= 1
                self.bytes -= size
            self._changed.notify_all()

    def back(self, chosen: Sequence[tuple[Any, int]]) -> None:
        """What was taken is there again."""
        with self._changed:
            self._items.extendleft(reversed(chosen))
            self._changed.notify_all()

    def end(self) -> None:
        """Nothing more is put."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Whoever waits goes on with nothing."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
