"""Golden cases: finding them, rebuilding their inputs and weights, comparing outputs, and the table of
results.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from fill import NoiseSource, fill_, tensor, weight
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
Adapter = Callable[["Case"], dict[str, Tensor]]
ADAPTERS: dict[tuple[str, str], Adapter] = {}


def adapter(system: str, kind: str) -> Callable[[Adapter], Adapter]:
    """Register how a kind of case calls the package."""

    def register(function: Adapter) -> Adapter:
        ADAPTERS[system, kind] = function
        return function

    return register


def folders() -> list[Path]:
    """The repository's cases, the shared ones beside it, and those of PRIORSR_GOLDEN."""
    beside = HERE.parents[2] / "shared" / "golden"
    named = [Path(p) for p in os.environ.get("PRIORSR_GOLDEN", "").split(os.pathsep) if p]
    return [f for f in (HERE / "cases", beside, *named) if f.is_dir()]


@dataclass(frozen=True)
class Case:
    """One case.json with its tensors."""

    folder: Path

    @cached_property
    def spec(self) -> dict:
        return json.loads((self.folder / "case.json").read_text(encoding="utf-8"))

    @property
    def system(self) -> str:
        return self.spec["system"]

    @property
    def kind(self) -> str:
        return self.spec["kind"]

    @property
    def config(self) -> dict:
        return self.spec["config"]

    @cached_property
    def stored(self) -> dict[str, Tensor]:
        path = self.folder / "tensors.safetensors"
        return load_file(path) if path.exists() else {}

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        return {name: self._input(name, entry) for name, entry in self.spec["inputs"].items()}

    def _input(self, name: str, entry: dict) -> Tensor:
        if "fill" in entry:
            return tensor(entry["fill"], entry["shape"]) * entry.get("scale", 1.0) + entry.get("shift", 0.0)
        if entry.get("stored"):
            return self.stored[name]
        if "value" in entry:
            return torch.as_tensor(
                entry["value"], dtype=getattr(torch, entry["dtype"]) if "dtype" in entry else None
            )
        if "file" in entry:
            return torch.from_numpy(np.array(Image.open(self.folder / entry["file"])))
        raise ValueError(f"{self.folder}: input {name} is of no known form: {sorted(entry)}")

    @cached_property
    def manifest(self) -> dict[str, list[int]]:
        manifest = self.spec["manifest"]
        return (
            json.loads((self.folder / manifest).read_text(encoding="utf-8"))
            if isinstance(manifest, str)
            else manifest
        )

    def part(self, name: str | None) -> dict[str, list[int]]:
        """The manifest of one of several networks: a nested one, or the keys below `name/`."""
        if name is None:
            return self.manifest
        nested = self.manifest.get(name)
        return nested or {
            k.removeprefix(f"{name}/"): v for k, v in self.manifest.items() if k.startswith(f"{name}/")
        }

    def fill(
        self, network: nn.Module, part: str | None = None, named: Callable[[str], str] = str
    ) -> nn.Module:
        """Give a network its weights by the name of each key; its keys and shapes must be those of the
        manifest, or of one part of it.
        """
        manifest = self.part(part)
        keys = {k: list(v.shape) for k, v in network.state_dict().items() if k in manifest}
        assert keys == manifest, f"keys or shapes differ: {set(keys) ^ set(manifest) or 'shapes'}"
        patterns = self.spec["skip"]
        kept = [
            k
            for k in network.state_dict()
            if k not in manifest or any(fnmatch(k, pattern) for pattern in patterns)
        ]
        fill_(network, kept)  # what is kept was computed by the network itself
        with torch.no_grad():
            for key, value in network.state_dict().items():
                if key not in kept and named(key) != key:
                    value.copy_(weight(named(key), value.shape))
        return network.eval()

    def noise(self, prefix: str = "noise") -> NoiseSource:
        return NoiseSource(prefix)

    def check(self, outputs: dict[str, Tensor]) -> None:
        """Every stated output is there, has the stated shape and lies within its tolerance."""
        missing = self.spec["outputs"].keys() - outputs.keys()
        assert not missing, f"outputs not computed: {sorted(missing)}"
        for name, rule in self.spec["outputs"].items():
            got, want, tolerance = outputs[name], self.stored[name], rule["tolerance"]
            assert list(got.shape) == list(rule["shape"]), (
                f"{name} has shape {list(got.shape)}, not {rule['shape']}"
            )
            # through tens of steps the processor's own rounding may carry one value in ten thousand a little
            # further
            distance = (got.detach().cpu().double() - want.double()).abs()
            allowed = tolerance["atol"] + tolerance["rtol"] * want.double().abs()
            if (distance > allowed).double().mean() <= 1e-4 and bool((distance <= 2 * allowed).all()):
                continue
            torch.testing.assert_close(
                got.detach().cpu().double(),
                want.double(),
                rtol=tolerance["rtol"],
                atol=tolerance["atol"],
                msg=lambda text, name=name: f"{name}: {text}",
            )
            if "rel_l2" in tolerance:
                off = (got.detach().cpu().double() - want.double()).norm() / want.double().norm()
                assert off <= tolerance["rel_l2"], (
                    f"{name} is off by {off:.3g} of its norm, more than {tolerance['rel_l2']}"
                )


def names_by(form: str, **known: str) -> Callable[[str], str]:
    """The name that each key's weights are filled by: text that goes before the key, or an expression such as
    `'<attr>:' + key`; `<name>` and `{name}` stand for what is known.
    """
    terms = re.findall(r"""(['"])(.*?)\1|(\w+)""", form)
    if not any(quote for quote, _, _ in terms):
        terms = [("'", form, "")]
    if not re.search(r"<key>|{key}", form) and ("", "", "key") not in terms:
        terms.append(("", "", "key"))

    def named(key: str) -> str:
        words = {**known, "key": key}
        text = "".join(inner if quote else words.get(word, "") for quote, inner, word in terms)
        for name, value in words.items():
            text = text.replace(f"<{name}>", value).replace(f"{{{name}}}", value)
        return text

    return named


def by_sample(call: Callable[..., Tensor], times: Tensor, *batches: Tensor) -> Tensor:
    """What is computed at one time for all pictures, or at a time for each, one picture after the other."""
    if times.numel() == 1:
        return call(times.item(), *batches)
    rows = zip(times.flatten().tolist(), *(batch.split(1) for batch in batches), strict=True)
    return torch.cat([call(*row) for row in rows])


def cases() -> list[Case]:
    """Every case once, the repository's copy before others of the same system and name with the same
    content.
    """
    found: dict[str, Case] = {}
    for folder in folders():
        for path in sorted(folder.glob("*/*/case.json")):
            case = Case(path.parent)
            key = label(case)
            if key in found and (found[key].folder / "case.json").read_bytes() != path.read_bytes():
                key = f"{key} ({folder.name})"
            found.setdefault(key, case)
    return list(found.values())


def label(case: Case) -> str:
    return f"{case.folder.parent.name}/{case.folder.name}"
