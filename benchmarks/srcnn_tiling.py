"""Tiled against untiled SRCNN, side by side: time and peak memory, each run in a process of its own.

python benchmarks/srcnn_tiling.py [--width 4000] [--height 3000] [--scale 2] [--tiles 0 256 512 1024]
[--repeat 3]

width and height are those of the result.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time


def measure(width: int, height: int, scale: int, tile: int) -> dict:
    """Seconds of one upscale, and the peak memory it adds to that of the loaded program (MB)."""
    import torch

    from priorsr.methods.visionrefine.srcnn import SRCNNSettings, load_srcnn, srcnn_upscale

    network, _ = load_srcnn(scale)
    x = torch.linspace(0, 1, 3 * (height // scale) * (width // scale)).view(
        1, 3, height // scale, width // scale
    )
    srcnn_upscale(network, x[..., :64, :64], scale)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    result = srcnn_upscale(network, x, scale, settings=SRCNNSettings(tile=tile))
    seconds = time.perf_counter() - start
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"seconds": seconds, "peak": peak, "result": result.numel() * 4 / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=4000)
    parser.add_argument("--height", type=int, default=3000)
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--tiles", type=int, nargs="+", default=[0, 256, 512, 1024])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(options.width, options.height, options.scale, options.one)))
        return
    size = ["--width", str(options.width), "--height", str(options.height), "--scale", str(options.scale)]
    found: dict[int, list[dict]] = {tile: [] for tile in options.tiles}
    for _ in range(options.repeat):  # in turn, so that a change of the machine's speed meets all alike
        for tile, rows in found.items():
            command = [sys.executable, __file__, *size, "--one", str(tile)]
            rows.append(
                json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            )
    title = f"SRCNN x{options.scale} to {options.width}x{options.height} RGB, median of {options.repeat}"
    print(f"{title}; the result itself takes {rows[0]['result']:.0f} MB")
    print(f"{'tile':>8}{'seconds':>10}{'peak MB':>10}")
    for tile, rows in found.items():
        seconds, peak = (statistics.median(r[k] for r in rows) for k in ("seconds", "peak"))
        print(f"{tile or 'whole':>8}{seconds:>10.2f}{peak:>10.0f}")


if __name__ == "__main__":
    main()
