"""StableSR at its released size with random weights: files made in a minute, one command run on them, its
time and peak.

python benchmarks/full_size.py FOLDER [--steps 4] [--guidance 3] [--precision auto] [--scale 4] [--threads 2]

FOLDER gets base.safetensors (Stable Diffusion 2.1's layout with its text tower), layers.safetensors and
cfw.safetensors, all of float16 and 3 GB together; they are made once. Numbers are drawn so that what passes
through the networks keeps its size: nothing is restored, and nothing overflows. The run is the command
itself, in a process of its own: `priorsr upscale stablesr` of a picture of 128 pixels.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[1]
MANIFESTS = ROOT / "tests" / "golden" / "cases" / "stablesr" / "manifests"


def manifest(name: str) -> dict[str, list[int]]:
    return json.loads((MANIFESTS / f"{name}.json").read_text(encoding="utf-8"))


def numbers(name: str, shape: list[int], draw: torch.Generator) -> torch.Tensor:
    """Random weights that keep the size of what passes through; one for scales, zero for biases."""
    if len(shape) < 2:
        scales = name.endswith("weight") or name.startswith("alphas")
        return torch.full(shape, float(scales), dtype=torch.float16)
    spread = 1 / math.sqrt(math.prod(shape[1:]))
    return torch.randn(shape, generator=draw).mul_(spread).half()


def make(folder: Path) -> None:
    """The three files, where they are not there yet."""
    from priorsr.methods.weights import layouts

    whole, layers = manifest("stablesr_full_ckpt"), manifest("stablesr_webui_stripped")
    wanted = {
        "base": {k: v for k, v in whole.items() if not layouts.is_layer(k)},
        "layers": layers,
        "cfw": manifest("vqgan_cfw_ckpt"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    draw = torch.Generator().manual_seed(0)
    for name, shapes in wanted.items():
        path = folder / f"{name}.safetensors"
        if not path.exists():
            save_file({k: numbers(k, v, draw) for k, v in shapes.items()}, path)


def command(folder: Path, given: argparse.Namespace) -> list[str]:
    return [
        *(sys.executable, "-m", "priorsr.methods.cli.main", "upscale", "stablesr"),
        *(folder / "in.png", folder / "out.png", "--overwrite", "--json", "--precision", given.precision),
        *("--scale", given.scale, "--steps", given.steps, "--guidance", given.guidance),
        *("--base", folder / "base.safetensors", "--stablesr", folder / "layers.safetensors"),
        *("--cfw", folder / "cfw.safetensors"),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--scale", type=float, default=4.0)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args()
    start = time.perf_counter()
    make(given.folder)
    made = time.perf_counter() - start
    import priorsr

    picture = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    priorsr.write(picture, given.folder / "in.png", overwrite=True)
    start = time.perf_counter()
    run = subprocess.run(
        [str(part) for part in command(given.folder, given)],
        env=os.environ | {"OMP_NUM_THREADS": str(given.threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - start
    size = sum((given.folder / f"{n}.safetensors").stat().st_size for n in ("base", "layers", "cfw"))
    found = {
        "files_gb": size / 1e9,
        "made_seconds": made,
        "seconds": seconds,
        "peak_gb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9,
        "exit": run.returncode,
    }
    print(run.stderr[-4000:], file=sys.stderr)
    print(run.stdout[-2000:])
    print(json.dumps(found, indent=2))
    sys.exit(run.returncode)


if __name__ == "__main__":
    main()
