"""`priorsr graph run`: a workflow run for a picture or a folder of them, by one engine or several servers."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .graph_options import engines_of, graph_of
from .options import log

if TYPE_CHECKING:
    from ..graph.engine import Engine, OnPreview
    from ..graph.graph import Graph
    from ..imaging.images import Picture
    from .folder import Job, Plan


def run_graph(options: argparse.Namespace) -> int:
    from ..api.graph import check, check_alone, open_engine, other_pictures
    from .options import run_jobs

    with ExitStack() as stack:
        engines = engines_of(options, stack)
        graph = graph_of(options, engines)
        check_alone(graph, bool(engines))
        target, jobs, single = _planned(graph, options)
        preview = _preview(options, jobs)
        if not engines:
            engines = [open_engine(device=options.device)]
            stack.callback(engines[0].close)
        others = other_pictures(graph, {target: None})
        for engine in engines:
            check(graph, engine, {**others, **({target: None} if target else {})})
        vary = not single if options.vary is None else options.vary
        works = [_work(graph, engine, target, others, vary, options, preview) for engine in engines]
        if target:
            return run_jobs(options, jobs, works, single)
        return run_jobs(options, jobs, works, single, lambda path: None)


def _planned(graph: Graph, options: argparse.Namespace) -> tuple[str, Plan, bool]:
    """The node that the input goes to, the jobs, and whether it is one; no input: the job is the graph's."""
    from ..api.graph import loader_of
    from .folder import plan

    target, source = "", options.input
    if source is not None:
        target = loader_of(graph, options.into)
    elif options.into:
        raise ValueError("--into says where --input goes: give --input too")
    elif len(graph.loaders()) == 1:
        (target,) = graph.loaders()
        source = graph.picture_path(target)
    if source is None:
        target, source = "", options.flow
    out, suffix = Path(options.out), f".{options.format}" if options.format else None
    if Path(source).is_dir():
        jobs = plan(source, out, suffix, options.shard)
        if jobs.passed_over:
            names = ", ".join(map(str, jobs.passed_over[:10]))
            log.warning("passed over, for their names are none of pictures that are read: %s", names)
        return target, jobs, False
    if out.is_file():
        raise ValueError(f"{out} is a file: --out is the folder of the results")
    name = Path(source).with_suffix(suffix or ("" if target else ".png")).name if suffix or not target else ""
    jobs = plan(source, out / (name or _writable(Path(source).name)), shard=options.shard)
    return target, jobs, True


def _writable(name: str) -> str:
    from ..imaging.images import WRITABLE

    path = Path(name)
    return name if path.suffix.lower() in WRITABLE else path.with_suffix(".png").name


def _preview(options: argparse.Namespace, jobs: Plan) -> OnPreview | None:
    """What hears of previews, where they are asked for. Raises ValueError, ImportError and OSError."""
    if not options.preview:
        return None
    from .preview import PreviewFile

    if options.workers or options.cluster or len(options.server) > 1:
        raise ValueError(
            "--preview shows one picture at a time: leave out --workers and --cluster, and give one --server"
        )
    if options.server:
        from ..graph.listening import library

        library()
    folder = Path(options.input or "")
    if options.input and folder.is_dir() and folder.resolve() in Path(options.preview).resolve().parents:
        raise ValueError(f"{options.preview} would be an input of the next run: choose another place for it")
    return PreviewFile(options.preview, [path for job in jobs for path in (job.source, job.target)]).show


def _work(
    graph: Graph,
    engine: Engine,
    target: str,
    others: dict[str, Picture],
    vary: bool,
    options: argparse.Namespace,
    preview: OnPreview | None,
) -> Callable:
    """What runs the graph for a picture on one engine."""
    from tqdm import tqdm

    from ..graph.graph import Graph as Copy
    from .folder import picture_seed

    def work(picture: Picture | None, job: Job) -> tuple[Picture | None, dict]:
        nodes = {key: {**one, "inputs": dict(one["inputs"])} for key, one in graph.nodes.items()}
        seeds = {}
        for key, name in graph.seeds():
            seed = nodes[key]["inputs"][name]
            seeds[f"{key}.{name}"] = picture_seed(seed, job.source.name) if vary else seed
            nodes[key]["inputs"][name] = seeds[f"{key}.{name}"]
        pictures = dict(others)
        if picture is not None:
            nodes[target]["inputs"]["image"], pictures[target] = job.source.name, picture
        with tqdm(total=0, unit="step", leave=False, disable=None) as bar:

            def on_step(node: str, done: int, total: int) -> None:
                if not done:
                    bar.reset(total)
                    bar.set_description(graph.title(node) if node in graph.nodes else "")
                bar.total = total
                bar.update(done - bar.n)

            result = engine.run(Copy(nodes, graph.definitions, graph.path), pictures, on_step, preview)
        for key, texts in result.texts.items():
            log.info("%s: %s", graph.title(key), "\n".join(texts))
        own = [(key, one) for key, found in result.pictures().items() for one in found]
        kept = [
            replace(picture, pixels=one.pixels, alpha=one.alpha, bits=8) if picture else one for _, one in own
        ]
        report: dict[str, Any] = {"seeds": seeds, "texts": result.texts}
        report["more"] = [
            str(_write_further(one, job.target, key, i, options))
            for i, ((key, _), one) in enumerate(zip(own, kept, strict=True))
            if i
        ]
        files = [(key, i, *one) for key, found in result.files.items() for i, one in enumerate(found)]
        for place, (key, i, suffix, content) in enumerate(files):
            named = f"_{key.replace(':', '-')}_{i}" if own or place else ""
            path = job.target.with_name(f"{job.target.stem}{named}{suffix}")
            report["more"].append(str(_write_file(content, path, options.overwrite)))
        return (kept[0] if kept else None), report

    return work


def _write_further(
    picture: Picture, target: Path, node: str, number: int, options: argparse.Namespace
) -> Path:
    """A picture beside the first of a job; one that a killed run has left is the same and stays."""
    from ..imaging.images import read, write

    path = target.with_name(f"{target.stem}_{node.replace(':', '-')}_{number}{target.suffix}")
    if path.is_file() and not options.overwrite:
        there = read(path)
        if there.pixels.shape == picture.pixels.shape and bool((there.pixels == picture.pixels).all()):
            return path
    return write(picture, path, options.overwrite, options.quality)


def _write_file(content: bytes, path: Path, overwrite: bool) -> Path:
    """What a node saved that is no picture; one that a killed run has left is the same and stays."""
    from ..imaging.replacing import replacing

    if overwrite or not (path.is_file() and path.read_bytes() == content):
        with replacing(path, overwrite) as partial:
            partial.write_bytes(content)
    return path
