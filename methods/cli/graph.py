"""`priorsr graph`: workflows of nodes, run for a picture or a folder of them, checked and converted."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import Command, Parser, add_outputs, log

if TYPE_CHECKING:
    from ..graph.engine import Engine
    from ..graph.graph import Graph
    from ..imaging.images import Picture
    from .folder import Job, Plan

FLOW = "a saved workflow, a graph in API form, or a PNG or WebP that carries one"
SHOWN = 8  # choices on a line


def _arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Parser)
    for name, (help, arguments, run) in VERBS.items():
        sub = verbs.add_parser(name, help=help, description=help)
        arguments(sub)
        sub.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
        sub.set_defaults(graph=run)


def _run(options: argparse.Namespace) -> int:
    return options.graph(options)


def _flow_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("flow", metavar="FLOW", help=FLOW)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NODE.INPUT=VALUE",
        help="give an input another value; NODE is an id, a title or a type; may be repeated",
    )
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="URL",
        help="the nodes are those of a ComfyUI that runs there; repeated: several share a folder",
    )
    parser.add_argument("--comfyui", metavar="DIR", help="the nodes are those of the ComfyUI in this folder")
    parser.add_argument(
        "--comfyui-options",
        default="",
        metavar="TEXT",
        help='options of its main.py in one text, such as "--lowvram --base-directory DIR"',
    )


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    _flow_arguments(parser)
    parser.add_argument(
        "--input", metavar="IN", help="a picture or a folder of them, in place of what the graph loads"
    )
    parser.add_argument(
        "--into", default="", metavar="NODE", help="the node that loads it (default: the only one that does)"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder of the results")
    add_outputs(parser)
    parser.add_argument(
        "--vary",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="derive every seed of the graph from its value and the picture's name; --no-vary: as the graph "
        "has them (default: vary in folders, not for a single picture)",
    )
    parser.add_argument("--device", default="auto", help="of a run without ComfyUI (default auto)")


def _convert_arguments(parser: argparse.ArgumentParser) -> None:
    _flow_arguments(parser)
    parser.add_argument("--to", metavar="FILE", help="where the graph goes (default: standard output)")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")


def _command_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", metavar="FILE", help="where the workflow goes (default: standard output)")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    parser.add_argument("--api", action="store_true", help="in API form, not as a workflow that people open")
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="upscale ...", help="the command, as it would be run"
    )


def _engines(options: argparse.Namespace, stack: ExitStack) -> list[Engine]:
    """The hosts that are named; none for a run without."""
    if options.comfyui and options.server:
        raise ValueError("give --comfyui or --server, not both")
    if not options.comfyui and not options.server:
        return []
    from ..api.graph import open_engine

    engines = [open_engine(url) for url in options.server]
    if options.comfyui:
        engines = [open_engine(None, options.comfyui, options=shlex.split(options.comfyui_options))]
    for engine in engines:
        stack.callback(engine.close)
    return engines


def _graph(options: argparse.Namespace, engines: list[Engine]) -> Graph:
    """The graph with what is set. Raises ValueError."""
    from ..graph.graph import load

    graph = load(options.flow, engines[0].definitions if engines else None)
    for text in options.set:
        name, equal, value = text.partition("=")
        if not equal:
            raise ValueError(f"--set {text} sets nothing: write it as NODE.INPUT=VALUE")
        graph.set(name, value)
    return graph


def _run_graph(options: argparse.Namespace) -> int:
    from ..api.graph import check, check_alone, open_engine
    from .options import run_jobs

    with ExitStack() as stack:
        engines = _engines(options, stack)
        graph = _graph(options, engines)
        check_alone(graph, bool(engines))
        target, jobs, single = _planned(graph, options)
        if not engines:
            engines = [open_engine(device=options.device)]
            stack.callback(engines[0].close)
        others = _others(graph, target)
        for engine in engines:
            check(graph, engine, {**others, **({target: None} if target else {})})
        vary = not single if options.vary is None else options.vary
        works = [_work(graph, engine, target, others, vary, options) for engine in engines]
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
        jobs = plan(source, out, suffix)
        if jobs.passed_over:
            names = ", ".join(map(str, jobs.passed_over[:10]))
            log.warning("passed over, for their names are none of pictures that are read: %s", names)
        return target, jobs, False
    if out.is_file():
        raise ValueError(f"{out} is a file: --out is the folder of the results")
    name = Path(source).with_suffix(suffix or ("" if target else ".png")).name if suffix or not target else ""
    jobs = plan(source, out / (name or _writable(Path(source).name)))
    return target, jobs, True


def _writable(name: str) -> str:
    from ..imaging.images import WRITABLE

    path = Path(name)
    return name if path.suffix.lower() in WRITABLE else path.with_suffix(".png").name


def _others(graph: Graph, target: str) -> dict[str, Picture]:
    """The pictures that the other loaders name."""
    from ..api.graph import other_pictures

    return other_pictures(graph, {target: None})


def _work(
    graph: Graph,
    engine: Engine,
    target: str,
    others: dict[str, Picture],
    vary: bool,
    options: argparse.Namespace,
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
                bar.total = total
                bar.set_description(graph.title(node) if node in graph.nodes else "", refresh=False)
                bar.update(done - bar.n)

            result = engine.run(Copy(nodes, graph.definitions, graph.path), pictures, on_step)
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


def _inputs(options: argparse.Namespace) -> int:
    with ExitStack() as stack:
        graph = _graph(options, _engines(options, stack))
    rows = graph.inputs()
    if options.json:
        print(json.dumps(rows))
        return 0
    last = None
    for row in rows:
        if row["node"] != last:
            print(f"{row['node']}  {row['title']}  ({row['kind']})")
        last = row["node"]
        print(f"    {row['input']} = {json.dumps(row['value'], ensure_ascii=False)}  {_limits(row)}")
    return 0


def _limits(row: dict) -> str:
    """The type of an input and what it takes."""
    if "choices" in row or "files" in row:
        choices = [str(one) for one in row.get("choices", [])]
        shown = ", ".join(choices[:SHOWN]) + (", ..." if len(choices) > SHOWN else "")
        where = {"": "", "input": "the path of a picture"}.get(
            row.get("files", ""), f"a file of models/{row.get('files')}"
        )
        return f"one of {shown}{', or ' if shown and where else ''}{where}" if shown else where
    low, high = row.get("min"), row.get("max")
    limits = (
        ""
        if low is None and high is None
        else f" {'' if low is None else low} .. {'' if high is None else high}"
    )
    return f"{row['type']}{limits}"


def _check(options: argparse.Namespace) -> int:
    from ..graph.definitions import runs_alone
    from ..graph.graph import known_offline

    with ExitStack() as stack:
        engines = _engines(options, stack)
        graph = _graph(options, engines)
        exists = engines[0].exists if engines else known_offline
        here = {graph.nodes[key]["inputs"]["image"] for key in graph.loaders() if graph.picture_path(key)}
        problems = graph.problems(lambda folder, name: name in here or exists(folder, name))
    needs = [graph.name(key) for key, one in graph.nodes.items() if not runs_alone(one["class_type"])]
    if options.json:
        print(json.dumps({"problems": problems, "needs_comfyui": needs}))
    for text in problems:
        log.error("%s", text)
    if not options.json:
        where = f"needs --comfyui or --server for {', '.join(needs)}" if needs else "runs without ComfyUI"
        print(f"{options.flow}: {len(problems)} problems, {len(graph.nodes)} nodes, {where}")
    return 1 if problems else 0


def _convert(options: argparse.Namespace) -> int:
    with ExitStack() as stack:
        graph = _graph(options, _engines(options, stack))
    return _put(graph.to_json(), options, [options.flow])


def _from_command(options: argparse.Namespace) -> int:
    from .graph_from_command import workflow_of

    return _put(json.dumps(workflow_of(options.command, options.api), indent=1), options, [])


def _put(text: str, options: argparse.Namespace, others: list[str]) -> int:
    from ..imaging.replacing import replacing
    from .folder import check_output

    if not options.to:
        print(text)
        return 0
    check_output(options.to, others, options.overwrite)
    with replacing(Path(options.to), options.overwrite) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
    if options.json:
        print(json.dumps({"file": options.to}))
    return 0


VERBS = {
    "run": ("Run a workflow for a picture or a folder of them.", _run_arguments, _run_graph),
    "inputs": ("Show what --set takes.", _flow_arguments, _inputs),
    "check": ("Say what keeps a workflow from running.", _flow_arguments, _check),
    "convert": ("Write a saved workflow as the graph that a server runs.", _convert_arguments, _convert),
    "from-command": ("Write the workflow that does what a command does.", _command_arguments, _from_command),
}
COMMANDS = (Command("graph", _arguments, _run, json=False),)
