"""Networks built without filling their tensors, and stopped where they outgrow their file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

FILLING = {"kaiming_uniform_", "xavier_uniform_", "uniform_", "normal_", "zeros_", "ones_", "constant_"}


def without_numbers():
    """Skips what networks do to fill tensors that have no numbers: half of the time of building one."""
    from torch.overrides import TorchFunctionMode

    class Skipping(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            if getattr(function, "__name__", "") in FILLING:
                tensor = args[0] if args else kwargs.get("tensor")  # torch.nn.init hands it on by its name
                if tensor is not None and tensor.is_meta:
                    return tensor
            return function(*args, **kwargs)

    return Skipping()


@contextmanager
def at_most(tensors: int) -> Iterator[None]:
    """Stops the building of a network that outgrows its file; other threads may build what they like."""
    from torch.nn.modules import module

    here = threading.get_ident()
    left = tensors

    def count(*registered: object) -> None:
        nonlocal left
        if threading.get_ident() == here:
            left -= 1
            if left < 0:
                raise ValueError("the network that it describes is far larger than the file")

    hooks = [
        module.register_module_parameter_registration_hook(count),
        module.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
