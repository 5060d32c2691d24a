"""Command lines of before methods were subcommands, understood until a release is named: `--method dpi
--dpi-tau 300`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

GOES = "1.1"  # the release without these, a minor one after that which deprecated them
WORD = {"upscale": "--method", "restore-faces": "--with"}
DEFAULT = {"upscale": "srcnn", "restore-faces": "diffsr"}
PREFIXES = {"edm-dps": "edm"}  # of a method's options, where not its name
NEW = {"--unet-target": "--target"}
KEPT = {"restore-faces": ("--srdg-limit",)}  # the command has an option of the bare name itself


def translated(arguments: Sequence[str], known: Sequence[str]) -> list[str] | None:
    """The same in the new spelling, None where it is new already."""
    command, *rest = arguments or [""]
    if command not in WORD or not rest or rest[0] in (*known, "-h", "--help"):
        return None
    word, method, kept = WORD[command], DEFAULT[command], []
    named = any(a.split("=")[0] == word for a in rest)
    if not named and not (set(rest[0]) & set("/\\.") or Path(rest[0]).exists()):
        return None  # a method that does not exist, not a picture
    words = iter(rest)
    for argument in words:
        flag, equals, value = argument.partition("=")
        if flag == word:
            method = value if equals else next(words, "")
        else:
            kept.append(argument)
    sized = any(a.split("=")[0] in ("--scale", "--longest") for a in kept)
    if command == "upscale" and not sized:
        kept += ["--scale", "2"]  # which was every method's default
    own = (f"--{PREFIXES.get(method, method)}-", "--prior-")
    return [
        command,
        method,
        *(a if a.split("=")[0] in KEPT.get(command, ()) else _renamed(a, own) for a in kept),
    ]


def _renamed(argument: str, prefixes: Sequence[str]) -> str:
    flag, equals, value = argument.partition("=")
    negated = flag.startswith("--no-")
    bare = f"--{flag[5:]}" if negated else flag
    for prefix in prefixes:
        if bare.startswith(prefix):
            bare = f"--{bare[len(prefix) :]}"
    bare = NEW.get(bare, bare)
    return f"{'--no-' + bare[2:] if negated else bare}{equals}{value}"
