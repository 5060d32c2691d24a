"""`priorsr info`: versions, devices, weights and extras of a machine, as a report of a fault wants them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
from importlib import metadata
from pathlib import Path

from ... import __version__
from .. import weights
from .parser import Command

PACKAGE = Path(__file__).resolve().parents[2]
LIBRARIES = ("numpy", "pillow", "safetensors", "kornia")
EXTRA = re.compile(r"""extra\s*==\s*['"]([\w-]+)['"]""")
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def _arguments(parser: argparse.ArgumentParser) -> None:
    """It has no options of its own."""


def _run(options: argparse.Namespace) -> int:
    found = information()
    if options.json:
        print(json.dumps(found))
        return 0
    for name, value in found.items():
        rows = value.items() if isinstance(value, dict) else [("", value)]
        for key, one in rows:
            print(f"{name:<10}{key:<{1 + max(len(k) for k, _ in rows)}}{_words(one)}".rstrip())
    return 0


def _words(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def information() -> dict:
    """What `priorsr info` prints: text, lists of text, and tables of them by name."""
    import torch  # whose own version tells for which card it was built

    folders = {}
    for folder in weights.folders():
        try:
            count = sum(weights.is_weight_file(path) for path in folder.iterdir())
            folders[str(folder)] = f"{count} files"
        except OSError as error:
            folders[str(folder)] = f"cannot be read: {error.strerror}"
    return {
        "priorsr": f"{__version__} in {PACKAGE}",
        "python": f"{platform.python_version()} on {platform.platform()}",
        "libraries": {"torch": torch.__version__, **{name: version_of(name) for name in LIBRARIES}},
        "host": host(),
        "devices": devices(),
        "weights": folders,
        "extras": extras(),
    }


def version_of(name: str) -> str:
    """The version of an installed distribution, or that there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def devices() -> dict[str, str]:
    """Every device that torch sees, with its memory, and the precision that `auto` takes there."""
    import torch

    from ..device import ACCELERATORS, compute_device
    from ..precision import precision_of

    chosen = compute_device().type
    found = {}
    for kind in ("cpu", *ACCELERATORS):
        try:
            device = compute_device(kind)
        except ValueError:
            continue
        names = [f"{torch.get_num_threads()} threads"] if kind == "cpu" else [kind]
        if kind in ("cuda", "xpu"):
            part = getattr(torch, kind)
            cards = [part.get_device_properties(i) for i in range(part.device_count())]
            names = [f"{card.name} {card.total_memory / 2**30:.0f} GiB" for card in cards]
        dtype = str(precision_of("auto", device)).removeprefix("torch.")
        found[kind] = f"{', '.join(names)}; auto computes in {dtype}" + "; chosen" * (kind == chosen)
    return found


def host() -> str:
    """The ComfyUI whose custom node this package is, or that COMFYUI_PATH names."""
    around = PACKAGE.parents[1] if PACKAGE.parent.name == "custom_nodes" else None
    named = os.environ.get("COMFYUI_PATH", "")
    place = Path(named) if named else around
    if place is None:
        return "none (not in ComfyUI's custom_nodes, and COMFYUI_PATH is not set)"
    try:
        text = (place / "comfyui_version.py").read_text(encoding="utf-8")
    except OSError:
        return f"none: {place} has no comfyui_version.py"
    version = re.search(r"""__version__\s*=\s*['"]([^'"]+)""", text)
    return f"ComfyUI {version[1] if version else 'of unknown version'} in {place}"


def extras() -> dict[str, str]:
    """For each extra of this package whether all that it asks for is installed, or what is missing.

    A copy that pip did not install, such as a clone in ComfyUI, has no record of them.
    """
    try:
        asked = metadata.requires("priorsr") or []
    except metadata.PackageNotFoundError:
        return {"unknown": "pip has no record of priorsr: it runs from a folder"}
    wanted: dict[str, list[str]] = {}
    for line in asked:
        extra, name = EXTRA.search(line), NAME.match(line)
        if extra and name and name[0] != "priorsr":
            wanted.setdefault(extra[1], []).append(name[0])
    found = {}
    for extra, names in sorted(wanted.items()):
        missing = [name for name in names if version_of(name) == "not installed"]
        found[extra] = f"missing: {', '.join(missing)}" if missing else "installed"
    return found


COMMANDS = (Command("info", _arguments, _run),)
