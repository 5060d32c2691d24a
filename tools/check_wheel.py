"""Build wheel and sdist, install the wheel alone in a fresh environment, and try what it promises there.

python tools/check_wheel.py [--out dist] [--venv DIR]   (make wheel)
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INSIDE = """
import json, priorsr
from pathlib import Path
at = Path(priorsr.__file__).parent
names = ["weights/SHA256SUMS", "web/docs/PriorSRDegrade.md", "web/docs/PriorSRDegrade/zh.md",
         "locales/zh-TW/nodeDefs.json", "locales/de/main.json", "web/options.js", "web/widgets.js",
         "example_workflows/srcnn_upscale.json", "docs/sample/face.png", "docs/which.md",
         "methods/graph/our_nodes.json", "methods/judge/protocols/plain.toml", "py.typed"]
print(json.dumps([str(at), [name for name in names if not (at / name).is_file()]]))
"""
PYTHON = """
import priorsr
face = priorsr.read({path!r})
assert priorsr.upscale(face, "diffsr", 1.5, steps=2).pixels.shape[-1] == 192
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=str(ROOT / "dist"), help="where wheel and sdist go")
    parser.add_argument("--venv", default="", help="the environment, kept (default: a new one, removed)")
    options = parser.parse_args()
    out = Path(options.out)
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(out), str(ROOT)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (wheel,) = sorted(out.glob("*.whl"), key=lambda path: path.stat().st_mtime)[-1:]
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        place = Path(options.venv) if options.venv else work / "venv"
        venv.create(place, with_pip=True)
        bin = place / ("Scripts" if os.name == "nt" else "bin")
        pip = [str(bin / "python"), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
        subprocess.run([*pip, str(wheel)], check=True)
        (work / "ComfyUI" / "custom_nodes").mkdir(parents=True)
        return try_out(lambda *words: told(bin, work, *words), work)


def told(bin: Path, work: Path, *words: str) -> str:
    """What a program of the environment prints, run in a folder that has nothing of the repository."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PRIORSR_MODELS", "COMFYUI_PATH")}
    done = subprocess.run(
        [str(bin / words[0]), *words[1:]], cwd=work, env=clean, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)[:200]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    print("ok:", " ".join(words)[:100].replace("\n", " "))
    return done.stdout


def try_out(run: Callable[..., str], work: Path) -> int:
    """Everything that the wheel promises. Raises SystemExit that says what failed."""
    at, missing = json.loads(run("python", "-c", INSIDE))
    if missing or "site-packages" not in at:
        raise SystemExit(
            f"the wheel at {at} lacks {', '.join(missing) or 'nothing, but it is not installed'}"
        )
    sample, flow = (
        str(Path(at) / name) for name in ("docs/sample/face.png", "example_workflows/srcnn_upscale.json")
    )
    assert "restore-faces" in run("priorsr", "--help")
    run("priorsr", "upscale", "stablesr", "--help")
    assert json.loads(run("priorsr", "info", "--json"))["priorsr"].endswith(at)
    states = {row["name"]: row["state"] for row in json.loads(run("priorsr", "models", "--json"))}
    assert set(states.values()) == {"ready"}, states
    assert "2 of 2 faces restored" in run("python", "-m", "priorsr.methods.cli.demo", "demo")
    run("python", "-c", PYTHON.format(path=sample))
    run("priorsr", "graph", "run", flow, "--input", sample, "--out", "out")
    run("priorsr", "comfy", "link", "ComfyUI")
    assert (work / "ComfyUI" / "custom_nodes" / "PriorSR" / "__init__.py").is_file()
    print("the wheel alone does what it promises")
    return 0


if __name__ == "__main__":
    sys.exit(main())
