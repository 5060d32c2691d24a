"""Sampled latents for the training of CFW, kept in a folder: what StableSR makes of degraded crops (Wang et
al. 2024, section 3.2).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from ...samplers.denoiser import Cond
from ...samplers.noise import Noise
from ..imaging.images import replacing
from ..stablesr.autoencoder import Autoencoder
from ..stablesr.method import StableSR, StableSRSettings, sample
from ..stablesr.prior import CONTEXT, LR, modulated
from .pairs import Pairs, enlarged

CONTENT = ("truth", "low", "latent")  # of a file
SAID = "made.json"  # in the folder: what its files were made with


@dataclass(frozen=True)
class Sampler:
    """StableSR, a prompt's tokens 1 L D and how it is sampled, on a device, perhaps in half precision."""

    model: StableSR
    context: Tensor
    settings: StableSRSettings
    device: torch.device
    half: bool = False
    enlargement: str = "bicubic"

    @torch.no_grad()
    def __call__(self, low: Sequence[Tensor] | Tensor, size: int, seeds: Sequence[int]) -> Tensor:
        """Latents B Z h w on the CPU of uint8 pictures 3 s s that are enlarged to `size`; each depends on its
        picture and seed alone.
        """
        for network in (
            self.model.prior.network,
            self.model.layers.encoder,
            self.model.layers.sft,
            self.model.vae,
        ):
            network.to(self.device)
        noise = Noise(seeds)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            shown = enlarged(low, size, self.enlargement).to(self.device)
            lr = Autoencoder(self.model.vae).encode(shown, noise)
            cond = Cond({LR: lr}, {CONTEXT: self.context.to(self.device)}).expand(len(lr))
            return (
                sample(modulated(self.model.prior, self.model.layers), cond, self.settings, noise)
                .float()
                .cpu()
            )


@dataclass(frozen=True)
class Latents:
    """Crops, their degradations and their sampled latents, one file each, by number."""

    folder: Path
    count: int
    made_with: dict = field(default_factory=dict)  # settings that decide them

    def path(self, i: int) -> Path:
        return self.folder / f"{i:07d}.safetensors"

    def missing(self) -> list[int]:
        """Numbers of the files that are still to be made.

        Raises ValueError where those that exist were made with other settings.
        """
        said = self.folder / SAID
        found = json.loads(said.read_text(encoding="utf-8")) if said.exists() else self.made_with
        if differing := sorted(
            k for k in self.made_with.keys() | found.keys() if found.get(k) != self.made_with.get(k)
        ):
            made = ", ".join(f"{k}={found.get(k)}" for k in differing)
            raise ValueError(
                f"{self.folder} was made with other settings ({made}): repeat them, or choose another folder"
            )
        return [i for i in range(self.count) if not self.path(i).exists()]

    def make(
        self, numbers: Sequence[int], pairs: Pairs, sampler: Sampler, part: int, progress: bool = True
    ) -> None:
        """Make the files of these numbers, which are their seeds, `part` at a time.

        What is there when it is interrupted stays.
        """
        with replacing(self.folder / SAID) as partial:
            partial.write_text(json.dumps(self.made_with, indent=1), encoding="utf-8")
        with tqdm(total=len(numbers), unit="latent", disable=not progress) as bar:
            for seeds in (numbers[k : k + part] for k in range(0, len(numbers), part)):
                truth, low = pairs.apart(seeds)
                latents = sampler(low, truth.shape[-1], seeds)
                if not torch.isfinite(latents).all():
                    raise FloatingPointError(
                        f"sampling gave latents that are not finite for the seeds {seeds}: try --precision "
                        "fp32"
                    )
                for i, *tensors in zip(seeds, truth, low, latents, strict=True):
                    content: dict[str, Tensor] = {
                        name: x.contiguous() for name, x in zip(CONTENT, tensors, strict=True)
                    }
                    with replacing(self.path(i)) as partial:
                        save_file(content, partial)
                bar.update(len(seeds))

    def read(self, numbers: Sequence[int], workers: int = 1) -> tuple[Tensor, list[Tensor], Tensor]:
        """uint8 truth B 3 S S and degraded pictures 3 s s, and latents B Z h w.

        Raises ValueError that names a damaged file.
        """
        with ThreadPoolExecutor(workers) as pool:
            found = list(pool.map(self._one, numbers))
        truth, low, latents = ([content[name] for content in found] for name in CONTENT)
        return torch.stack(truth), low, torch.stack(latents)

    def _one(self, i: int) -> dict[str, Tensor]:
        try:
            return load_file(self.path(i))
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"cannot read {self.path(i)}: {error}. Delete it, and it is made again"
            ) from error
