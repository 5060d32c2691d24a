from __future__ import annotations

import json

import pytest

from priorsr.methods.cli import main as cli
from priorsr.methods.degrade import PRESETS, Recipe, preset
from priorsr.methods.imaging.images import Picture, write


def recipe(*steps):
    return json.dumps({"name": "r", "steps": list(steps)})


GROW = {"step": "Resample", "factor": 256}
WRONG = [
    "[[[[",
    "[" * 100_000,
    "null",
    "3",
    '{"name": "r", "steps": 3}',
    '{"name": "r", "steps": {"a": 1}}',
    '{"name": "r", "steps": [[[]]]}',
    recipe({"step": "Blur", "shapes": 2}),
    recipe({"step": "Blur", "shapes": []}),
    recipe({"step": "Blur", "isotropic": [1]}),
    recipe({"step": "Blur", "isotropic": True}),
    recipe({"step": "Blur", "shape_weights": "ab"}),
    recipe({"step": "Blur", "kernel": [3, 5, 7]}),
    recipe({"step": "Blur", "kernel": None}),
    recipe({"step": "Blur", "sigma": float("nan")}),
    recipe({"step": "GaussianNoise", "seed": "a"}),
    recipe({"step": "GaussianNoise", "seed": -1}),
    recipe({"step": "Resample", "methods": [["bicubic"]]}),
    recipe({"step": "Resample", "clip": 2}),
    recipe({"step": "Sequence", "steps": [1]}),
    recipe({"step": "OneOf", "steps": [{"step": "Jpeg"}], "weights": ["a"]}),
    recipe({"step": ["Jpeg"]}),
    recipe(*[{"step": "Jpeg"}] * 1000),
]


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:40])
def test_wrong_recipes_are_one_sentence(tmp_path, photo, text, caplog):
    write(Picture(photo), tmp_path / "a.png")
    (tmp_path / "r.json").write_text(text)
    arguments = [
        "degrade",
        str(tmp_path / "a.png"),
        str(tmp_path / "o.png"),
        "--recipe",
        str(tmp_path / "r.json"),
    ]
    assert cli.main(arguments) == 2
    assert len(caplog.records) == 1
    assert "recipe" in caplog.text or "cannot be" in caplog.text


def test_a_chain_of_enlargements_has_a_bound(photo):
    drawn = Recipe.from_json(recipe(GROW, GROW, GROW)).draw(0)
    with pytest.raises(ValueError, match="lower its factors"):
        drawn(photo[0])


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_comes_back_from_json(name):
    made = preset(name, 4)
    assert Recipe.from_json(made.to_json()) == made
    assert Recipe.from_json(made.draw(1).to_json()) == made.draw(1)
