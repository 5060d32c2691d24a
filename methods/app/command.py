"""`priorsr app`: the page on this machine."""

from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import logging
import os
import socket
import threading

from ..cli.options import log
from ..cli.parser import Command

HERE = "127.0.0.1"
LARGEST = 200  # MB of an upload
WAITING = 200  # events at once: a choice of a row tells each of its settings


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port", type=int, default=7860, help="of the page; 0 takes a free one (default 7860)"
    )
    parser.add_argument("--host", default=HERE, help=f"the address it listens on (default {HERE})")
    parser.add_argument(
        "--yes-other-addresses",
        action="store_true",
        help="with --host: let other machines in, without a password and without encryption",
    )
    parser.add_argument(
        "--largest", type=int, default=LARGEST, metavar="MB", help=f"of an uploaded file (default {LARGEST})"
    )
    parser.add_argument(
        "--browser", action=argparse.BooleanOptionalAction, default=True, help="open a browser"
    )


def check_address(host: str, told: bool) -> None:
    """Raises ValueError where other machines could reach a host, unless that was told."""
    try:
        own = ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = host == "localhost"
    if not own and not told:
        raise ValueError(
            f"{host} is reached from other machines, where anyone could use this one: leave out --host, or "
            "add --yes-other-addresses"
        )


def free_port(host: str) -> int:
    """A port that nothing listens on."""
    with socket.socket() as one:
        one.bind((host, 0))
        return one.getsockname()[1]


def _run(options: argparse.Namespace) -> int:
    check_address(options.host, options.yes_other_addresses)
    if options.largest < 1:
        raise ValueError(f"--largest {options.largest} lets no picture in: give MB from 1")
    if not 0 <= options.port <= 65_535:
        raise ValueError(f"there is no port {options.port}: give 0 to 65535")
    if importlib.util.find_spec("gradio") is None:
        raise ImportError('the page needs Gradio: pip install "priorsr[app]"')
    from .run import Runs

    runs = Runs()
    os.environ["GRADIO_TEMP_DIR"] = str(runs.uploads)  # read when it is imported: uploads go with the page
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    for name in ("httpx", "httpx2"):  # by which Gradio asks itself whether it listens
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        from .page import CSS, page, theme

        blocks = page(runs, f"{options.largest} MB").queue(max_size=WAITING)
        _, address, _ = blocks.launch(
            server_name=options.host,
            server_port=options.port or free_port(options.host),
            max_file_size=options.largest * 10**6,
            inbrowser=options.browser,
            share=False,
            ssr_mode=False,
            enable_monitoring=False,
            mcp_server=False,
            prevent_thread_lock=True,
            quiet=True,
            theme=theme(),
            css=CSS,
        )
        try:
            log.info("the page is at %s; Ctrl-C ends it", address)
            threading.Event().wait()
        finally:
            blocks.close(verbose=False)
    finally:
        runs.close()
    return 0


COMMANDS = (Command("app", _arguments, _run, json=False),)
