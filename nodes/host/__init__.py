"""What touches ComfyUI: folders, devices, memory, progress, cancel, models, samplers."""

from .runtime import (
    CATEGORY,
    cancellable,
    loaded,
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
    "cancellable",
    "loaded",
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
