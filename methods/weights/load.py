"""Weight files: found by name, recognised by their keys, checked by shape, and read without running any code."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..imaging.images import replacing
from ..nets.adm_config import ADMConfig
from ..nets.adm_released import build_adm, infer_config
from ..nets.corrector import CorrectorUNet
from ..nets.densenet import DenseNet
from ..nets.edm_precond import build_edm
from ..nets.face_released import build_codeformer, build_mtcnn, build_parsenet, build_retinaface, build_vqgan
from ..nets.ncsnpp import NCSNpp, NCSNppConfig
from ..nets.srcnn import SRCNN
from ..nets.srdg_released import averaged, from_flax, infer_densenet, infer_ncsnpp, is_score_state
from .edm_pickle import read_edm_pickle
from .flax import read_flax
from .torch_file import read_checkpoint

SUFFIXES = (".safetensors", ".sft", ".pt", ".pth", ".ckpt", ".bin", ".pkl", ".msgpack")
SHIPPED = Path(__file__).resolve().parents[2] / "weights"
CONTAINERS = (
    "params_ema",
    "params",
    "state_dict",
    "model",
)  # names under which published files keep their tensors

State = dict[str, Tensor]


@dataclass(frozen=True)
class Kind:
    """One family of networks: how to recognise its state dict and how to build it from the shapes found."""

    name: str
    title: str
    signature: tuple[str, ...]  # keys that this family has and no other
    build: Callable[
        [State, Mapping[str, str]], nn.Module
    ]  # from the tensors, and what the file says of itself
    among: Callable[[State, Mapping[str, str]], bool] = lambda state, metadata: (
        True
    )  # tells it from kinds with the same keys


def _build_srcnn(state: State, metadata: Mapping[str, str]) -> SRCNN:
    shapes = [tuple(state[f"conv{i}.weight"].shape) for i in (1, 2, 3)]
    kernels = tuple(s[-1] for s in shapes)
    return SRCNN(shapes[0][1], (shapes[0][0], shapes[1][0]), kernels, tuple(k // 2 for k in kernels))


def _build_adm(state: State, metadata: Mapping[str, str]) -> nn.Module:
    return build_adm(_adm_config(metadata) if "settings" in metadata else infer_config(state))


def _adm_config(metadata: Mapping[str, str]) -> ADMConfig:
    return ADMConfig(**_settings(metadata))


def _settings(metadata: Mapping[str, str]) -> dict:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(metadata["settings"]).items()}


def _build_corrector(state: State, metadata: Mapping[str, str]) -> CorrectorUNet:
    heads = 16  # of the published training, which no key tells
    return CorrectorUNet(
        _adm_config(metadata)
        if "settings" in metadata
        else infer_config(state, superres=False, num_head_channels=heads)
    )


def _is_corrector(state: State, metadata: Mapping[str, str]) -> bool:
    """It has the keys of an ADM prior; files of other programs are told by the published sizes: 32 channels, as many out as in."""
    if "settings" in metadata:
        return metadata.get("kind") == "corrector"
    stem = state["input_blocks.0.0.weight"].shape
    return (
        stem[0] == 32
        and "out.2.weight" in state
        and state["out.2.weight"].shape[0] == stem[1]
        and "label_emb.weight" not in state
    )


def _build_edm(state: State, metadata: Mapping[str, str]) -> nn.Module:
    if "settings" not in metadata:
        raise ValueError(
            "this EDM file does not say how its network is built: use the released .pkl, or save it again with PriorSR"
        )
    return build_edm(json.loads(metadata["settings"]))


def _build_ncsnpp(state: State, metadata: Mapping[str, str]) -> NCSNpp:
    return NCSNpp(NCSNppConfig(**_settings(metadata)) if "settings" in metadata else infer_ncsnpp(state))


def _build_attribute(state: State, metadata: Mapping[str, str]) -> DenseNet:
    return DenseNet(infer_densenet(state))


ADM_KEYS = ("time_embed.0.weight", "input_blocks.0.0.weight", "output_blocks.0.0.in_layers.0.weight")
KINDS = (  # the first whose signature is present is it
    Kind("srcnn", "SRCNN", ("conv1.weight", "conv1.bias", "conv2.weight", "conv3.weight"), _build_srcnn),
    Kind("corrector", "DPI corrector", ADM_KEYS, _build_corrector, _is_corrector),
    Kind("adm", "ADM prior", ADM_KEYS, _build_adm),
    Kind(
        "adm-classifier",
        "ADM classifier",
        ("time_embed.0.weight", "input_blocks.0.0.weight", "middle_block.0.in_layers.0.weight"),
        _build_adm,
    ),
    Kind("edm", "EDM prior", ("model.map_layer0.weight", "model.map_layer1.weight"), _build_edm),
    Kind(
        "ncsnpp",
        "NCSN++ super-resolution prior",
        ("all_modules.0.W", "all_modules.3.weight", "all_modules.4.GroupNorm_0.weight"),
        _build_ncsnpp,
    ),
    Kind("attribute", "attribute classifier", ("DenseBlock_0.DenseLayer_0.Conv_0.weight",), _build_attribute),
    Kind(
        "codeformer",
        "CodeFormer",
        ("position_emb", "quantize.embedding.weight", "idx_pred_layer.1.weight"),
        build_codeformer,
    ),
    Kind(
        "vqgan",
        "CodeFormer stage I",
        ("quantize.embedding.weight", "encoder.blocks.0.weight", "generator.blocks.0.weight"),
        build_vqgan,
    ),
    Kind(
        "retinaface",
        "RetinaFace",
        ("BboxHead.0.conv1x1.weight", "LandmarkHead.0.conv1x1.weight", "fpn.output1.0.weight"),
        build_retinaface,
    ),
    Kind(
        "parsenet",
        "ParseNet",
        ("encoder.0.conv2d.weight", "out_mask_conv.conv2d.weight", "out_img_conv.conv2d.weight"),
        build_parsenet,
    ),
    Kind(
        "mtcnn", "MTCNN", ("pnet.conv4_1.weight", "rnet.dense5_1.weight", "onet.dense6_3.weight"), build_mtcnn
    ),
)


@dataclass(frozen=True)
class Weights:
    """A loaded network with what its file says of itself; `scale` is None where neither metadata nor name tells."""

    kind: str
    network: nn.Module
    path: Path
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def scale(self) -> int | None:
        """The scale in the file's metadata, else that of a name such as srcnn_x3.pth."""
        named = re.search(r"_x(\d+)$", self.path.stem)
        text = self.metadata.get("scale") or (named and named[1]) or ""
        return int(text) if text.isdigit() else None


