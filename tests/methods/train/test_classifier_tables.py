"""Tables of labels that classifiers are trained by."""

from __future__ import annotations

import dataclasses

import pytest
from classifier_trainings import SPEC

from priorsr.methods.train.classifier import ClassifierRecipe
from priorsr.methods.train.labels import UNKNOWN, Attribute


def test_attributes_are_read_as_tables_have_them():
    light, side = Attribute.parse(SPEC)
    assert light == Attribute("light", "level", ("dark", "bright"), ("dark", "high"))
    assert side == Attribute("side", "side", ("left", "right"), ("0", "1"))
    table = {"a.png": {"level": "dark"}, "b.png": {"level": " high "}, "c.png": {"level": "other"}}
    assert light.labels(["x/a.png", "b.png", "c.png", "d.png"], table).tolist() == [0, 1, UNKNOWN, UNKNOWN]


@pytest.mark.parametrize(
    "text", ["", "light", "light=dark", "light=dark,dark", "light=dark:1,bright:1", "a=x,y; a=x,y", "=a,b"]
)
def test_attributes_that_name_nothing_are_refused(text):
    with pytest.raises(ValueError, match="write gender:Male=female:-1,male:1"):
        Attribute.parse(text)


def test_tables_that_do_not_fit_are_refused():
    (light, _), table = Attribute.parse(SPEC), {"a.png": {"level": "dark"}}
    with pytest.raises(ValueError, match="no column 'size' for light: it has level"):
        dataclasses.replace(light, column="size").labels(["a.png"], table)
    with pytest.raises(ValueError, match="no picture is light bright"):
        light.labels(["a.png"], table)
    with pytest.raises(ValueError, match="no picture is light dark"):
        light.labels(["z.png"], table)
    with pytest.raises(ValueError, match="leave a block empty"):
        ClassifierRecipe(layers="2,0").config()
    with pytest.raises(ValueError, match="no multiple of 8"):
        ClassifierRecipe(size=20).config()


def test_tables_that_disagree_or_lack_names_are_refused(tmp_path):
    from priorsr.methods.imaging.datasets import read_table

    (tmp_path / "a.csv").write_text("file,x\np.png,1\n")
    (tmp_path / "b.csv").write_text("file,x\np.png,2\n")
    (tmp_path / "c.csv").write_text("name,x\np.png,2\n")
    assert read_table([tmp_path / "a.csv", tmp_path / "a.csv"]) == {"p.png": {"x": "1"}}
    with pytest.raises(ValueError, match=r"p\.png what another row does not"):
        read_table([tmp_path / "a.csv", tmp_path / "b.csv"])
    with pytest.raises(ValueError, match="no column 'file' but name, x"):
        read_table([tmp_path / "c.csv"])
