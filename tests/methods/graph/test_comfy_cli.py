"""Saved workflows become the graphs that comfy-cli makes of them, where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from priorsr.methods.graph.definitions import DYNAMIC, KEPT, carried, defaults, from_object_info
from priorsr.methods.graph.saved import convert

WORKFLOWS = sorted((Path(__file__).parents[3] / "example_workflows").glob("*.json"))
COMMAND = shutil.which("comfy-cli")
TOLD = ("display_name", "category", "output_node")


def object_info(definitions: Mapping) -> dict:
    """What a server would answer of nodes of these definitions."""
    return {
        kind: {
            **{name: one[name] for name in TOLD if name in one},
            "input": grouped(one["inputs"]),
            "output": [out["type"] for out in one["outputs"]],
            "output_name": [out.get("name", out["id"]) for out in one["outputs"]],
            "output_is_list": [bool(out.get("list")) for out in one["outputs"]],
        }
        for kind, one in definitions.items()
    }


def grouped(inputs: Iterable[Mapping]) -> dict:
    groups: dict = {"required": {}, "optional": {}}
    for one in inputs:
        groups["optional" if one.get("optional") else "required"][one["id"]] = spec(one)
    return groups


def spec(one: Mapping) -> list:
    said = {key: one[key] for key in (*KEPT, "control_after_generate") if key in one}
    said |= {"forceInput": True} if one.get("socket") else {}
    said |= {"widgetType": one["type"]} if one.get("own_widget") else {}
    said |= {"image_upload": True} if one.get("upload") else {}
    if one["type"] == "COMBO":
        return [list(one.get("options") or ()), said]
    if one["type"] == DYNAMIC:
        said["options"] = [{"key": key, "inputs": grouped(more)} for key, more in one["options"].items()]
    return [one["type"], said]


def test_what_the_server_answers_says_what_the_definitions_say():
    """Widgets with what they start at, those of choices included; and sockets."""
    told = from_object_info(object_info(carried()))
    for kind, one in carried().items():
        assert defaults(told[kind]["inputs"]) == defaults(one["inputs"]), kind
        assert {i["id"] for i in told[kind]["inputs"]} == {i["id"] for i in one["inputs"]}, kind


@pytest.fixture(scope="module")
def server():
    body = json.dumps(object_info(carried())).encode()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.path in ("/object_info", "/api/object_info")
            content = body if known else b"{}"
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *told):
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield served.server_port
    served.shutdown()
    served.server_close()


@pytest.mark.slow
@pytest.mark.skipif(COMMAND is None, reason="comfy-cli is not installed")
@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_convert_as_by_comfy_cli(server, path, tmp_path):
    words = ["--skip-prompt", "run", "--workflow", path, "--print-prompt"]
    words += ["--host", "127.0.0.1", "--port", server]
    home = {**os.environ, "HOME": str(tmp_path), "DO_NOT_TRACK": "1"}
    said = subprocess.run([COMMAND, *map(str, words)], env=home, capture_output=True, text=True, timeout=170)
    assert said.returncode == 0, said.stderr + said.stdout
    theirs = json.loads(said.stdout)["data"]["prompt"]
    ours = convert(json.loads(path.read_text("utf-8")), carried())
    assert parts(ours) == parts(theirs)


def parts(graph: Mapping) -> dict:
    return {key: (node["class_type"], node["inputs"]) for key, node in graph.items()}
