"""Weights that lie in several files: a file in parts with its index, and folders in diffusers' layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .boundary import Incomplete, naming
from .entry import Entry, Storage
from .file_settings import LONGEST
from .find import INDEX, SUFFIXES
from .foreign import CONFIG, SCHEDULER, TARGETS, translated
from .layouts import AUTOENCODER, TEXT, UNET
from .listing import MOST_TENSORS, Listing, list_single

LONGEST_INDEX = 16 << 20
PARTS = {
    "unet": UNET,
    "vae": AUTOENCODER,
    "text_encoder": TEXT[0],
}  # folders of a pipeline, and their prefixes
NAMES = ("diffusion_pytorch_model", "model", "pytorch_model")  # what diffusers calls the file of a part
VARIANTS = ("", ".fp16", ".bf16", ".non_ema", ".ema")


def list_folder(folder: Path) -> Listing:
    """A pipeline or one part of it in diffusers' layout. Raises as `list_file`."""
    parts = {name: prefix for name, prefix in PARTS.items() if (folder / name / "config.json").is_file()}
    if "unet" not in parts:
        return _part(folder)
    scheduler = _json(folder / "scheduler" / "scheduler_config.json")
    listings = {name: translated(_part(folder / name, scheduler)) for name in parts}
    unet = listings["unet"]
    if len(parts) == 1:
        return replace(unet, path=folder)
    entries = {f"{prefix}{k}": v for name, prefix in parts.items() for k, v in listings[name].entries.items()}
    bad = {f"{prefix}{k}": v for name, prefix in parts.items() for k, v in listings[name].unusable.items()}
    target = TARGETS.get(str(scheduler.get("prediction_type")), "")
    return Listing(folder, entries, bad, {"target": target} if target else {}, tuple(parts))


def list_shards(index: Path) -> Listing:
    """A file in parts, from its index. Raises as `list_file`, also where a part is missing."""
    with naming(index):
        content = _json(index, LONGEST_INDEX)
        places = content.get("weight_map")
        if not isinstance(places, Mapping) or not places or len(places) > MOST_TENSORS:
            raise ValueError("it tells no tensors and the files that hold them")
        files = sorted(set(map(str, places.values())))
        if any(Path(name).name != name or Path(name).suffix.lower() not in SUFFIXES for name in files):
            raise ValueError("it names parts that are no weight files beside it")
        missing = [name for name in files if not (index.parent / name).is_file()]
        if missing:
            raise Incomplete(f"its part {missing[0]} is missing ({len(files)} belong to it): fetch that too")
    shards = {name: list_single(index.parent / name) for name in files}
    with naming(index):
        entries, unusable = {}, {}
        for key, name in places.items():
            shard = shards[str(name)]
            if key in shard.unusable:
                unusable[key] = shard.unusable[key]
            elif key in shard.entries:
                entries[key] = _placed(shard.entries[key], shard.path)
            else:
                raise Incomplete(f"its part {name} lacks {str(key)[:80]}: fetch that again")
    return Listing(index, entries, unusable, _beside(index.parent))


def with_config(listing: Listing) -> Listing:
    """The listing of a file with what the config.json beside it says, where it is of diffusers."""
    if not any(key.startswith("down_blocks.") for key in listing.entries):
        return listing
    return replace(listing, metadata={**listing.metadata, **_beside(listing.path.parent)})


def _part(folder: Path, scheduler: Mapping[str, Any] | None = None) -> Listing:
    """The weights of one part, with its config.json."""
    path = _weights_in(folder)
    listing = list_shards(path) if INDEX.search(path.name) else list_single(path)
    entries = {k: _placed(v, path) for k, v in listing.entries.items()}
    told = {**listing.metadata, **_beside(folder)}
    if scheduler:
        told[SCHEDULER] = json.dumps(scheduler)
    return replace(listing, path=folder, entries=entries, metadata=told)


def _placed(value: Any, path: Path) -> Any:
    """An entry that says in which file it lies."""
    if not isinstance(value, Entry) or value.storage.path is not None:
        return value
    storage = value.storage
    return replace(value, storage=Storage(storage.size, storage.start, path))


def _weights_in(folder: Path) -> Path:
    """The weight file of a folder, or its index. Raises FileNotFoundError, ValueError where there are
    several.
    """
    for name in NAMES:
        for suffix in (".safetensors", ".bin"):
            for variant in VARIANTS:
                for form in (f"{name}{suffix}.index{variant}.json", f"{name}{variant}{suffix}"):
                    if (folder / form).is_file():
                        return folder / form
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    if len(found) == 1:
        return found[0]
    if not found:
        raise FileNotFoundError(
            f"there is no weight file in the folder {folder}: name one, or a folder of diffusers"
        )
    raise ValueError(
        f"the folder {folder} holds several models ({', '.join(p.name for p in found[:3])}): name one of them"
    )


def _beside(folder: Path) -> dict[str, str]:
    """What the config.json of a folder says, as metadata."""
    found = _json(folder / "config.json")
    told = {CONFIG: json.dumps(found)} if found else {}
    scheduler = _json(folder / "scheduler_config.json") or _json(
        folder.parent / "scheduler" / "scheduler_config.json"
    )
    return {**told, SCHEDULER: json.dumps(scheduler)} if scheduler else told


def _json(path: Path, longest: int = LONGEST) -> dict[str, Any]:
    """A dict of JSON, empty where there is no such file. Raises ValueError naming the file."""
    if not path.is_file():
        return {}
    with naming(path, "JSON file"):
        if path.stat().st_size > longest:
            raise ValueError(f"it has more than {longest} bytes")
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("it is no list of names and values")
        return value
