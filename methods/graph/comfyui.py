"""Graphs run by the executor of a ComfyUI checkout, in a process of its own that stays for all pictures."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from .definitions import from_object_info
from .engine import SAVER, Watch
from .hosts import FOLDER, METHOD, Gone, HostEngine, failure, refusal

PACK = Path(__file__).resolve().parents[2]
WORKER = PACK / "nodes" / "host" / "graph_worker.py"
ENVIRONMENTS = (".venv", "venv", "../python_embeded")
PYTHONS = ("bin/python", "Scripts/python.exe", "python.exe")
SHOWN = 600  # characters of its log that a complaint shows


class ComfyUI(HostEngine):
    """A checkout, run by its own interpreter where it has one. options: of its main.py, such as --lowvram.

    Raises ValueError for a folder that is none, Gone where it cannot start.
    """

    def __init__(self, checkout: str | os.PathLike, options: Sequence[str] = ()):
        super().__init__()
        self._runs = 0
        self.checkout = Path(checkout).resolve()
        if not (self.checkout / "execution.py").is_file() or not (self.checkout / "nodes.py").is_file():
            raise ValueError(f"{checkout} is no ComfyUI: give the folder that its main.py is in")
        self._folder = tempfile.TemporaryDirectory(prefix="priorsr-comfyui-")
        self._place = Path(self._folder.name)
        for name in ("output", "temp"):
            (self._place / name).mkdir()
        self._log = self._place / "host.log"
        command = [interpreter(self.checkout), str(WORKER), str(self.checkout), str(self._place), str(PACK)]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [*command, *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                cwd=self.checkout,
            )
        try:
            self.definitions = from_object_info(self._answer(Watch())["info"])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._folder.cleanup()

    def _give(self, name: str, content: bytes) -> str:
        folder = self._place / "temp" / FOLDER
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        return f"{FOLDER}/{name} [temp]"

    def _outputs(self, nodes: dict[str, Any], watch: Watch) -> dict[str, dict]:
        assert self._process.stdin is not None
        self._runs += 1
        previews = METHOD if watch.preview else None
        for one in nodes.values():
            if one["class_type"] == SAVER:  # saved anew in every run, as files do not outlive theirs
                one["inputs"]["filename_prefix"] = f"{FOLDER}/{self._runs}"
        try:
            self._process.stdin.write(json.dumps({"nodes": nodes, "previews": previews}) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._gone() from error
        told = self._answer(watch)
        if "refused" in told:
            message, node_errors = told["refused"]
            raise ValueError(refusal(nodes, node_errors, message))
        if "failed" in told:
            raise ValueError(failure(nodes, told["failed"]))
        return told["outputs"]

    def _answer(self, watch: Watch) -> dict:
        """What the process says next, but for its steps and previews."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            if "progress" in told:
                watch.step(*told["progress"])
            elif "preview" not in told:
                return told
            elif watch.preview:
                with Image.open(io.BytesIO(base64.b64decode(told["preview"]))) as picture:
                    watch.preview(picture.convert("RGB"))
        raise self._gone()

    def _gone(self) -> Gone:
        lines = [line for line in self._log.read_text(errors="replace").split("\n") if line.strip()]
        return Gone(f"ComfyUI in {self.checkout} has ended: {' '.join(lines[-3:])[-SHOWN:]}")

    def _fetch(self, image: Mapping) -> bytes:
        kind = "output" if image.get("type") == "output" else "temp"
        path = self._place / kind / image.get("subfolder", "") / image["filename"]
        content = path.read_bytes()
        if kind == "output":
            path.unlink()
        return content


def interpreter(checkout: Path) -> str:
    """What runs a checkout: PRIORSR_COMFYUI_PYTHON, its own environment, else this one."""
    own = [checkout / name / part for name in ENVIRONMENTS for part in PYTHONS]
    found = next((path for path in own if path.exists()), None)
    return os.environ.get("PRIORSR_COMFYUI_PYTHON") or str(found or sys.executable)
