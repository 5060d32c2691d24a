"""A stand-in of the host, as far as the nodes of the pack need it to be built and run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from . import node_api
from .services import Cancelled, Host

__all__ = ["Cancelled", "Host", "installed"]


@contextmanager
def installed(models: Path, package: str) -> Iterator[tuple[Host, ModuleType]]:
    """A host and the package of nodes imported on it; afterwards neither is left in sys.modules."""
    host = Host(models)
    modules = {"comfy_api": ModuleType("comfy_api"), "comfy_api.latest": node_api, **host.modules()}
    if taken := [name for name in (*modules, package) if name in sys.modules]:
        raise RuntimeError(f"{taken} are there already: the stand-in comes first or never")
    sys.modules.update(modules)
    try:
        yield host, importlib.import_module(package)
    finally:
        for name in [name for name in sys.modules if name in modules or f"{name}.".startswith(f"{package}.")]:
            del sys.modules[name]
        parent, _, name = package.rpartition(".")
        vars(sys.modules[parent]).pop(name, None)
