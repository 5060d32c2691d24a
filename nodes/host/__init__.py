"""What touches ComfyUI: folders, devices, memory, progress, cancel, models, samplers."""

from .runtime import (
    CATEGORY,
    FOLDER,
    cancellable,
    loaded,
    log,
    on_device,
    progress,
    register_folders,
    result,
    sampling_progress,
    upscaled,
    weight_files,
    weight_path,
    with_smaller_tiles,
)
from .schema import longest_input, schema, settings_inputs, weight_choices

__all__ = [
    "CATEGORY",
    "FOLDER",
    "cancellable",
    "loaded",
    "log",
    "longest_input",
    "on_device",
    "progress",
    "register_folders",
    "result",
    "sampling_progress",
    "schema",
    "settings_inputs",
    "upscaled",
    "weight_choices",
    "weight_files",
    "weight_path",
    "with_smaller_tiles",
]
