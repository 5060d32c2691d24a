"""One piece of a picture, and as much around it as a network's answer there depends on."""

from __future__ import annotations

from typing import NamedTuple

Span = tuple[int, int]  # first row or column, and the one behind the last
Slices = tuple[slice, slice]  # rows and columns


class Window(NamedTuple):
    """What is shown to a network, where the piece lies in its answer, and where in the whole result."""

    seen: Slices
    inner: Slices
    place: Slices

    @classmethod
    def of(cls, rows: Span, columns: Span, margin: int, scale: int = 1) -> Window:
        """Of rows and columns of the input, `margin` pixels of it around them, for a network that enlarges by
        `scale`.
        """
        spans = rows, columns
        starts = [max(0, first - margin) for first, _ in spans]
        seen = [slice(start, end + margin) for start, (_, end) in zip(starts, spans, strict=True)]
        inner = [
            slice((first - start) * scale, (end - start) * scale)
            for start, (first, end) in zip(starts, spans, strict=True)
        ]
        place = [slice(first * scale, end * scale) for first, end in spans]
        return cls(*((one[0], one[1]) for one in (seen, inner, place)))
