"""Damage of faces as networks are trained for it: one level, or several."""

from __future__ import annotations

from .presets import FACE_LEVELS, dpi, recipe_named
from .recipe import Recipe
from .steps import OneOf, Resample, Sequence

MIXED = ("mild", "medium", "heavy", "severe")
RELATIVE = "relative"


def face_damage(name: str, side: int) -> Recipe:
    """The face degradation of a level, or for `mix` and `relative` one of several with even chances; else the
    preset or the recipe's file of that name, brought back to the size of its input. Raises as `recipe_named`.
    """
    if name not in (RELATIVE, "mix", *FACE_LEVELS):
        recipe = recipe_named(name)
        return Recipe(recipe.name, (*recipe.steps, Resample(1.0, of_input=True)))
    if name == RELATIVE:
        recipes = [dpi(level, FACE_LEVELS[level].on(side)) for level in MIXED[:2]]
    else:
        recipes = [dpi(level) for level in (MIXED if name == "mix" else (name,))]
    steps = tuple(Sequence(recipe.steps) for recipe in recipes)
    return Recipe(name, (OneOf(steps, (1 / len(steps),) * len(steps)),))
