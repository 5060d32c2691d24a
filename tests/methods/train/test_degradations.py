"""Every training that damages pictures takes a preset or a recipe's file."""

from __future__ import annotations

import pytest
import torch

from priorsr.methods.cli.trainers import TRAINERS
from priorsr.methods.degrade import PRESETS, Recipe, degrade, preset
from priorsr.methods.degrade.faces import face_damage
from priorsr.methods.degrade.steps import Resample
from priorsr.methods.nets.cleaner import SCALES
from priorsr.methods.train.classifier import ClassifierRecipe
from priorsr.methods.train.classifier import build as build_classifier
from priorsr.methods.train.cleaner import CleanerRecipe, damage
from priorsr.methods.train.cleaner import build as build_cleaner
from priorsr.methods.train.codeformer.task import CodeFormerRecipe
from priorsr.methods.train.codeformer.task import check as check_codeformer
from priorsr.methods.train.corrector.recipe import CorrectorRecipe
from priorsr.methods.train.judge import judge_damage
from priorsr.methods.train.loop import Optimisation

PICTURES = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(Recipe("mine", (Resample(0.25, of_input=True),)).to_json(), encoding="utf-8")
    return str(path)


def test_all_of_them_have_the_option():
    """Those that only reduce pictures, by a factor that is theirs, have none."""
    import argparse

    having = set()
    for trainer in TRAINERS:
        parser = argparse.ArgumentParser()
        trainer.arguments(parser)
        if "--degradation" in parser._option_string_actions:
            having.add(trainer.name)
    assert having == {"cleaner", "corrector", "classifier", "codeformer", "stablesr", "cfw"}


@pytest.mark.parametrize("name", [*PRESETS, ""])
def test_recipes_end_at_the_size_that_a_training_asks_for(file, name):
    name = name or file
    for recipe in (face_damage(name, 48), judge_damage(name)):
        done, _ = degrade(PICTURES, recipe, [1, 2])
        assert done.shape == PICTURES.shape
        assert (done - PICTURES).abs().mean() > 1e-3
    for scale in SCALES:
        done, _ = degrade(PICTURES, damage(scale, name), [1, 2])
        assert done.shape[-1] == 48 // scale


def test_a_file_is_what_it_says(file):
    small = preset("bicubic", 4.0)(PICTURES[0])
    expected = Resample(1.0, of_input=True)(small, (48, 48))
    torch.testing.assert_close(degrade(PICTURES[:1], face_damage(file, 48), [0])[0][0], expected)


def test_unknown_names_are_refused_before_any_picture_is_read(tmp_path):
    (tmp_path / "bad.json").write_text("{}", encoding="utf-8")
    for name, words in (("real", "unknown degradation 'real'"), (str(tmp_path / "bad.json"), "incomplete")):
        with pytest.raises(ValueError, match=words):
            CorrectorRecipe(degradation=name).config()
        with pytest.raises(ValueError, match=words):
            build_cleaner(CleanerRecipe(degradation=name))
        with pytest.raises(ValueError, match=words):
            check_codeformer(CodeFormerRecipe(degradation=name), Optimisation())
        with pytest.raises(ValueError, match=words):
            build_classifier(ClassifierRecipe(attributes="a=b,c", net="plain", degradation=name))
