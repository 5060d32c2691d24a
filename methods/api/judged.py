"""Folders of results judged."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..device import compute_device, own_defaults
from ..judge.protocol import read_protocol
from ..judge.record import Record
from ..judge.run import Asked
from ..judge.run import judge as judge_folder

Place = str | os.PathLike


@own_defaults()
def judge(
    results: Place,
    truth: Place | None = None,
    inputs: Place | None = None,
    reference: Place | None = None,
    *,
    protocol: Place = "plain",
    metrics: Sequence[str] = (),
    identities: Sequence[Place] = (),
    gallery: Place | None = None,
    niqe: Place | None = None,
    seed: int = 0,
    device: str = "auto",
    report: Callable[[str], None] = lambda text: None,
    **changes: Any,
) -> Record:
    """Judge a folder, a zip archive or a single picture of results by every metric that can be computed.

    truth, inputs: pictures of the same names; reference: others of the kind, for distances of sets; gallery
    and identities: whom faces are recognised among. protocol: a name or a TOML file; changes: fields of it,
    such as border or colour. metrics: names, all by default. report hears of pictures left out. The record's
    figures have 95 % intervals; its failures name what was not judged. Raises ValueError, FileNotFoundError
    and ImportError where nothing can be judged.
    """
    others: dict[str, Any] = {
        "truth": truth,
        "inputs": inputs,
        "reference": reference,
        "gallery": gallery,
        "niqe": niqe,
    }
    asked = Asked(
        Path(results),
        identities=tuple(map(Path, identities)),
        protocol=read_protocol(protocol, **changes),
        metrics=tuple(metrics),
        seed=seed,
    )
    asked = replace(asked, **{name: Path(one) for name, one in others.items() if one is not None})
    return judge_folder(asked, compute_device(device), report=report)
