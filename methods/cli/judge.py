"""`priorsr judge`: every metric of the package for any folder of results."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tqdm import tqdm

from ..device import compute_device
from ..judge.figures import FIGURES
from ..judge.protocol import BORDERS, COLOURS, FACES, KERNELS, ROUNDINGS, names, read_protocol
from ..judge.run import Asked, judge
from .folder import check_output
from .options import Command, add_people, log


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "results", metavar="RESULTS", help="a folder or zip archive of results, or one picture"
    )
    parser.add_argument("--truth", metavar="DIR", help="the true pictures, of the same names in any format")
    parser.add_argument("--inputs", metavar="DIR", help="the pictures that the results were made from")
    parser.add_argument(
        "--reference",
        metavar="DIR",
        help="other pictures of the kind, for distances of sets (default: the truth)",
    )
    parser.add_argument(
        "--protocol",
        default="plain",
        metavar="NAME",
        help=f"how pictures are compared: {', '.join(names())}, or a TOML file (default plain)",
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        default=[],
        choices=list(FIGURES),
        metavar="METRIC",
        help=f"of {', '.join(FIGURES)} (default: all that can be computed)",
    )
    parser.add_argument("--scale", type=float, help="the enlargement, for protocols that cut by it")
    parser.add_argument("--colour", choices=COLOURS, help="what psnr, ssim and mae compare (default rgb)")
    parser.add_argument("--border", type=_border, help='pixels cut from each side, or "scale" (default 0)')
    parser.add_argument("--rounding", choices=ROUNDINGS, help="before comparing (default 8-bit)")
    parser.add_argument(
        "--kernel", choices=(*KERNELS, "area"), help="what reduces a result to its input (default bicubic)"
    )
    parser.add_argument(
        "--kernel-border", choices=BORDERS, help="and how at the border (default renormalise)"
    )
    parser.add_argument(
        "--faces",
        choices=FACES,
        help="how aligned faces are framed, find to look for the largest of each picture (default off)",
    )
    add_people(parser)
    parser.add_argument("--niqe", metavar="FILE", help="another model of NIQE, .npz or the published .mat")
    parser.add_argument("--seed", type=int, default=0, help="of the confidence intervals (default 0)")
    parser.add_argument("--label", default="", help="the results' name in reports (default: the folder's)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
    parser.add_argument(
        "--out", metavar="FILE.json", help="where the record is written; an interrupted run resumes"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the record if it exists")


def _judge(options: argparse.Namespace) -> int:
    changes = {
        n: getattr(options, n)
        for n in ("scale", "colour", "border", "rounding", "kernel", "kernel_border", "faces")
    }
    places = {
        n: Path(p) for n in ("truth", "inputs", "reference", "gallery", "niqe") if (p := getattr(options, n))
    }
    tables = tuple(map(Path, options.identities))
    out = Path(options.out) if options.out else None
    if out:
        check_output(out, [options.results, *places.values(), *tables], options.overwrite)
    rows = out.with_name(f"{out.name}.rows") if out else None
    asked = Asked(
        Path(options.results),
        **places,
        identities=tables,
        protocol=read_protocol(options.protocol, **changes),
        metrics=tuple(options.metrics),
        seed=options.seed,
        rows=rows,
        label=options.label,
    )
    with tqdm(unit="picture", disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        record = judge(asked, compute_device(options.device), on_picture=progress)
    for one in record.failures:
        log.error("failed: %s: %s", one.file, one.reason)
    if out and rows:
        record.save(out, options.overwrite)
        rows.unlink(missing_ok=True)
    print(json.dumps(record.described()) if options.json else record.table())
    return 1 if record.failures else 0


def _border(text: str) -> int | str:
    return text if text == "scale" else int(text)


COMMANDS = (Command("judge", _arguments, _judge),)
