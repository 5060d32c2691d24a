"""Spatial feature transform as StableSR uses it:

SPADE layers that modulate the residual blocks of any UNet through hooks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import cast

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .adm_blocks import GroupNorm32

HIDDEN = 128  # channels between a feature map and its gamma and beta
Place = tuple["SPADE | Added", nn.Module]


class SPADE(nn.Module):
    """Group norm, then scale 1 + gamma and shift beta, both convolved from a feature map (Park et al. 2019;
    Wang et al. 2024, Eq. 1).

    x kB C h w and feature B F h w to x's shape and precision: a batch that is stacked k times over shares one
    set of features.
    """

    def __init__(self, channels: int, feature_channels: int):
        super().__init__()
        self.param_free_norm = GroupNorm32(channels)  # its published name; it has parameters
        self.mlp_shared = nn.Sequential(nn.Conv2d(feature_channels, HIDDEN, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(HIDDEN, channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(HIDDEN, channels, 3, padding=1)

    def forward(self, x: Tensor, feature: Tensor) -> Tensor:
        hidden = self.mlp_shared(feature.to(self.mlp_gamma.weight.dtype))
        gamma, beta = (layer(hidden).to(x.dtype) for layer in (self.mlp_gamma, self.mlp_beta))
        stacked = self.param_free_norm(x).unflatten(0, (-1, len(feature)))
        return (stacked * (1 + gamma) + beta).flatten(0, 1)


class Added(nn.Module):
    """A feature map taken to the branch's channels and added to it, in a SPADE's place (Wang et al. 2024,
    Fig. 12).

    x kB C h w and feature B F h w to x's shape and precision.
    """

    def __init__(self, channels: int, feature_channels: int):
        super().__init__()
        self.add = nn.Conv2d(feature_channels, channels, 1)

    def forward(self, x: Tensor, feature: Tensor) -> Tensor:
        added = self.add(feature.to(self.add.weight.dtype)).to(x.dtype)
        return (x.unflatten(0, (-1, len(feature))) + added).flatten(0, 1)


def residual_blocks(unet: nn.Module) -> dict[str, int]:
    """Path and output channels of every residual block of a UNet in Stable Diffusion's form, whoever wrote
    it.
    """
    return {
        path: cast(nn.Conv2d, cast(nn.Sequential, block.out_layers)[-1]).out_channels
        for path, block in unet.named_modules()
        if isinstance(getattr(block, "in_layers", None), nn.Sequential)
        and isinstance(getattr(block, "out_layers", None), nn.Sequential)
    }


class SFT(nn.Module):
    """One SPADE layer for each residual block of a UNet, at the end of the residual branch: skip(x) +
    SPADE(branch(x), feature).

    widths: output channels of each block by its path. The layers lie outside of the UNet, which `attach`
    hooks; keys are the released ones (`input_blocks.1.0.spade.mlp_gamma.weight`). modulates: without,
    features are only added.
    """

    def __init__(self, widths: Mapping[str, int], feature_channels: int = 256, modulates: bool = True):
        super().__init__()
        self.widths, self.modulates, self._features = dict(widths), modulates, ()
        for path, width in self.widths.items():
            place: nn.Module = self
            for name in filter(None, path.split(".")):
                if name not in place._modules:
                    place.add_module(name, nn.Module())
                place = place.get_submodule(name)
            place.add_module("spade", (SPADE if modulates else Added)(width, feature_channels))

    def check(self, unet: nn.Module) -> None:
        """Raises ValueError unless the residual blocks of the UNet are those that these layers were made
        for.
        """
        found = residual_blocks(unet)
        wrong = sorted(
            path for path in self.widths.keys() | found.keys() if self.widths.get(path) != found.get(path)
        )
        if wrong:
            first = wrong[0]
            raise ValueError(
                f"StableSR's layers do not fit this model: {len(wrong)} residual blocks differ (the first, "
                f"{first}: {self.widths.get(first, 'no')} "
                f"channels expected, {found.get(first, 'none')} found). Choose a Stable Diffusion 2.1 model"
            )

    def places(self, unet: nn.Module) -> list[Place]:
        """Each layer and the end of the branch that it modulates, which takes milliseconds to find: keep it
        for a run. Raises ValueError.
        """
        self.check(unet)
        return [
            (
                cast("SPADE | Added", self.get_submodule(f"{path}.spade".lstrip("."))),
                cast(nn.Sequential, unet.get_submodule(path).out_layers)[-1],
            )
            for path in self.widths
        ]

    def attach(self, unet: nn.Module) -> list[RemovableHandle]:
        """Hook every residual block; its branch is modulated by what is `given` until the handles are
        removed.

        Raises ValueError.
        """
        return self._hook(self.places(unet))

    def _hook(self, places: Sequence[Place]) -> list[RemovableHandle]:
        return [module.register_forward_hook(partial(self._modulate, layer)) for layer, module in places]

    @contextmanager
    def given(self, features: Sequence[Tensor]) -> Iterator[None]:
        """Feature maps of different sizes for the UNet calls inside; each block takes the one of its own
        size.
        """
        before, self._features = self._features, tuple(features)
        try:
            yield
        finally:
            self._features = before

    @contextmanager
    def modulating(self, unet: nn.Module, features: Sequence[Tensor]) -> Iterator[None]:
        """Attached, and with these features, only for as long as this lasts."""
        with self.modulating_at(self.places(unet), features):
            yield

    @contextmanager
    def modulating_at(self, places: Sequence[Place], features: Sequence[Tensor]) -> Iterator[None]:
        """The same where the `places` of a UNet are known."""
        handles = self._hook(places)
        try:
            with self.given(features):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _modulate(self, layer: SPADE | Added, module: nn.Module, inputs: tuple, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        feature = next((f for f in self._features if f.shape[-2:] == size), None)
        if feature is None:
            known = ", ".join("x".join(map(str, f.shape[-2:])) for f in self._features) or "none"
            raise ValueError(
                f"no feature map of {size[0]}x{size[1]} for a block of the UNet (there are: {known}): the "
                "low-resolution latent must have "
                "the size of the latent that is sampled"
            )
        if len(x) % len(feature):
            raise ValueError(
                f"a batch of {len(x)} cannot share the features of {len(feature)} pictures: give one "
                "picture, or one for each sample"
            )
        return layer(x, feature)
