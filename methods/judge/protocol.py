"""How results are compared, written down: what the papers' tables leave to the reader, as TOML files."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from ..imaging.resize import KERNELS
from ..settings import nearest

FOLDER = Path(__file__).with_name("protocols")
COLOURS, CROPS, ROUNDINGS, FACES = (
    ("rgb", "luma"),
    ("none", "multiple"),
    ("8-bit", "none"),
    (
        "off",
        "tight",
        "ffhq",
        "find",
    ),
)
BORDERS = ("renormalise", "mirror", "edge")


@dataclass(frozen=True)
class Pairs:
    """Endings of the names, before their suffix, that results, truths and inputs of one picture differ by."""

    results: str = ""
    truth: str = ""
    inputs: str = ""


@dataclass(frozen=True)
class Protocol:
    """How pictures are compared.

    colour: rgb, or luma of BT.601. border: pixels cut from each side, or "scale". crop: "multiple" cuts the
    truth's bottom and right to multiples of the scale. rounding: to 8 bits before comparing, or none. kernel
    and kernel_border: what reduces a result to its input. faces: how aligned faces are framed, "find" to look
    for them, off. metrics: names, () for all. versions: of metrics, in words. make: the command that makes
    inputs of truths.
    """

    name: str = "plain"
    about: str = ""
    scale: float = 0.0
    colour: str = "rgb"
    border: int | str = 0
    crop: str = "none"
    rounding: str = "8-bit"
    kernel: str = "bicubic"
    kernel_border: str = "renormalise"
    faces: str = "off"
    metrics: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    pairs: Pairs = field(default_factory=Pairs)
    make: str = ""

    def __post_init__(self):
        for name, known in (
            ("colour", COLOURS),
            ("crop", CROPS),
            ("rounding", ROUNDINGS),
            ("kernel", (*KERNELS, "area")),
            ("kernel_border", BORDERS),
            ("faces", FACES),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r} is not one of {', '.join(known)}")
        if not isinstance(self.border, int | str) or isinstance(self.border, bool):
            raise ValueError(f'border {self.border!r} must be a number of pixels or "scale"')
        if (isinstance(self.border, str) and self.border != "scale") or self.border == -1:
            raise ValueError(f'border {self.border!r} must be a number of pixels or "scale"')
        if isinstance(self.border, int) and self.border < 0:
            raise ValueError(f"border {self.border} is below 0")
        if not isinstance(self.scale, int | float) or self.scale < 0:
            raise ValueError(f"scale {self.scale!r} must be a number, 0 where none is set")

    @property
    def cut(self) -> int:
        """Pixels of the border. Raises ValueError where that is the scale and none is given."""
        if self.border != "scale":
            return int(self.border)
        if self.scale <= 0:
            raise ValueError(f"the protocol {self.name} cuts as many pixels as the scale: give --scale")
        return round(self.scale)

    def check(self) -> Protocol:
        """The same, ready to judge by. Raises ValueError where the scale is wanted and missing."""
        _ = self.cut
        if self.crop == "multiple" and (self.scale <= 0 or self.scale != round(self.scale)):
            raise ValueError(
                f"the protocol {self.name} cuts truths to multiples of a whole scale: give --scale"
            )
        return self

    def described(self) -> dict[str, Any]:
        """All of it as what JSON holds."""
        return asdict(self)


def names() -> list[str]:
    """The protocols that come along."""
    return toml_names(FOLDER)


def toml_names(folder: Path) -> list[str]:
    """The names of a folder's TOML files."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def toml_file(name: str | os.PathLike, folder: Path, what: str) -> Path:
    """The user's own TOML file, or the one of that name in a folder of the package.

    Raises ValueError for a name that is not there, FileNotFoundError for a file.
    """
    path = Path(name)
    if path.suffix != ".toml":
        known = toml_names(folder)
        if str(name) not in known:
            raise ValueError(f"there is no {what} {str(name)!r}{nearest(str(name), known)}")
        path = folder / f"{name}.toml"
    if not path.is_file():
        raise FileNotFoundError(f"there is no {what} at {path}")
    return path


def read_protocol(name: str | os.PathLike, **changes: Any) -> Protocol:
    """A protocol by its name, or from a TOML file; `changes` are fields that differ, None for none.

    Raises ValueError that names the file and what is wrong, FileNotFoundError, ImportError on Python 3.10
    without tomli.
    """
    changes = {key: value for key, value in changes.items() if value is not None}
    path = toml_file(name, FOLDER, "protocol")
    try:
        return replace(_made(read_toml(path), path.stem), **changes)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def _made(held: dict[str, Any], stem: str) -> Protocol:
    known = [f.name for f in fields(Protocol)]
    if unknown := [key for key in held if key not in known]:
        raise ValueError(f"a protocol has no {unknown[0]!r}{nearest(unknown[0], known)}")
    pairs = held.pop("pairs", {})
    ends = [f.name for f in fields(Pairs)]
    if unknown := [key for key in pairs if key not in ends]:
        raise ValueError(f"pairs have no {unknown[0]!r}{nearest(unknown[0], ends)}")
    metrics = tuple(held.pop("metrics", ()))
    return Protocol(**{"name": stem, **held, "metrics": metrics, "pairs": Pairs(**pairs)})


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file holds. Raises ValueError, ImportError on Python 3.10 without tomli."""
    return _toml().loads(path.read_text(encoding="utf-8"))


def _toml() -> Any:
    for module in ("tomllib", "tomli"):
        try:
            return import_module(module)
        except ImportError:
            continue
    raise ImportError("protocol files need Python 3.11, or tomli: pip install tomli")
