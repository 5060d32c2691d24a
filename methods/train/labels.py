"""Attributes of pictures as tables have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from .prior import squares

JUDGED = 512  # validation pictures of each attribute that figures come from
UNKNOWN = -1  # label of pictures that a table says nothing of


@dataclass(frozen=True)
class Attribute:
    """An attribute as a table has it: the column, and the value of each class."""

    name: str
    column: str
    classes: tuple[str, ...]
    values: tuple[str, ...]

    @staticmethod
    def parse(text: str) -> tuple[Attribute, ...]:
        """The attributes of a recipe. Raises ValueError with what is wrong."""
        found = []
        for part in filter(None, (p.strip() for p in text.split(";"))):
            head, separator, tail = part.partition("=")
            named = [_pair(entry) for entry in tail.split(",") if entry.strip()]
            classes, values = (tuple(column) for column in zip(*named, strict=True)) if named else ((), ())
            if (
                not separator
                or not head.strip()
                or min(len(set(classes)), len(set(values))) < max(2, len(named))
            ):
                raise ValueError(
                    f"{part!r} names no attribute with two or more different classes: write "
                    "gender:Male=female:-1,male:1"
                )
            found.append(Attribute(*_pair(head), classes, values))
        if not found or len({a.name for a in found}) < len(found):
            raise ValueError(
                f"attributes {text!r} name none, or one twice: write gender:Male=female:-1,male:1; "
                "expression=neutral,happy"
            )
        return tuple(found)

    def labels(self, names: Sequence[str], table: Mapping[str, Mapping[str, str]]) -> Tensor:
        """The class of each picture, (N,), UNKNOWN where the table has another value or no row.

        Raises ValueError for a missing column or class.
        """
        rows = [table.get(name) or table.get(Path(name).name) or {} for name in names]
        if any(rows) and not any(self.column in row for row in rows):
            raise ValueError(
                f"the table has no column {self.column!r} for {self.name}: it has "
                f"{', '.join(next(filter(None, rows)))}"
            )
        index = {value: i for i, value in enumerate(self.values)}
        labels = torch.tensor([index.get((row.get(self.column) or "").strip(), UNKNOWN) for row in rows])
        for i, name in enumerate(self.classes):
            if not (labels == i).any():
                raise ValueError(
                    f"no picture is {self.name} {name} (value {self.values[i]!r} of column "
                    f"{self.column!r}): look at the table and names"
                )
        return labels


class Labels(Protocol):
    """What a recipe says of labelled pictures: their attributes, their side and their channels."""

    @property
    def attributes(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def colours(self) -> int: ...


@dataclass(frozen=True)
class Labelled:
    """uint8 pictures N C S S and their labels N by attribute."""

    images: Tensor
    labels: dict[str, Tensor]

    @staticmethod
    def of(
        pictures: Sequence[tuple[str, Tensor]],
        table: Mapping[str, Mapping[str, str]],
        recipe: Labels,
    ) -> Labelled:
        """Named pictures, as they are or as squares, that any attribute is known of.

        Raises ValueError as `Attribute.labels`.
        """
        names = [name for name, _ in pictures]
        labels = {a.name: a.labels(names, table) for a in Attribute.parse(recipe.attributes)}
        known = torch.stack([v != UNKNOWN for v in labels.values()]).any(0)
        images = squares(
            [p for (_, p), kept in zip(pictures, known.tolist(), strict=True) if kept],
            recipe.size,
            recipe.colours,
        )
        return Labelled(images, {k: v[known] for k, v in labels.items()})


def _pair(text: str) -> tuple[str, str]:
    """NAME:VALUE, or NAME for both."""
    name, separator, value = (part.strip() for part in text.partition(":"))
    return name, value if separator else name
