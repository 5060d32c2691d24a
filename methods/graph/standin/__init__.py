"""A stand-in of the host, as far as the nodes of the pack need it to be built and run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch

from . import node_api
from .services import Cancelled as Cancelled
from .services import Host


@contextmanager
def installed(
    models: Path, package: str, device: torch.device | None = None
) -> Iterator[tuple[Host, ModuleType]]:
    """A host that computes on a device, and the package of nodes imported on it; afterwards sys.modules is as
    it was before.
    """
    host = Host(models, device)
    modules = {"comfy_api": ModuleType("comfy_api"), "comfy_api.latest": node_api, **host.modules()}
    ours = lambda: [n for n in sys.modules if n in modules or f"{n}.".startswith(f"{package}.")]  # noqa: E731
    aside = {name: sys.modules.pop(name) for name in ours()}  # those of another stand-in
    sys.modules.update(modules)
    try:
        yield host, importlib.import_module(package)
    finally:
        for name in ours():
            del sys.modules[name]
        sys.modules.update(aside)
        parent, _, name = package.rpartition(".")
        vars(sys.modules[parent]).pop(name, None)
        vars(sys.modules[parent]).update({name: aside[package]} if package in aside else {})
