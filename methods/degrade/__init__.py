"""Degradations: random recipes that are drawn per seed, applied, saved and replayed."""

from .presets import PRESETS, bicubic, dpi, preset, real_world, recipe_named, srdg
from .recipe import Recipe, degrade

__all__ = ["PRESETS", "Recipe", "bicubic", "degrade", "dpi", "preset", "real_world", "recipe_named", "srdg"]
