"""EDM's preconditioning: the wrapper that makes a raw network a denoiser of images with unit-independent
noise levels.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .dhariwal_unet import DhariwalUNet
from .songunet import SongUNet

NETWORKS = {"SongUNet": SongUNet, "DhariwalUNet": DhariwalUNet}
# what a checkpoint records of the wrapper itself; everything else it records is its network's
WRAPPER_SETTINGS = (
    "img_resolution",
    "img_channels",
    "label_dim",
    "use_fp16",
    "sigma_min",
    "sigma_max",
    "sigma_data",
    "model_type",
)


class Scalings(NamedTuple):
    """The four factors of D(x; sigma) = skip x + out F(input x; noise), each shaped as sigma."""

    skip: Tensor
    out: Tensor
    input: Tensor
    noise: Tensor


def edm_scalings(sigma: Tensor, sigma_data: float = 0.5) -> Scalings:
    """c_skip, c_out, c_in and c_noise for noise levels sigma > 0 of any shape.

    Source: Karras et al. (2022), table 1.
    """
    total = sigma**2 + sigma_data**2
    return Scalings(sigma_data**2 / total, sigma * sigma_data / total.sqrt(), total.rsqrt(), sigma.log() / 4)


class EDMPrecond(nn.Module):
    """D(x; sigma) = c_skip x + c_out F(c_in x; c_noise): the denoised image for x = x0 + sigma noise.

    x B C H W around -1..1 plus noise, sigma B (or one number for all), class_labels B label_dim (None: zeros,
    no class), to B C H W. Float32 in and out, whatever the dtype of the arguments; only `model` may run in
    another one (`cast`). State-dict keys equal the checkpoint's. Source: Karras et al. (2022), equation 7.
    """

    def __init__(
        self,
        model: SongUNet | DhariwalUNet,
        sigma_data: float = 0.5,
        sigma_min: float = 0.0,
        sigma_max: float = math.inf,
        use_fp16: bool = False,
    ):
        super().__init__()
        self.model = model
        self.sigma_data, self.sigma_min, self.sigma_max = sigma_data, sigma_min, sigma_max
        self.use_fp16 = use_fp16  # the checkpoint was trained in half precision; what it runs in is apart
        self.img_resolution, self.img_channels, self.label_dim = (
            model.img_resolution,
            model.in_channels,
            model.label_dim,
        )

    def forward(
        self,
        x: Tensor,
        sigma: Tensor | float,
        class_labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        x = x.float()
        sigma = torch.as_tensor(sigma, dtype=torch.float32, device=x.device).reshape(-1)
        if sigma.shape[0] not in (1, x.shape[0]):
            raise ValueError(
                f"{sigma.shape[0]} noise levels for {x.shape[0]} images: give one per image, or one for all"
            )
        if class_labels is None and self.label_dim:
            class_labels = x.new_zeros(1, self.label_dim)
        c = edm_scalings(sigma[:, None, None, None], self.sigma_data)
        raw = self.model(
            (c.input * x).to(self.model.map_layer0.weight.dtype),
            c.noise.flatten(),
            class_labels,
            augment_labels,
        )
        return c.skip * x + c.out * raw.float()


def build_edm(settings: Mapping[str, Any]) -> EDMPrecond:
    """The denoiser that a checkpoint's recorded constructor arguments describe (those of `EDMPrecond` and its
    network).

    Raises ValueError for an unknown network, and for arguments that are missing or that the network does not
    have.
    """
    kind = str(settings.get("model_type", "DhariwalUNet"))
    if kind not in NETWORKS:
        raise ValueError(
            f"the checkpoint's network is {kind}, which PriorSR does not know: choose one with "
            f"{' or '.join(NETWORKS)}"
        )
    known = inspect.signature(NETWORKS[kind]).parameters.keys() - {"in_channels", "out_channels"}
    if surplus := sorted(settings.keys() - known - set(WRAPPER_SETTINGS)):
        raise ValueError(
            f"{kind} has no argument {', '.join(surplus)}: the checkpoint is of another version, choose a "
            "released EDM one"
        )
    if missing := sorted({"img_resolution", "img_channels"} - settings.keys()):
        raise ValueError(
            f"the checkpoint does not record {', '.join(missing)}: give them beside its other arguments"
        )
    channels = settings["img_channels"]
    network = NETWORKS[kind](
        in_channels=channels, out_channels=channels, **{k: v for k, v in settings.items() if k in known}
    )
    return EDMPrecond(
        network,
        **{k: settings[k] for k in ("sigma_data", "sigma_min", "sigma_max", "use_fp16") if k in settings},
    )
