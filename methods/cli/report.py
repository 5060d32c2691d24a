"""`priorsr report`: records of `priorsr judge` side by side."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..drawing import check_plots
from ..imaging.replacing import replacing
from ..judge.record import read_record
from ..judge.report import grouped, plot, tables
from .folder import check_output
from .options import Command, log


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("records", nargs="+", metavar="FILE", help="records that `priorsr judge --out` wrote")
    parser.add_argument("--out", metavar="FILE.md", help="where the tables are written (default: printed)")
    parser.add_argument("--plot", metavar="FILE.png", help="figures with their intervals as a picture")
    parser.add_argument("--overwrite", action="store_true", help="replace what exists")


def _report(options: argparse.Namespace) -> int:
    for place in (options.out, options.plot):
        if place:
            check_output(place, options.records, options.overwrite)
    if options.plot:
        check_plots()
    records = [read_record(path) for path in options.records]
    text = tables(records)
    if options.out:
        with replacing(Path(options.out), options.overwrite) as partial:
            partial.write_text(text, encoding="utf-8")
        log.info("wrote %s", options.out)
    if options.plot:
        plot(records, Path(options.plot), options.overwrite)
        log.info("wrote %s", options.plot)
    if options.json:
        print(json.dumps([[one.described() for one in group] for group in grouped(records)]))
    elif not options.out:
        print(text, end="")
    return 0


COMMANDS = (Command("report", _arguments, _report),)
