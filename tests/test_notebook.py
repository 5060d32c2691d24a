"""The notebook runs from its first cell to its last, and prints what it speaks of."""

from __future__ import annotations

import ast
import json
import re

import pytest
from PIL import Image


@pytest.mark.slow
def test_its_cells_run_in_order(root, monkeypatch, capsys):
    book = json.loads((root / "docs" / "first_steps.ipynb").read_text(encoding="utf-8"))
    assert (book["nbformat"], len({cell["id"] for cell in book["cells"]})) == (4, len(book["cells"]))
    monkeypatch.chdir(root / "docs")
    names: dict = {}
    shown = 0
    for i, cell in enumerate(cell for cell in book["cells"] if cell["cell_type"] == "code"):
        assert cell["outputs"] == []
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"cell {i}", "exec"), names)  # noqa: S102 (our own text)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {i}", "eval"), names)  # noqa: S307
            shown += isinstance(value, Image.Image)
    told = capsys.readouterr().out
    assert shown == 4
    assert "restored\n" in told
    psnr = {name: float(db) for name, db in re.findall(r"^([\w-]+) +([\d.]+) dB", told, re.M)}
    assert psnr["no-prior"] > psnr["bicubic"]
    assert psnr["diffsr"] > psnr["bicubic"]
