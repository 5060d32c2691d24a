"""The one place that touches ComfyUI: folders, devices, memory, progress, cancel."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

import comfy.model_management as mm
import comfy.model_patcher
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor, nn

from ...methods.imaging.images import to_uint8
from ...methods.method import OnStep, Plan
from ...methods.weights import BY_ID, SUFFIXES, describe, fits, is_weight_file
from ...methods.weights.known import where
from .cancel import cancellable
from .images import join

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
    # Flax's files, such as checkpoint_30, have no suffix
    folder_paths.folder_names_and_paths[FOLDER] = (paths, {*suffixes, *SUFFIXES, ""})


def weight_files(kinds: Collection[str] = ()) -> list[str]:
    """What the host lists of some kinds, without notes and hidden files, which have no suffix either."""
    paths = {name: Path(folder_paths.get_full_path_or_raise(FOLDER, name)) for name in _listed()}
    return [n for n, at in paths.items() if (at.suffix or is_weight_file(at)) and fits(at, kinds)]


def _listed() -> list[str]:
    return folder_paths.get_filename_list(FOLDER)


def weight_path(name: str) -> Path:
    """Where the host keeps a weight file. Raises FileNotFoundError for any name that it does not list: links
    bring values that no list offered.
    """
    if name not in _listed():
        published = where(name)
        raise FileNotFoundError(
            f"there is no weight file {name!r} in models/{FOLDER}: put it there, or choose one of the list"
            + (f". {published}" if published else "")
        )
    return Path(folder_paths.get_full_path_or_raise(FOLDER, name))


def unfit(name: str, kinds: Collection[str]) -> str:
    """Why a picker of some kinds does not offer a file: there is none, or it is of another kind."""
    try:
        with loading():
            kind = describe(weight_path(name), whole=True).kind
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    wanted = " or ".join(BY_ID[one].title for one in kinds)
    held = f"of another kind ({kind.title}: {kind.use})" if kind else "of no kind that PriorSR knows"
    return f"{name!r} is {held}; choose a file that holds {wanted} weights"


def weight_name(name: str, known: Sequence[str] = ()) -> str:
    """What the library loads by: a name that it knows itself, else the path of a weight file.

    Raises FileNotFoundError.
    """
    return name if name in known else str(weight_path(name))


@contextmanager
def loading() -> Iterator[None]:
    """Networks are built fit for gradients, and complaints call files by the names that the host lists."""
    try:
        with torch.inference_mode(False):
            yield
    except (ValueError, FileNotFoundError) as error:
        text = str(error)
        for folder in folder_paths.folder_names_and_paths[FOLDER][0]:
            text = text.replace(os.path.join(os.path.realpath(folder), ""), "")
            text = text.replace(os.path.join(folder, ""), "")
        raise type(error)(text) from None


@contextmanager
def loaded(patchers: Sequence, activations: int, beside: Sequence = ()) -> Iterator[None]:
    """Models on the compute device while a block runs, which needs `activations` bytes for itself; those
    `beside` stay there.

    What was not loaded before leaves again when the block fails or is cancelled, else the host keeps it until
    it needs the room.
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
        with loaded(patchers, activations) if patchers else nullcontext():
            yield mm.get_torch_device()
    finally:
        _unload(patchers)


@torch.inference_mode(False)
def _unload(patchers: Sequence) -> None:
    for held in [m for m in mm.current_loaded_models if any(m.model is p for p in patchers)]:
        held.model_unload()
        mm.current_loaded_models.remove(held)
        mm.soft_empty_cache()


def tell_plan(plan: Plan) -> None:
    """Says in the log what a run will take, before it begins."""
    if plan.calls:
        log.info("PriorSR: %s", plan.describe())


def progress() -> Callable[[int, int], None]:
    """A callback(done, total) that moves the node's bar and raises when the user cancels."""
    bar = comfy.utils.ProgressBar(1)

    def update(done: int, total: int) -> None:
        mm.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return update


def for_each(work: Callable[[int], Result], count: int) -> list[Result]:
    """work(i) for every picture: the bar counts pictures, and the user can cancel within one."""
    moved, done = progress(), []
    with cancellable():
        for i in range(count):
            done.append(work(i))
            moved(i + 1, count)
    return done


def call_progress() -> OnStep:
    """A callback for network calls: moves the bar, shows the predicted picture (-1..1), raises when the user
    cancels.
    """
    bar = comfy.utils.ProgressBar(1)

    def update(done: int, total: int, seen: Tensor | None) -> None:
        mm.throw_exception_if_processing_interrupted()
        preview = ()
        if seen is not None:
            picture = to_uint8((seen[0].detach() + 1) / 2).cpu()
            picture = picture.expand(3, -1, -1).movedim(0, -1).contiguous().numpy()
            preview = (("JPEG", Image.fromarray(picture), 512),)
        bar.update_absolute(done, total, *preview)

    return update


def with_smaller_tiles(run: Callable[[int], Result], tile: int, floor: int = 64) -> Result:
    """run(tile), and again with half the tile for as long as memory runs out and the tile is above
    `floor`.
    """
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
    """B C h w in 0..1 as B 3 H W through the host's own tiled run of an UPSCALE_MODEL, which brings its own
    enlargement.
    """
    from comfy_extras.nodes_upscale_model import (
        ImageUpscaleWithModel,  # the host makes it importable after its own nodes
    )

    return ImageUpscaleWithModel.execute(model, join(pixels.expand(-1, 3, -1, -1))).args[0].movedim(-1, 1)


def told(*values: object, text: str) -> io.NodeOutput:
    """Outputs, and a text that the front end shows on the node and the history keeps: what was chosen, and
    what was not done.
    """
    # only the host has these, and no server when it runs graphs without one
    from comfy_execution.utils import get_executing_context
    from server import PromptServer

    context, server = get_executing_context(), getattr(PromptServer, "instance", None)
    if context is not None and server is not None:
        server.send_progress_text(text, context.node_id)
    return io.NodeOutput(*values, ui=ui.PreviewText(text)) if text else io.NodeOutput(*values)


def result(image: Tensor) -> Tensor:
    return image.to(mm.intermediate_device(), torch.float32)
