"""`priorsr graph`: workflows of nodes, run for a picture or a folder of them, checked and converted."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path

from .graph_options import engines_of, graph_of
from .options import Command, Parser, add_outputs, log

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
    parser.add_argument(
        "--preview",
        metavar="FILE",
        help="a PNG that is written anew with every preview that a node makes of the picture it works on",
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


def _run_graph(options: argparse.Namespace) -> int:
    from .graph_run import run_graph

    return run_graph(options)


def _inputs(options: argparse.Namespace) -> int:
    with ExitStack() as stack:
        graph = graph_of(options, engines_of(options, stack))
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
    from ..graph.values import known_offline

    with ExitStack() as stack:
        engines = engines_of(options, stack)
        graph = graph_of(options, engines)
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
        graph = graph_of(options, engines_of(options, stack))
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
