"""The host's services: folders, devices, memory, progress, cancel, and what priors are made of."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

CONDITIONS = ("CONDRegular", "CONDNoiseShape", "CONDConstant")

Names = type("Names", (), {"__getattr__": lambda self, name: name})  # an enumeration of any names


class Cancelled(Exception):
    """The host's InterruptProcessingException."""


class ModelPatcher:
    """A network, where it computes and where it waits, and what is patched into it."""

    def __init__(self, model: nn.Module, load_device: torch.device, offload_device: torch.device):
        self.model, self.load_device, self.offload_device = model, load_device, offload_device
        self.patches: dict[tuple, Any] = {}
        self.model_options: dict[str, Any] = {}

    def clone(self) -> ModelPatcher:
        copy = type(self)(self.model, self.load_device, self.offload_device)
        copy.patches = {key: [*some] for key, some in self.patches.items()}
        return copy

    def get_model_object(self, name: str) -> object:
        return attrgetter(name)(self.model)

    def add_wrapper_with_key(self, kind: str, key: str, wrapper: Callable) -> None:
        self.patches.setdefault((kind, key), []).append(wrapper)

    def get_wrappers(self, kind: str, key: str) -> list[Callable]:
        return self.patches.get((kind, key), [])

    def set_additional_models(self, key: str, models: list[ModelPatcher]) -> None:
        self.patches["models", key] = models

    def get_additional_models_with_key(self, key: str) -> list[ModelPatcher]:
        return self.patches.get(("models", key), [])


BaseModel = type("BaseModel", (nn.Module,), {"__init__": lambda self, *given: nn.Module.__init__(self)})


class Discrete(nn.Module):
    """ModelSamplingDiscrete: a table of noise levels."""

    def _register_schedule(self, given_betas: Tensor) -> None:
        kept = torch.cumprod(1 - torch.as_tensor(given_betas, dtype=torch.float64), 0)
        self.register_buffer("sigmas", ((1 - kept) / kept).sqrt().float())

    def timestep(self, sigma: Tensor) -> Tensor:
        return (sigma.log()[:, None] - self.get_buffer("sigmas").log()).abs().argmin(1)


def set_parameters(self, sigma_min: float, sigma_max: float, sigma_data: float) -> None:
    self.sigma_min, self.sigma_max = sigma_min, sigma_max


Continuous = type("ModelSamplingContinuousEDM", (nn.Module,), {"set_parameters": set_parameters})


class Host:
    """One host: `report` is told of every move of a bar, `preview` of pictures that it shows;
    `cancelling` ends what runs when it next asks.
    """

    def __init__(self, models: Path, device: torch.device | None = None):
        self.models, self.cancelling = models, False
        self.device = device or torch.device("cpu")
        self.folders: dict[str, tuple[list[str], set[str]]] = {}
        self.loaded: list[SimpleNamespace] = []
        self.shown: list[str] = []
        self.report: Callable[[int, int], None] = lambda done, total: None
        self.preview: Callable[[Image.Image], None] = lambda picture: None
        self.looked: Callable[[], None] = lambda: None

    def stop_if_cancelled(self) -> None:
        self.looked()
        if self.cancelling:
            self.cancelling = False
            raise Cancelled

    def load(self, patchers: list[ModelPatcher], memory_required: int = 0) -> None:
        new = [patcher for patcher in patchers if all(patcher is not held.model for held in self.loaded)]
        for patcher in new:
            patcher.model.to(patcher.load_device)
            unload = partial(patcher.model.to, patcher.offload_device)
            self.loaded.append(SimpleNamespace(model=patcher, model_unload=unload))

    def show(self, text: str, node: str) -> None:
        """What the front end shows on a node."""
        self.shown.append(text)

    def bar(self, total: int) -> SimpleNamespace:
        def update(done: int, total: int, preview: tuple[str, Image.Image, int] | None = None) -> None:
            self.report(done, total)
            if preview:
                self.preview(preview[1])

        return SimpleNamespace(update_absolute=update)

    def files(self, folder: str) -> list[str]:
        paths, suffixes = self.folders[folder]
        found = [file.relative_to(path) for path in paths for file in Path(path).rglob("*")]
        return sorted(str(file) for file in found if file.suffix in suffixes)

    def path(self, folder: str, name: str) -> str:
        found = (Path(path, name) for path in self.folders[folder][0] if ".." not in Path(name).parts)
        at = next((path for path in found if path.exists()), None)
        if at is None:
            raise FileNotFoundError(f"there is no {name} in the folder {folder}")
        return str(at)

    def modules(self) -> dict[str, ModuleType]:
        """Everything under the names that the nodes import."""
        cpu = lambda: torch.device("cpu")  # noqa: E731
        device = lambda: self.device  # noqa: E731
        management = {
            **dict.fromkeys(("get_torch_device", "vae_device"), device),
            **dict.fromkeys(("unet_offload_device", "vae_offload_device", "intermediate_device"), cpu),
            **dict.fromkeys(("unet_dtype", "vae_dtype"), lambda *args: torch.float32),
            "loaded_models": lambda: [held.model for held in self.loaded],
            "current_loaded_models": self.loaded,
            "load_models_gpu": self.load,
            "soft_empty_cache": lambda: None,
            "throw_exception_if_processing_interrupted": self.stop_if_cancelled,
            "OOM_EXCEPTION": torch.OutOfMemoryError,
        }
        sampling = {"ModelSamplingDiscrete": Discrete, "ModelSamplingContinuousEDM": Continuous}
        sampling |= {name: type(name, (), {}) for name in ("EPS", "V_PREDICTION", "CONST")}
        upscaler = SimpleNamespace(execute=lambda model, image: SimpleNamespace(args=(model(image),)))
        folders = {"folder_names_and_paths": self.folders, "models_dir": str(self.models)}
        contents = {
            "comfy": {},
            "comfy.model_management": management,
            "comfy.model_patcher": {"ModelPatcher": ModelPatcher},
            "comfy.model_base": {"BaseModel": BaseModel, "ModelType": SimpleNamespace(EPS="eps")},
            "comfy.model_sampling": sampling,
            "comfy.latent_formats": {"LatentFormat": type("LatentFormat", (), {})},
            "comfy.supported_models_base": {"BASE": type("BASE", (dict,), {})},
            "comfy.patcher_extension": {"WrappersMP": Names()},
            "comfy.k_diffusion": {},
            "comfy.k_diffusion.sampling": {"sample_euler": None},
            "comfy.samplers": {"KSAMPLER": lambda function: SimpleNamespace(sampler_function=function)},
            "comfy.conds": dict.fromkeys(CONDITIONS, lambda cond: SimpleNamespace(cond=cond)),
            "comfy.utils": {"ProgressBar": self.bar},
            "comfy_extras": {},
            "comfy_extras.nodes_upscale_model": {"ImageUpscaleWithModel": upscaler},
            "folder_paths": {**folders, "get_filename_list": self.files, "get_full_path_or_raise": self.path},
            "latent_preview": {},
            "comfy_execution": {},
            "comfy_execution.utils": {"get_executing_context": lambda: SimpleNamespace(node_id="1")},
            "server": {
                "PromptServer": SimpleNamespace(instance=SimpleNamespace(send_progress_text=self.show))
            },
        }
        made = {name: ModuleType(name) for name in contents}
        for name, module in made.items():
            vars(module).update(contents[name])
            parent, _, last = name.rpartition(".")
            if parent:
                setattr(made[parent], last, module)
        return made
