"""Work that looks whether the user cancels."""

from __future__ import annotations

from contextlib import AbstractContextManager

import comfy.model_management as mm

from ...methods.memory import PlainDispatchMode


class _Looking(PlainDispatchMode):
    """Looks at the host's flag before every operation of torch."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        mm.throw_exception_if_processing_interrupted()
        return function(*args, **(kwargs or {}))


def cancellable() -> AbstractContextManager:
    """A block that ends when the user cancels, at the next operation of torch, for work without steps."""
    return _Looking()


def stop_if_cancelled(*moved: object) -> None:
    """Raises when the user cancels; takes what any callback is told, where a bar counts something else."""
    mm.throw_exception_if_processing_interrupted()
