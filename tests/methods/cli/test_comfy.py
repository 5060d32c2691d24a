"""`priorsr comfy link` makes the package that is installed a custom node, and replaces nothing."""

from __future__ import annotations

import json

import pytest

from priorsr.methods.cli.info import PACKAGE
from priorsr.methods.cli.main import main


@pytest.fixture
def comfy(tmp_path):
    (tmp_path / "custom_nodes").mkdir()
    return tmp_path


@pytest.mark.parametrize("part", ["", "custom_nodes"])
def test_the_link_leads_to_all_that_the_host_looks_for(comfy, part, capsys):
    assert main(["comfy", "link", str(comfy / part), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    place = comfy / "custom_nodes" / "PriorSR"
    assert told == {"link": str(place), "package": str(PACKAGE), "made": True}
    for name in ("__init__.py", "web/docs", "locales/en", "example_workflows", "weights"):
        assert (place / name).exists()
    assert main(["comfy", "link", str(comfy)]) == 0
    assert "led already" in capsys.readouterr().out


def test_what_is_no_comfyui_is_refused(tmp_path, caplog):
    assert main(["comfy", "link", str(tmp_path)]) == 2
    assert "has no custom_nodes" in caplog.text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["folder", "dead link"])
def test_what_has_the_name_stays(comfy, kind, caplog):
    place = comfy / "custom_nodes" / "PriorSR"
    place.mkdir() if kind == "folder" else place.symlink_to(comfy / "gone")
    assert main(["comfy", "link", str(comfy)]) == 2
    assert "move it away first" in caplog.text
    assert place.is_symlink() == (kind == "dead link")
