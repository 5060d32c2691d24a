"""What the trainings of StableSR's layers and of CFW have in common: the frozen networks, the pairs they see,
and how files are named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor, nn

from ...degrade import PRESETS, recipe_named
from ...degrade.presets import UNHARMED
from ...degrade.steps import Unsharp
from ...imaging.resize import ENLARGEMENTS
from ...nets.sd_unet import SDUNet
from ...settings import Settings, option
from ...stablesr.layers import StableSRLayers
from ...stablesr.load import load_text, load_unet, load_vae
from ...stablesr.method import StableSR
from ...stablesr.prior import diffusion_prior
from ...stablesr.text import read_context, tokenise
from ..pairs import Crops, Pairs

TARGETS = ("eps", "v")
UNBOUND = ("part", "workers")  # settings that change no result


@dataclass(frozen=True)
class PairRecipe(Settings):
    """The frozen networks, and the crops and degradations that they are shown."""

    base: str = option(
        "", "Stable Diffusion 2.1, whose UNet and autoencoder are used and stay as they are; needed"
    )
    context: str = option(
        "",
        "The empty prompt's embeddings, L D, as the tensor `context` of a file (without: by the text "
        "encoder of --base)",
    )
    target: str = option("eps", "What the UNet of --base predicts; v: the 768-pixel model", choices=TARGETS)
    size: int = option(512, "Side of the crops; smaller pictures are left out", low=16, high=2048)
    scale: float = option(
        4.0, "How much smaller degraded crops are, before they are enlarged again", low=1, high=64
    )
    flip: bool = option(True, "Mirror half of the crops")
    degradation: str = option(
        "stablesr", f"What they are damaged by: one of {', '.join(PRESETS)}, or a recipe's JSON file"
    )
    sharpen: bool = option(True, "Sharpen the truth first, which the input is made of too, as released")
    undamaged: float = option(
        UNHARMED, "Share of the crops that are shown as they are, at full size", low=0, high=1
    )
    enlargement: str = option(
        ENLARGEMENTS[0],
        "How degraded crops are enlarged again: as released (a = -0.75), or by the softer kernel of Pillow",
        choices=ENLARGEMENTS,
    )
    workers: int = option(8, "Crops that are read and degraded at once, each on a thread", low=1, high=256)

    def check(self) -> None:
        """Raises ValueError where a file that the training needs is not named."""
        if not self.base:
            raise ValueError(
                "the training needs --base FILE, Stable Diffusion 2.1 such as v2-1_512-ema-pruned.safetensors"
            )

    def drawn_from(self, paths: Sequence[str | Path]) -> Pairs:
        """Crops of the pictures in folders and archives, and how they are degraded.

        Raises as `Crops.of` and `recipe_named`.
        """
        recipe = recipe_named(self.degradation, self.scale)
        before = Unsharp() if self.sharpen else None
        crops = Crops.of(paths, self.size, self.flip)
        return Pairs(crops, recipe, self.workers, before, self.undamaged)

    def opened(self, layers_for: Callable[[SDUNet], StableSRLayers]) -> tuple[StableSR, Tensor]:
        """The networks with the layers that belong to the UNet, and the empty prompt's tokens 1 L D.

        Raises FileNotFoundError, or ValueError where files or sizes do not fit together.
        """
        unet = load_unet(self.base)
        layers = layers_for(unet)
        layers.check(unet)
        model = StableSR(diffusion_prior(unet, self.target), layers, load_vae(self.base))
        if self.size % model.multiple:
            raise ValueError(
                f"size {self.size} is no multiple of {model.multiple}, which the networks ask for: change it"
            )
        context = read_context(self.context) if self.context else load_text(self.base)(tokenise(""))
        if context.shape[-1] != unet.config.context_dim:
            origin = self.context or f"the text encoder of {self.base}"
            raise ValueError(
                f"the UNet reads prompts of {unet.config.context_dim} channels, {origin} gives "
                f"{context.shape[-1]}: encode one for this UNet"
            )
        return model, context.detach()

    def identity(self) -> dict:
        """What a checkpoint must agree with."""
        return {name: value for name, value in asdict(self).items() if name not in UNBOUND}


def named(parts: Mapping[str, nn.Module]) -> nn.Module:
    """Networks in one, the keys of each below a prefix such as `model.diffusion_model.`."""
    whole = nn.Module()
    for prefix, part in parts.items():
        place: nn.Module = whole
        *path, last = prefix.strip(".").split(".")
        for name in path:
            if name not in place._modules:
                place.add_module(name, nn.Module())
            place = place.get_submodule(name)
        place.add_module(last, part)
    return whole
