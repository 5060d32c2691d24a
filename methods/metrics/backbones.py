"""What metrics of other people's networks need on this machine: packages, and weights with their source and
licence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

TOKENIZER = "openai/clip-vit-base-patch16"


class Unavailable(RuntimeError):
    """A metric lacks a package or weights on this machine; the message says which, where they belong and
    where they come from.
    """


@dataclass(frozen=True)
class Requirement:
    """What a metric needs: modules (with the line that installs them) and a weight file in a folder (with its
    address).
    """

    modules: tuple[str, ...]
    install: str
    folder: Callable[[], Path]
    url: str
    licence: str
    more: Callable[[], str | None] = lambda: None

    @property
    def file(self) -> Path:
        return self.folder() / self.url.rsplit("/", 1)[1]

    def missing(self) -> str | None:
        absent = [m for m in self.modules if find_spec(m) is None]
        wants = [f"the package {', '.join(absent)} ({self.install})"] if absent else []
        if not self.file.is_file():
            wants.append(f"its weights, {self.file} (from {self.url}, {self.licence})")
        if not absent and (another := self.more()):
            wants.append(another)
        return " and ".join(wants) or None


def _hub() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _tokenizer() -> str | None:
    from huggingface_hub import constants, try_to_load_from_cache

    if not constants.HF_HUB_OFFLINE:
        return (
            "HF_HUB_OFFLINE=1 in the environment before Python starts, so that its tokenizer is taken from "
            "the cache and nothing is fetched"
        )
    if not isinstance(try_to_load_from_cache(TOKENIZER, "preprocessor_config.json"), str):
        return (
            f"the processor of {TOKENIZER} in the Hugging Face cache (hf download {TOKENIZER} --include "
            "'*.json' 'merges.txt')"
        )
    return None


def _regressor() -> str | None:
    """ARNIQA's last layer is published as a program, which is never run here: its two tensors are wanted."""
    file = _hub() / f"{REGRESSOR}.safetensors"
    if file.is_file():
        return None
    address = f"{ARNIQA.rsplit('/', 1)[0]}/{REGRESSOR}.pth"
    return f"the tensors weights and biases of {address} (a program, which is never run here) as {file}"


IMAGE, MULTIMODAL = 'pip install "torchmetrics[image]"', 'pip install "torchmetrics[multimodal]"'
BACKBONES = {  # LPIPS: torchvision's network, and its weights; the heads come with torchmetrics
    "alex": ("alexnet", "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"),
    "vgg": ("vgg16", "https://download.pytorch.org/models/vgg16-397923af.pth"),
}
INCEPTION = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
ARNIQA = "https://github.com/miccunifi/ARNIQA/releases/download/weights/ARNIQA.pth"
REGRESSOR = "regressor_koniq10k"
RN50 = "https://github.com/photosynthesis-team/piq/releases/download/v0.7.1/RN50.pt"
REQUIREMENTS = {
    **{
        f"lpips-{name}": Requirement(("torchmetrics", "torchvision"), IMAGE, _hub, url, "BSD-3-Clause")
        for name, (_, url) in BACKBONES.items()
    },
    **{
        name: Requirement(
            ("torchmetrics", "torch_fidelity", "torchvision"), IMAGE, _hub, INCEPTION, "Apache-2.0"
        )
        for name in ("fid", "kid")
    },
    "dists": Requirement(("torchmetrics", "torchvision"), IMAGE, _hub, BACKBONES["vgg"][1], "BSD-3-Clause"),
    "arniqa": Requirement(("torchmetrics", "torchvision"), IMAGE, _hub, ARNIQA, "Apache-2.0", _regressor),
    "clip-iqa": Requirement(
        ("torchmetrics", "piq", "transformers"),
        MULTIMODAL,
        lambda: Path.home() / ".cache" / "clip",
        RN50,
        "MIT",
        _tokenizer,
    ),
}
ABSENT = {
    "musiq": "there is no MUSIQ here or in torchmetrics: without a reference use niqe, arniqa or clip-iqa"
}


def missing(metric: str) -> str | None:
    """None when the metric can run here, else what it lacks; ValueError for an unknown name."""
    if metric in ABSENT:
        return ABSENT[metric]
    if metric not in REQUIREMENTS:
        raise ValueError(f"metric {metric!r} is not one of {', '.join([*REQUIREMENTS, *ABSENT])}")
    lacks = REQUIREMENTS[metric].missing()
    return f"{metric} needs {lacks}. Nothing is downloaded without your doing" if lacks else None


def require(metric: str) -> Path:
    """The weight file of a metric that can run here. Raises Unavailable."""
    if lacks := missing(metric):
        raise Unavailable(lacks)
    return REQUIREMENTS[metric].file
