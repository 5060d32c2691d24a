"""A folder enlarged by Ray Data: python docs/ray_folder.py METHOD IN OUT SCALE WORKERS [GPUS_A_WORKER].

Paths travel between machines, not pixels; each worker loads the weights once. Results are those of
`priorsr upscale METHOD IN OUT --scale SCALE`, and what exists is skipped.
"""

from __future__ import annotations

import sys
from pathlib import Path

import priorsr
from priorsr.methods.cli.folder import picture_seed, plan


class Enlarge:
    """An actor: a method that is loaded once and called for paths."""

    def __init__(self, method: str, scale: float):
        self.method, self.scale = priorsr.load(method), scale

    def __call__(self, batch: dict) -> dict:
        said = []
        for source, target in zip(batch["source"], batch["target"], strict=True):
            try:
                seed = picture_seed(0, Path(source).name)
                priorsr.write(priorsr.upscale(source, self.method, self.scale, seed=seed), target)
                said.append("written")
            except FileExistsError:
                said.append("skipped")
            except (ValueError, OSError) as error:
                said.append(f"failed: {error}")
        return {"target": batch["target"], "said": said}


def main() -> None:
    import ray

    method, source, out, scale, workers, *gpus = sys.argv[1:]
    rows = [
        {"source": str(job.source), "target": str(job.target)}
        for job in plan(source, out)
        if not job.target.exists()
    ]
    results = ray.data.from_items(rows).map_batches(
        Enlarge,
        fn_constructor_args=(method, float(scale)),
        batch_size=16,
        concurrency=int(workers),
        num_gpus=float(gpus[0]) if gpus else 0,
    )
    for row in results.iter_rows():
        if row["said"] != "written":
            print(row["target"], row["said"])


if __name__ == "__main__":
    main()
