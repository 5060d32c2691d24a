"""What a run will do and take, told before it begins."""

from __future__ import annotations

from dataclasses import dataclass

from .memory import show_bytes
from .timing import show_seconds


@dataclass(frozen=True)
class Plan:
    """What a run will do: size of the result (H, W), network calls a picture and tile, bytes of one call,
    what to beware of; pieces: how many calls a step takes for all of its tiles.

    seconds, as `Upscaler.predict` tells them: 0 where nothing is known; measured: on this device.
    """

    size: tuple[int, int]
    calls: int = 0
    bytes: int = 0
    warnings: tuple[str, ...] = ()
    pieces: int = 1
    seconds: float = 0.0
    measured: bool = False

    @property
    def kind(self) -> tuple[int, int, int]:
        """What stays while seconds are learnt, so that plans of one kind are told once."""
        return self.calls, self.bytes, self.pieces

    def describe(self) -> str:
        """What it takes, for people; nothing without a network call."""
        if not self.calls:
            return ""
        tile = " for each tile" if self.pieces > 1 else ""
        calls = f"{self.calls} network call{'s' if self.calls > 1 else ''}{tile}"
        room = f", about {show_bytes(self.bytes)} beside the weights" if self.bytes else ""
        source = "as measured here" if self.measured else "by a rule of thumb"
        return calls + room + (f", about {show_seconds(self.seconds)} {source}" if self.seconds else "")
