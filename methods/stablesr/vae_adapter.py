"""Another program's autoencoder in place of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..nets.sd_vae import VAEConfig
from .finite import finite


class VAEAdapter:
    """What `Autoencoder` and CFW ask of a VAE, from a network in Stable Diffusion's form, whoever wrote it.

    Pictures and latents are float32 and stay where they are; the network works in the precision of its
    weights, on `device`, where it must lie, if one is given. Where half precision gives NaN or infinite
    values, that call is repeated in float32, with the networks `beside` it that its calls pass through.
    before: called before each pass, for progress and cancelling, which it does by raising. Raises ValueError
    for other networks.
    """

    def __init__(
        self,
        network: nn.Module,
        beside: tuple[nn.Module, ...] = (),
        before: Callable[[], None] = lambda: None,
        device: torch.device | None = None,
    ):
        parts: list[Any] = [
            getattr(network, name, None) for name in ("encoder", "decoder", "quant_conv", "post_quant_conv")
        ]
        if (
            any(part is None for part in parts)
            or not hasattr(parts[0], "down")
            or not hasattr(parts[1], "up")
        ):
            raise ValueError(
                f"StableSR needs the autoencoder of Stable Diffusion 2.1, which {type(network).__name__} "
                "is not: choose that VAE"
            )
        self.encoder, self.decoder, self.quant_conv, self.post_quant_conv = parts
        self.networks, self.before, self.device = (network, *beside), before, device
        channels = self.post_quant_conv.weight.shape[1]
        self.config = VAEConfig(
            channel_mult=(1,) * len(self.decoder.up), latent_channels=channels
        )  # of its widths nothing is asked

    def encode(self, image: Tensor) -> Tensor:
        """B 3 H W in -1..1 to moments B 2Z h w."""
        return self._finite(lambda x: self.quant_conv(self.encoder(x)), image, "encoded")

    def decode(self, z: Tensor) -> Tensor:
        """B Z h w to B 3 H W in about -1..1."""
        return self._finite(lambda x: self.decoder(self.post_quant_conv(x)), z, "decoded")

    def _finite(self, call: Callable[[Tensor], Tensor], x: Tensor, what: str) -> Tensor:
        self.before()
        back, x = x.device, x if self.device is None else x.to(self.device)
        first = self.networks[0]
        return finite(lambda: call(x.to(next(first.parameters()).dtype)).float(), self.networks, what).to(
            back
        )