def load(path: str | os.PathLike, kind: str | None = None) -> Weights:
    """Load a network in evaluation mode on the CPU. `kind` is what the caller needs; None takes any known one.

    Raises FileNotFoundError, or ValueError naming the file when it is of another kind, incomplete, damaged, or would
    have to run code to be read.
    """
    path = Path(path)
    state, metadata = read_state(path)
    if any("/" in key for key in state):
        state = _named(path, from_flax, state)
    found = detect(state, metadata)
    if found is None:
        raise ValueError(
            f"{path} holds no network that PriorSR knows (first keys: {', '.join(list(state)[:3]) or 'none'})"
        )
    if kind not in (None, found.name):
        raise ValueError(
            f"{path} holds {found.title} weights where {kind} weights are needed: choose another file"
        )
    try:
        with torch.device("meta"):
            network = _named(path, found.build, state, metadata)
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"{path} is no complete {found.title} file: {error} is missing or misshapen"
        ) from error
    return Weights(found.name, fill(network, state, str(path)).eval(), path, metadata)


def _named(path: Path, function: Callable, *arguments):
    """What the function answers; its complaints with the file's name."""
    try:
        return function(*arguments)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def fill(network: nn.Module, state: State, name: str) -> nn.Module:
    """Assign a state dict in float32. Raises ValueError that lists missing, surplus and misshapen keys of `name`."""
    wanted = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    problems = [
        ("missing", sorted(wanted.keys() - state.keys())),
        ("surplus", sorted(state.keys() - wanted.keys())),
        ("misshapen", sorted(k for k in wanted.keys() & state.keys() if wanted[k] != tuple(state[k].shape))),
    ]
    wrong = "; ".join(
        f"{len(keys)} {what} ({', '.join(keys[:3])}{' ...' if len(keys) > 3 else ''})"
        for what, keys in problems
        if keys
    )
    if wrong:
        raise ValueError(
            f"{name} does not fit {type(network).__name__}: {wrong}. Is it the right file, and complete?"
        )
    network.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in state.items()}, assign=True
    )
    return network.requires_grad_(False)


def detect(state: State, metadata: Mapping[str, str]) -> Kind | None:
    """The kind whose signature keys are all present."""
    return next(
        (
            kind
            for kind in KINDS
            if all(key in state for key in kind.signature) and kind.among(state, metadata)
        ),
        None,
    )


