"""CodeFormer against its bare convolutions and products, and the peak memory of a large picture with many
faces.

python benchmarks/faces.py [--w 0.5 0] [--threads 1] [--repeat 1] [--width 6000] [--height 4000] [--faces 50]

The bare run makes every call for which torch counts floating-point operations, on fresh maps of the same
shapes and layout, and nothing else: no norms, activations or resampling. Seconds are of the processor, which
other programs hardly lengthen. Weights are random. Memory is measured in a process of its own, from detection
to the blended picture, with a restorer that changes nothing.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode, flop_registry

SAMPLE = Path(__file__).resolve().parents[1] / "docs" / "sample" / "astronaut.png"


class Heavy(TorchDispatchMode):
    """Notes the calls that cost floating-point operations, of their tensors only what it takes to make others
    like them.
    """

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._overloadpacket in flop_registry:
            self.calls.append(
                (
                    func,
                    tree_map_only(torch.Tensor, lambda t: (tuple(t.shape), t.stride()), args),
                    kwargs or {},
                )
            )
        return func(*args, **(kwargs or {}))

    def seconds(self) -> float:
        """The calls again, each timed alone."""
        total = 0.0
        for func, shapes, kwargs in self.calls:
            args = [_like(*a) if isinstance(a, tuple) else a for a in shapes]
            start = time.process_time()
            func(*args, **kwargs)
            total += time.process_time() - start
        return total


def _like(shape: tuple[int, ...], stride: tuple[int, ...]) -> torch.Tensor:
    return torch.empty_strided(shape, stride).normal_()


@torch.no_grad()
def speed(weights: list[float], repeat: int) -> None:
    from priorsr.methods.nets.codeformer import CodeFormer

    torch.manual_seed(0)
    network = CodeFormer().eval().to(memory_format=torch.channels_last)
    x = torch.rand(1, 3, 512, 512) * 2 - 1
    print(f"CodeFormer on a face of 512 pixels, {torch.get_num_threads()} thread(s), median of {repeat}")
    for w in weights:
        with Heavy() as heavy, FlopCounterMode(display=False) as counter:
            network(x, w)
        whole, bare = [], []
        for _ in range(repeat):
            start = time.process_time()
            network(x, w)
            whole.append(time.process_time() - start)
            bare.append(heavy.seconds())
        a, b = statistics.median(whole), statistics.median(bare)
        print(
            f"w {w:g}: {counter.get_total_flops() / 2e9:.0f} G multiplications, {a:.1f} s, bare {b:.1f} s, "
            f"ratio {a / b:.2f}",
            flush=True,
        )


def memory(width: int, height: int, faces: int) -> None:
    from priorsr.methods.faces.detect import DetectSettings
    from priorsr.methods.faces.load import load_detector
    from priorsr.methods.faces.paint import RestoreSettings
    from priorsr.methods.faces.restore import restore_faces
    from priorsr.methods.imaging.images import read
    from priorsr.methods.imaging.resize import resize

    columns = math.ceil(math.sqrt(faces * width / height))
    cell = min(width // columns, height // math.ceil(faces / columns))
    portrait = resize(read(SAMPLE).pixels, (cell * 3 // 4,) * 2).clamp(0, 1)
    picture, detector = torch.full((1, 3, height, width), 0.4), load_detector()
    for i in range(faces):
        top, left = i // columns * cell, i % columns * cell
        picture[..., top : top + portrait.shape[-2], left : left + portrait.shape[-1]] = portrait
    restore_faces(picture[..., :cell, :cell], lambda x, seeds: x, detector)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    done = restore_faces(
        picture, lambda x, seeds: x, detector, RestoreSettings(), DetectSettings(smallest=100)
    )
    peak, taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time() - start
    found = sum(r.outcome == "restored" for r in done.reports[0])
    size, more = picture.numel() * 4 / 2**20, (peak - before) / 1024
    print(
        f"{width} x {height} pixels: {found} of {faces} faces found, cut out and put back in {taken:.1f} "
        f"s; {peak / 1024:.0f} MiB at the peak,"
    )
    print(f"{more:.0f} MiB more than the program with the picture, of which {size:.0f} MiB are the result")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--w", type=float, nargs="*", default=[0.5, 0.0], help="none: memory alone")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--width", type=int, default=6000)
    parser.add_argument("--height", type=int, default=4000)
    parser.add_argument("--faces", type=int, default=50)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    size = [f"--{name}={getattr(options, name)}" for name in ("width", "height", "faces", "threads")]
    if options.alone:
        memory(options.width, options.height, options.faces)
        return
    # first, because a process inherits the peak of the one that starts it
    subprocess.run([sys.executable, __file__, *size, "--alone"], check=True)
    if options.w:
        speed(options.w, options.repeat)


if __name__ == "__main__":
    main()
