"""One ComfyUI server for the whole run; COMFYUI_PATH is its checkout, HOST_PYTHON the interpreter that can
run it.
"""

from __future__ import annotations

import os

import pytest
from host_server import serve


@pytest.fixture(scope="session")
def host(tmp_path_factory):
    if not os.environ.get("COMFYUI_PATH"):
        pytest.skip("COMFYUI_PATH is not set")
    server = serve(os.environ["COMFYUI_PATH"], tmp_path_factory.mktemp("host") / "base")
    yield server
    server.close()


@pytest.fixture(scope="session")
def definitions(host):
    return host.get("/object_info")