def read_state(path: Path, wanted: Callable[[str], bool] | None = None) -> tuple[State, dict[str, str]]:
    """Tensors and metadata of a safetensors or torch file; containers and DataParallel's `module.` prefix are removed.

    wanted: which keys to take of a file that holds far more; the others are not read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no weight file at {path}")
    if path.suffix.lower() not in (*SUFFIXES, ""):
        raise ValueError(f"{path} is no weight file: expected {', '.join(SUFFIXES)}")
    if path.suffix.lower() in (".msgpack", ""):  # Flax names its checkpoints checkpoint_30
        return read_flax(path), {}
    if path.suffix.lower() == ".pkl":
        pickled = read_edm_pickle(path)
        return pickled.state, {"settings": json.dumps(pickled.settings)}
    try:
        if path.suffix.lower() in (".safetensors", ".sft"):
            with safe_open(path, "pt") as file:
                keys = [k for k in file.keys() if wanted is None or wanted(k)]  # noqa: SIM118 (no mapping)
                return {k: file.get_tensor(k) for k in keys}, dict(file.metadata() or {})
        content = read_checkpoint(path, lazy=wanted is not None)
    except (
        pickle.UnpicklingError,
        SafetensorError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
    ) as error:
        garbled = any(
            words in str(error) for words in ("Unsupported operand", "invalid load key", "ran out of input")
        )
        if isinstance(error, pickle.UnpicklingError) and not garbled:
            raise ValueError(
                f"{path} holds pickled code, which PriorSR never runs: ask its author for safetensors or a plain state dict"
            ) from error
        reason = (
            str(error).splitlines()[0]
            if not isinstance(error, pickle.UnpicklingError)
            else "it is no checkpoint"
        )
        raise ValueError(
            f"cannot read {path}: {reason}. The file is damaged or no weight file; fetch it again"
        ) from error
    state = _unwrap(content, path)
    return (state if wanted is None else {k: v.clone() for k, v in state.items() if wanted(k)}), {}


def read_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself, without its tensors."""
    with safe_open(path, "pt") as file:
        return dict(file.metadata() or {})


def _unwrap(content: object, path: Path) -> State:
    if (
        isinstance(content, Mapping)
        and isinstance(model := content.get("model"), Mapping)
        and is_score_state(model)
    ):
        return _named(path, averaged, content)
    while isinstance(content, Mapping) and (
        inner := next((content[k] for k in CONTAINERS if isinstance(content.get(k), Mapping)), None)
    ):
        content = inner
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds {type(content).__name__}, not a state dict: choose a weight file")
    state = {k: v for k, v in content.items() if isinstance(v, Tensor)}
    if state and all(k.startswith("module.") for k in state):
        state = {k.removeprefix("module."): v for k, v in state.items()}
    return state


def save(
    network: nn.Module,
    path: str | os.PathLike,
    metadata: Mapping[str, object],
    dtype: torch.dtype | None = None,
) -> Path:
    """Write a network as safetensors, in `dtype` if given; metadata values are stored as text. Replaces the file in one step."""
    path = Path(path)
    tensors = {k: v.detach().to("cpu", dtype).contiguous() for k, v in network.state_dict().items()}
    with replacing(path) as partial:
        save_file(tensors, partial, {k: str(v) for k, v in metadata.items()})
    return path


def folders() -> list[Path]:
    """Where weights are looked for: each folder of PRIORSR_MODELS, then the shipped ones."""
    return [Path(p) for p in os.environ.get("PRIORSR_MODELS", "").split(os.pathsep) if p] + [SHIPPED]


def locate(name: str) -> Path:
    """The weight file called `name` (a path, or a file name with or without suffix in one of `folders`)."""
    if Path(name).is_file():
        return Path(name)
    for folder in folders():
        for candidate in (folder / name, *(folder / f"{name}{suffix}" for suffix in SUFFIXES)):
            if candidate.is_file():
                return candidate
    raise FileNotFoundError(f"there are no weights called {name}: looked in {', '.join(map(str, folders()))}")


def shipped(kind: str) -> list[str]:
    """Names of the files of a kind that come with the package, by what they say of themselves."""
    return sorted(p.stem for p in SHIPPED.glob("*.safetensors") if read_metadata(p).get("kind") == kind)


def installed() -> list[Path]:
    """Every weight file in `folders`."""
    return [p for f in folders() if f.is_dir() for p in sorted(f.iterdir()) if p.suffix.lower() in SUFFIXES]
