"""A ComfyUI server over a folder of its own, and the calls that the tests make to it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import tiny_checkpoints
import torch

from priorsr.methods.imaging.images import Picture, read, write
from priorsr.methods.imaging.resize import resize

PACK = Path(__file__).resolve().parents[2]


def interpreter(comfy: Path) -> str:
    """HOST_PYTHON, else the checkout's own environment, else this one."""
    own = [comfy / name / "bin" / "python" for name in (".venv", "venv")]
    return os.environ.get("HOST_PYTHON") or str(next((p for p in own if p.exists()), sys.executable))


class Host:
    """A server on a free port over a temporary base folder, and the few calls the tests make."""

    def __init__(self, comfy: str, base: Path):
        for folder in ("custom_nodes", "input", "output", "temp", "user", "models/priorsr"):
            (base / folder).mkdir(parents=True)
        os.symlink(PACK, base / "custom_nodes" / "PriorSR")
        for probes in Path(__file__).parent.glob("probe_*.py"):
            os.symlink(probes, base / "custom_nodes" / probes.name)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.base, self.url, self.log_file = base, f"http://127.0.0.1:{port}", base / "host.log"
        command = [interpreter(Path(comfy)), "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(port)]
        command += [
            "--base-directory",
            str(base),
            "--disable-auto-launch",
            "--disable-api-nodes",
            "--database-url",
            "sqlite:///:memory:",
        ]
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(command, cwd=comfy, stdout=log, stderr=subprocess.STDOUT)
        end = time.monotonic() + 600  # it may be a busy machine
        while time.monotonic() < end:
            try:
                self.get("/system_stats")
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.3)
            else:
                return
        self.close()
        raise RuntimeError(
            f"{command[0]} cannot run ComfyUI; set HOST_PYTHON to one that can:\n{self.log()[-3000:]}"
        )

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def raw(self, path: str, **query) -> bytes:
        with urllib.request.urlopen(
            self.url + path + ("?" + urllib.parse.urlencode(query) if query else ""), timeout=300
        ) as answer:
            return answer.read()

    def get(self, path: str, **query):
        return json.loads(self.raw(path, **query))

    def post(self, path: str, body: dict):
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.loads(answer.read() or b"null")

    def refusal(self, graph: dict) -> dict:
        """The body of the 400 that a wrong graph is answered with."""
        with pytest.raises(urllib.error.HTTPError) as caught:
            self.post("/prompt", {"prompt": graph})
        assert caught.value.code == 400
        return json.loads(caught.value.read())

    def start(self, graph: dict) -> str:
        return self.post("/prompt", {"prompt": graph})["prompt_id"]

    def wait(self, prompt: str, timeout: float = 180) -> dict:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            history = self.get("/history/" + prompt)
            if prompt in history:
                return history[prompt]
            time.sleep(0.05)
        raise TimeoutError(prompt)

    def run(self, graph: dict, timeout: float = 180) -> dict:
        """Run a graph to its end; raises AssertionError with the node's message when it fails."""
        entry = self.wait(self.start(graph), timeout)
        assert entry["status"]["status_str"] == "success", self.error(entry)
        return entry["outputs"]

    @staticmethod
    def error(entry: dict) -> str:
        return next(
            (m[1]["exception_message"] for m in entry["status"]["messages"] if m[0] == "execution_error"),
            str(entry["status"]),
        )

    def image(self, saved: dict) -> Path:
        return self.base / saved["type"] / saved["subfolder"] / saved["filename"]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def clip(path: Path, picture: torch.Tensor) -> None:
    """A video of four frames of 64 x 48 pixels."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=4)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        levels = (resize(picture, (48, 64)).clamp(0, 1)[0] * 255).byte().movedim(0, -1).numpy()
        for _ in range(4):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(levels, format="rgb24")))
        file.mux(stream.encode())


def serve(comfy: str, base: Path) -> Host:
    """A host with computed pictures and tiny checkpoints in its folders."""
    server = Host(comfy, base)
    y, x = torch.meshgrid(torch.linspace(0, 1, 95), torch.linspace(0, 1, 121), indexing="ij")
    photo = torch.stack([x, y, (12 * x * y).sin() * 0.4 + 0.5])[None].clamp(0, 1)
    write(Picture(photo), server.base / "input" / "example.png")
    write(Picture(photo, (x > 0.3).float()[None, None]), server.base / "input" / "alpha.png")
    write(Picture(photo[..., :1, :1]), server.base / "input" / "pixel.png")
    portrait = resize(read(PACK / "docs" / "sample" / "astronaut.png").pixels, (128, 128)).clamp(0, 1)
    write(
        Picture(torch.nn.functional.pad(portrait, (32,) * 4, value=0.4)),
        server.base / "input" / "portrait.png",
    )
    clip(server.base / "input" / "video.mp4", photo)
    tiny_checkpoints.make(server.base / "models" / "priorsr")
    tiny_checkpoints.make_latent(server.base / "models")
    (server.base / "models" / "priorsr" / "broken.safetensors").write_bytes(b"not weights")
    return server
