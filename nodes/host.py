"""The one place that touches ComfyUI: folders, devices, memory, progress, cancel."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import comfy.model_management as mm
import comfy.model_patcher
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import io
from PIL import Image
from torch import Tensor, nn

from ..methods.imaging.images import to_uint8
from ..methods.imaging.resize import MAX_SIDE
from ..methods.weights.load import SUFFIXES
from ..samplers.run import Step
from .convert import join

CATEGORY = "PriorSR"
FOLDER = "priorsr"
log = logging.getLogger("priorsr")
Result = TypeVar("Result")


def register_folders() -> None:
    """Give the pack its models folder; paths and suffixes that the user configured stay."""
    paths, suffixes = folder_paths.folder_names_and_paths.get(FOLDER, ([], set()))
    default = os.path.join(folder_paths.models_dir, FOLDER)
    if default not in paths:
        paths.append(default)
    folder_paths.folder_names_and_paths[FOLDER] = (paths, set(suffixes) | set(SUFFIXES))


def weight_files() -> list[str]:
    return folder_paths.get_filename_list(FOLDER)


def weight_path(name: str) -> Path:
    """Where the host keeps a weight file; raises FileNotFoundError for a name outside its folders."""
    return Path(folder_paths.get_full_path_or_raise(FOLDER, name))


def schema(**settings) -> io.Schema:
    """An io.Schema from the fields that this host knows; newer ones are dropped on older hosts."""
    known = {f.name for f in dataclasses.fields(io.Schema)}
    return io.Schema(**{k: v for k, v in settings.items() if k in known})


def settings_inputs(kind: type, only: Sequence[str] = (), advanced: bool = True) -> list[io.Input]:
    """One input for each field of a settings class, or for some of them, with its default, limits and help."""
    inputs, extra = [], {"advanced": True} if advanced else None
    for f in (f for f in dataclasses.fields(kind) if not only or f.name in only):
        rule, common = f.metadata, {"default": f.default, "tooltip": f.metadata["help"], "extra_dict": extra}
        if isinstance(f.default, bool):
            inputs.append(io.Boolean.Input(f.name, **common))
        elif rule["choices"]:
            inputs.append(io.Combo.Input(f.name, options=list(rule["choices"]), **common))
        elif isinstance(f.default, str):
            inputs.append(io.String.Input(f.name, **common))
        else:
            number = io.Int if isinstance(f.default, int) else io.Float
            inputs.append(number.Input(f.name, min=rule["low"], max=rule["high"], **common))
    return inputs


def longest_input() -> io.Input:
    """The size of a result by its longer side; `scale_for` turns it into a scale."""
    tooltip = "Pixels of the result's longer side, in place of the scale; 0: the scale decides."
    return io.Int.Input("longest", default=0, min=0, max=MAX_SIDE, tooltip=tooltip)


def weight_choices() -> list[str]:
    """What a weights input offers: the files found, or a line that says where to put one."""
    return weight_files() or [f"(none: put a file into models/{FOLDER})"]


@contextmanager
def loaded(patchers: Sequence, activations: int, beside: Sequence = ()) -> Iterator[None]:
    """Models on the compute device while a block runs, which needs `activations` bytes for itself; those `beside` stay there.

    What was not loaded before leaves again when the block fails or is cancelled, else the host keeps it until it needs the room.
    """
    before = mm.loaded_models()
    try:
        with torch.inference_mode(
            False
        ):  # weights moved in inference mode could never take part in a gradient
            mm.load_models_gpu([*beside, *patchers], memory_required=activations)
        yield
    except BaseException:
        _unload([p for p in patchers if all(p is not b for b in before)])
        raise


@contextmanager
def on_device(*networks: nn.Module, activations: int) -> Iterator[torch.device]:
    """Networks of a single run on the compute device, as `loaded`; they leave it when the block ends."""
    patchers = [
        comfy.model_patcher.ModelPatcher(n, mm.get_torch_device(), mm.unet_offload_device()) for n in networks
    ]
    try:
        with loaded(patchers, activations):
            yield mm.get_torch_device()
    finally:
        _unload(patchers)


@torch.inference_mode(False)
def _unload(patchers: Sequence) -> None:
    for held in [m for m in mm.current_loaded_models if any(m.model is p for p in patchers)]:
        held.model_unload()
        mm.current_loaded_models.remove(held)
        mm.soft_empty_cache()


def progress() -> Callable[[int, int], None]:
    """A callback(done, total) that moves the node's bar and raises when the user cancels."""
    bar = comfy.utils.ProgressBar(1)

    def update(done: int, total: int) -> None:
        mm.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return update


def cancellable() -> Callable[[Step, Tensor], None]:
    """A callback for the core's `on_step` that only raises when the user cancels, where a bar counts something else than steps."""
    return lambda step, x: mm.throw_exception_if_processing_interrupted()


def sampling_progress(total: int) -> Callable[[Step, Tensor], None]:
    """A callback for the core's `on_step`: moves the bar, shows the predicted picture (-1..1), raises when the user cancels."""
    bar = comfy.utils.ProgressBar(total)

    def update(step: Step, x: Tensor) -> None:
        mm.throw_exception_if_processing_interrupted()
        picture = to_uint8((step.pred.x0[0].detach() + 1) / 2).cpu()
        picture = picture.expand(3, -1, -1).movedim(0, -1).contiguous().numpy()
        bar.update_absolute(step.i + 1, total, ("JPEG", Image.fromarray(picture), 512))

    return update


def with_smaller_tiles(run: Callable[[int], Result], tile: int, floor: int = 64) -> Result:
    """run(tile), and again with half the tile for as long as memory runs out and the tile is above `floor`."""
    while True:
        try:
            return run(tile)
        except mm.OOM_EXCEPTION as error:
            # on some builds the host's OOM_EXCEPTION is plain Exception
            if tile <= floor or "out of memory" not in str(error).lower():
                raise
        # outside the except block, so that the traceback no longer holds the tensors of the failed try
        tile = max(floor, tile // 2)
        mm.soft_empty_cache()
        log.warning("PriorSR: out of memory, trying again with tiles of %d", tile)


def upscaled(model, pixels: Tensor) -> Tensor:
    """B C h w in 0..1 as B 3 H W through the host's own tiled run of an UPSCALE_MODEL, which brings its own enlargement."""
    from comfy_extras.nodes_upscale_model import (
        ImageUpscaleWithModel,  # the host makes it importable after its own nodes
    )

    return ImageUpscaleWithModel.execute(model, join(pixels.expand(-1, 3, -1, -1))).args[0].movedim(-1, 1)


def result(image: Tensor) -> Tensor:
    return image.to(mm.intermediate_device(), torch.float32)
