"""A named chain of steps: drawn from a seed, applied to pictures, written as JSON and read back."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence as Seq
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..imaging.images import check_pixels
from ..imaging.resize import size_of
from .steps import STEPS, Sequence, Step

MOST_STEPS = 200


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _range(value: object) -> bool:
    return _number(value) or (isinstance(value, list) and len(value) == 2 and all(map(_number, value)))


# what JSON may hold for a setting of each annotation
FITS = {
    "float": _number,
    "bool": lambda v: isinstance(v, bool),
    "Range": _range,
    "Range | None": lambda v: v is None or _range(v),
    "int | None": lambda v: v is None or (isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 2**63),
    "tuple[str, ...]": lambda v: isinstance(v, list) and v != [] and all(isinstance(i, str) for i in v),
    "tuple[float, ...]": lambda v: isinstance(v, list) and all(_number(i) and i >= 0 for i in v),
    "tuple[Step, ...]": lambda v: isinstance(v, list) and all(isinstance(i, dict) for i in v),
}


@dataclass(frozen=True)
class Recipe:
    """Steps in order. One with ranges describes a family of degradations; a drawn one is a single one."""

    name: str
    steps: tuple[Step, ...]

    def draw(self, seed: int) -> Recipe:
        """The one degradation that belongs to a seed; it does not depend on any picture."""
        rng = random.Random(f"priorsr/{seed}")
        return Recipe(self.name, tuple(step.draw(rng) for step in self.steps))

    def __call__(self, x: Tensor) -> Tensor:
        """Apply a drawn recipe to a picture C H W in 0..1. Raises ValueError if it has ranges or choices."""
        return Sequence(self.steps)(x, size_of(x))

    def to_json(self) -> str:
        return json.dumps({"name": self.name, "steps": [_dump(s) for s in self.steps]}, indent=1)

    @staticmethod
    def from_json(text: str) -> Recipe:
        """Read what `to_json` wrote. Raises ValueError that says which step or setting is wrong."""
        try:
            content = json.loads(text)
            if _count(content["steps"]) > MOST_STEPS:
                raise ValueError(f"the recipe has more than {MOST_STEPS} steps")
            return Recipe(str(content["name"]), tuple(_load(s) for s in content["steps"]))
        except json.JSONDecodeError as error:
            raise ValueError(f"the recipe is no JSON (line {error.lineno}: {error.msg})") from error
        except RecursionError as error:
            raise ValueError("the recipe is nested too deeply") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f'the recipe is incomplete ({error}): it needs "name" and "steps", each a "step" and settings'
            ) from error


def degrade(images: Tensor, recipe: Recipe, seeds: Seq[int]) -> tuple[Tensor, list[Recipe]]:
    """Degrade a batch B C H W in 0..1, one seed an image; also returns what was drawn, ready to replay.

    A result depends on the image and its seed alone. Raises ValueError when the drawn sizes differ.
    """
    check_pixels(images)
    if len(seeds) != len(images):
        raise ValueError(f"{len(images)} images need as many seeds, not {len(seeds)}")
    drawn = [recipe.draw(seed) for seed in seeds]
    results = [r(x) for r, x in zip(drawn, images, strict=True)]
    sizes = {size_of(r) for r in results}
    if len(sizes) > 1:
        raise ValueError(
            f"recipe {recipe.name!r} gives images of different sizes {sorted(sizes)}: "
            "end it with a Resample of_input, or degrade singly"
        )
    return results[0][None] if len(results) == 1 else torch.stack(results), drawn


def _dump(step: Step) -> dict:
    out: dict = {"step": type(step).__name__}
    for f in fields(step):
        value = getattr(step, f.name)
        if f.name == "steps":
            value = [_dump(s) for s in value]
        if value is not None:
            out[f.name] = list(value) if isinstance(value, tuple) else value
    return out


def _count(steps: list) -> int:
    return sum(1 + _count(step.get("steps", [])) for step in steps)


def _load(content: dict) -> Step:
    kind = STEPS.get(content["step"])
    if kind is None:
        raise ValueError(f"unknown step {content['step']!r}: choose from {', '.join(STEPS)}")
    unknown = content.keys() - {f.name for f in fields(kind)} - {"step"}
    if unknown:
        known = ", ".join(f.name for f in fields(kind))
        raise ValueError(f"{content['step']} has no setting {', '.join(sorted(unknown))}: it has {known}")
    for f in fields(kind):
        if f.name in content and not FITS[str(f.type)](content[f.name]):
            raise ValueError(f"{content['step']} {f.name} cannot be {json.dumps(content[f.name])[:60]}")
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items() if k != "step"}
    if "steps" in settings:
        settings["steps"] = tuple(_load(s) for s in settings["steps"])
    return kind(**settings)
