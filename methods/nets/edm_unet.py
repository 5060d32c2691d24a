"""The U that the EDM networks have in common: its sizes, its two ways, and what it may be fed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .edm_blocks import BlockStyle, ResampleConv, Sampling, UNetBlock


@dataclass(frozen=True)
class UNetPlan:
    """Sizes of a U-shaped network: one level per entry of `channel_mult`, each half the resolution of the one
    before.
    """

    img_resolution: int  # names the levels and picks those with attention; pictures of other sizes pass too
    in_channels: int
    model_channels: int
    channel_mult: tuple[int, ...]
    num_blocks: int
    attn_resolutions: tuple[int, ...]
    emb_channels: int
    style: BlockStyle
    residual_input: bool = False  # each level adds a filtered copy of the level above (NCSN++)
    stem_mult: int = 1  # width of the first convolution, in model_channels
    attend_every_up: bool = True  # in the decoder attention follows every block, else the last of a level

    @property
    def levels(self) -> list[tuple[str, int, bool]]:
        """Name, width and attention of each level, finest first."""
        sizes = [self.img_resolution >> i for i in range(len(self.channel_mult))]
        return [
            (f"{n}x{n}", self.model_channels * m, n in self.attn_resolutions)
            for n, m in zip(sizes, self.channel_mult, strict=True)
        ]

    def block(
        self, in_channels: int, out_channels: int, sampling: Sampling | None = None, attention: bool = False
    ) -> UNetBlock:
        return UNetBlock(in_channels, out_channels, self.emb_channels, self.style, sampling, attention)


def build_encoder(plan: UNetPlan) -> tuple[nn.ModuleDict, list[int]]:
    """The way down, and the width of each map that it leaves for the way up."""
    enc, widths, above = nn.ModuleDict(), [], plan.in_channels
    width = plan.model_channels * plan.stem_mult
    for level, (name, out, attention) in enumerate(plan.levels):
        if level == 0:
            enc[f"{name}_conv"] = nn.Conv2d(plan.in_channels, width, 3, padding=1)
        else:
            enc[f"{name}_down"] = plan.block(width, width, "down")
            if plan.residual_input:
                enc[f"{name}_aux_residual"] = ResampleConv(
                    above, width, 3, "down", plan.style.resample_filter, fused=True
                )
                above = width
        widths.append(width)
        for i in range(plan.num_blocks):
            enc[f"{name}_block{i}"] = plan.block(width, out, attention=attention)
            width = out
            widths.append(width)
    return enc, widths


def build_decoder(plan: UNetPlan, widths: Sequence[int]) -> nn.ModuleDict:
    """The way up; each `block` takes the latest map that is left, `in` and `up` take none."""
    dec, left, width = nn.ModuleDict(), list(widths), widths[-1]
    for level, (name, out, attention) in reversed(list(enumerate(plan.levels))):
        if level == len(plan.channel_mult) - 1:
            dec[f"{name}_in0"] = plan.block(width, width, attention=True)
            dec[f"{name}_in1"] = plan.block(width, width)
        else:
            dec[f"{name}_up"] = plan.block(width, width, "up")
        for i in range(plan.num_blocks + 1):
            last = i == plan.num_blocks
            dec[f"{name}_block{i}"] = plan.block(
                width + left.pop(), out, attention=attention and (last or plan.attend_every_up)
            )
            width = out
    return dec


def encode(enc: nn.ModuleDict, x: Tensor, emb: Tensor) -> list[Tensor]:
    """Every map that the way down leaves, finest first."""
    maps, above = [], x
    for name, block in enc.items():
        if name.endswith("_conv"):
            maps.append(block(x))
        elif name.endswith("_aux_residual"):
            above = (maps[-1] + block(above)) * math.sqrt(0.5)
            maps[-1] = above
        else:
            maps.append(block(maps[-1], emb))
    return maps


def decode(dec: nn.ModuleDict, maps: Sequence[Tensor], emb: Tensor) -> Tensor:
    """The way up from the maps of `encode`."""
    left, x = list(maps), maps[-1]
    for name, block in dec.items():
        if "_aux_" not in name:  # the output layers of SongUNet are kept beside the blocks
            x = block(torch.cat([x, left.pop()], 1) if "_block" in name else x, emb)
    return x


class EDMUNet(nn.Module):
    """What both networks of EDM do with the U that they build: `enc`, `dec`, an embedding and last layers.

    x B C H W (sides multiples of 2^(levels - 1)), noise_labels B, class_labels B label_dim, augment_labels B
    augment_dim or None, to B out_channels H W. Raises ValueError for other shapes.
    """

    enc: nn.ModuleDict
    dec: nn.ModuleDict

    def __init__(
        self, img_resolution: int, in_channels: int, out_channels: int, levels: int, dims: tuple[int, int]
    ):
        super().__init__()
        self.img_resolution, self.in_channels, self.out_channels = img_resolution, in_channels, out_channels
        self.levels = levels
        self.label_dim, self.augment_dim = dims

    def embed(
        self, noise_labels: Tensor, class_labels: Tensor | None, augment_labels: Tensor | None
    ) -> Tensor:
        """The embedding that every block sees, B 4 model_channels."""
        raise NotImplementedError

    def finish(self, x: Tensor) -> Tensor:
        """The finest map B C H W to B out_channels H W."""
        raise NotImplementedError

    def forward(
        self,
        x: Tensor,
        noise_labels: Tensor,
        class_labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        dims = self.label_dim, self.augment_dim
        check_inputs(x, noise_labels, class_labels, augment_labels, self.in_channels, self.levels, dims)
        emb = self.embed(noise_labels, class_labels, augment_labels)
        return self.finish(decode(self.dec, encode(self.enc, x, emb), emb))


def check_inputs(
    x: Tensor,
    noise_labels: Tensor,
    labels: Tensor | None,
    augment: Tensor | None,
    channels: int,
    levels: int,
    dims: tuple[int, int],
):
    """Raise a ValueError with the cure where shapes do not fit; `dims` are the widths of class and augment
    labels, 0 for none.
    """
    if x.ndim != 4 or x.shape[1] != channels:
        raise ValueError(
            f"this network takes images of shape B {channels} H W, not {tuple(x.shape)}: give it "
            f"{channels} channels"
        )
    step = 2 ** (levels - 1)
    if x.shape[2] % step or x.shape[3] % step:
        raise ValueError(
            f"this network takes sides that are multiples of {step}, not {x.shape[2]} x {x.shape[3]}: pad "
            "or crop the image"
        )
    if noise_labels.ndim != 1 or noise_labels.shape[0] not in (1, x.shape[0]):
        raise ValueError(
            f"noise labels have shape {tuple(noise_labels.shape)} for {x.shape[0]} images: give one number "
            "per image, or one for all"
        )
    for name, value, width in (("class", labels, dims[0]), ("augment", augment, dims[1])):
        if value is not None and not width:
            raise ValueError(f"this network was built without {name} labels: leave them out")
        if value is not None and (
            value.ndim != 2 or value.shape[0] not in (1, x.shape[0]) or value.shape[1] != width
        ):
            raise ValueError(
                f"{name} labels have shape {tuple(value.shape)} for {x.shape[0]} images: this network "
                f"takes {x.shape[0]} x {width}"
            )
    if dims[0] and labels is None:
        raise ValueError(
            f"this network needs class labels: give {x.shape[0]} x {dims[0]} of them (one-hot, or zeros "
            "for no class)"
        )
