"""Training of SRCNN on patches of luma or RGB (Dong et al., TPAMI 2016, section 3.3; optimizer and patch
size are ours).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from ..imaging.color import luma
from ..imaging.resize import modcrop, resize, size_of
from ..metrics.benchmark import Upscale, benchmark
from ..metrics.fidelity import prepare, psnr
from ..nets.srcnn import SRCNN
from ..settings import Settings, option
from ..visionrefine.srcnn import SRCNNSettings, restore_luma, srcnn_upscale
from .channels import Coloured
from .init import begin_from, init_option
from .loop import Batch, Optimisation, Task, channels_last

CENTRE = (
    0.5  # training sees luma minus this, which conditions it far better; `finish` folds it into the biases
)
TUNED = Optimisation(steps=10_000, lr=2e-3, muon=0.03, precision="bf16")


KERNELS = ("9-5-5", "9-3-5", "9-1-5")


@dataclass(frozen=True)
class Patches(Coloured, Settings):
    """Random patches and the network that learns from them."""

    size: int = option(
        96, "Side of the supervised square; the input is wider by the network's reach", low=16, high=1024
    )
    batch: int = option(8, "Patches a step", low=1, high=4096)
    kernels: str = option(KERNELS[0], "Sides of the three kernels; 9-1-5 is the fastest", choices=KERNELS)
    channels: str = option(
        "luma", "What is learnt: luma alone, or the three colours together", choices=("luma", "rgb")
    )
    init: str = init_option("they must be of this scale and form")

    def network(self, valid: bool = False) -> SRCNN:
        """A network of this form; valid: without padding."""
        first, second, third = map(int, self.kernels.split("-"))
        return SRCNN(
            self.colours,
            kernels=(first, second, third),
            paddings=(0, 0, 0) if valid else (first // 2, second // 2, third // 2),
        )


def task(
    scale: int,
    images: Sequence[Tensor],
    validation: Sequence[Tensor],
    patches: Patches = Patches(),
    seed: int = 0,
) -> Task:
    """Train at one scale on RGB images (3 H W, 0..1), judging by mean PSNR on `validation`, of luma or of all
    three colours.
    """
    # the valid part only: nothing is learnt from padding
    network = channels_last(patches.network(valid=True))
    _initialise(network, torch.Generator().manual_seed(seed))
    if found := begin_from(network, patches.init, "srcnn"):
        if found.scale not in (None, scale):
            raise ValueError(
                f"{patches.init} is for x{found.scale}: give --scale {found.scale}, or another file"
            )
        _fold(network, -CENTRE)
    pairs = [
        pair
        for pair in (_pair(x, scale, patches.channels) for x in images)
        if min(pair.shape[-2:]) >= patches.size + 2 * network.reach
    ]
    if not pairs:
        raise ValueError(
            f"no training image is at least {patches.size + 2 * network.reach} pixels wide and high: add "
            "larger ones"
        )

    def loss(net: SRCNN, batch: Batch) -> Tensor:
        x, y = _draw(pairs, patches, net.reach, batch.generator)
        x, y = x.to(batch.device) - CENTRE, y.to(batch.device) - CENTRE
        restored = restore_luma(net, x, torch.bfloat16 if batch.half else None)
        return torch.nn.functional.mse_loss(restored, y) * 1e3  # scaled for readable logs and clipping

    def validate(net: SRCNN) -> dict[str, float]:
        if patches.channels == "rgb":
            return {"psnr": sum(colour_psnr(net, x, scale) for x in validation) / len(validation)}
        rows = benchmark(luma_upscaler(net, scale), validation, scale)
        return {"psnr": sum(r.psnr for r in rows) / len(rows)}

    finished = partial(finish, patches=patches)
    return Task(network, loss, validate, finished, {"scale": scale, "images": len(images), **asdict(patches)})


@torch.no_grad()
def finish(trained: SRCNN, patches: Patches = Patches()) -> SRCNN:
    """The network of the published form that does to luma (or RGB) what the trained one does to it minus
    CENTRE.
    """
    network = patches.network().to(trained.conv1.weight.device)
    network.load_state_dict(trained.state_dict())
    _fold(network, CENTRE)
    return network.eval()


@torch.no_grad()
def _fold(network: SRCNN, centre: float) -> None:
    """From luma minus `centre` to luma; the other way by -centre."""
    first, last = (cast(Tensor, layer.bias) for layer in (network.conv1, network.conv3))
    first -= centre * network.conv1.weight.sum((1, 2, 3))
    last += centre


def luma_upscaler(network: SRCNN, scale: int) -> Upscale:
    """The network as the benchmark calls it, on luma planes."""

    @torch.inference_mode()
    def upscale(low: Tensor, size: tuple[int, int]) -> Tensor:
        return srcnn_upscale(
            network, low.to(network.conv1.weight.device), scale, scale, SRCNNSettings(channels="rgb")
        ).cpu()

    return upscale


@torch.inference_mode()
def colour_psnr(network: SRCNN, image: Tensor, scale: int) -> float:
    """PSNR (dB) of all colours of a picture C H W in 0..1 that was reduced and is enlarged again; 8 bits, a
    border of `scale` cut.
    """
    high = modcrop(image[None].expand(-1, 3, -1, -1), scale)
    height, width = size_of(high)
    low = resize(high, (height // scale, width // scale), border="mirror").clamp(0, 1)
    found = srcnn_upscale(network, low.to(network.conv1.weight.device), scale, scale).cpu()
    a, b = (prepare(x, border=scale, eight_bit=True) for x in (found, high))
    return float(psnr(a, b))


@torch.no_grad()
def _initialise(net: SRCNN, generator: torch.Generator) -> None:
    """Random filters beside one fixed path a channel that passes it through: training learns what to add to
    the bicubic image.
    """
    count = net.conv1.in_channels
    for layer in (net.conv1, net.conv2, net.conv3):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
        nn.init.zeros_(cast(Tensor, layer.bias))
    net.conv3.weight *= 0.1
    passed, others = slice(count), slice(count, None)
    cast(Tensor, net.conv1.bias)[passed] = CENTRE  # the path must stay positive through both ReLUs
    cast(Tensor, net.conv3.bias)[passed] = -CENTRE
    for weight in (net.conv1.weight[passed], net.conv2.weight[passed], net.conv2.weight[others, passed]):
        weight.zero_()
    net.conv3.weight[:, passed] = 0
    for layer in (net.conv1, net.conv2, net.conv3):
        for k in range(count):
            layer.weight[k, k, layer.kernel_size[0] // 2, layer.kernel_size[0] // 2] = 1
    every = slice(None)
    path = {net.conv1.weight: [passed], net.conv1.bias: [passed], net.conv2.bias: [passed]}
    path |= {net.conv2.weight: [passed, (others, passed)], net.conv3.weight: [(every, passed)]}
    for parameter, places in path.items():
        keep = torch.ones_like(parameter)
        for place in places:
            keep[place] = 0
        parameter.register_hook(lambda g, keep=keep: g * keep.to(g.device))


def _pair(rgb: Tensor, scale: int, channels: str) -> Tensor:
    """Enlarged low-resolution luma (or RGB) and the true one, stacked: 2C H W in 0..1."""
    high = modcrop(luma(rgb * 255) / 255 if channels == "luma" else rgb.expand(3, -1, -1), scale)
    size = size_of(high)
    low = resize(high, (size[0] // scale, size[1] // scale), border="mirror")
    return torch.cat([resize(low, size, border="mirror"), high])


def _draw(
    pairs: Sequence[Tensor], patches: Patches, reach: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    side, crops = patches.size + 2 * reach, []

    def below(n: int) -> int:
        return int(torch.randint(n, (), generator=generator))

    for _ in range(patches.batch):
        pair = pairs[below(len(pairs))]
        top, left = below(pair.shape[1] - side + 1), below(pair.shape[2] - side + 1)
        crop = torch.rot90(pair[:, top : top + side, left : left + side], below(4), (1, 2))
        crops.append(crop.flip(2) if below(2) else crop)
    batch = torch.stack(crops)
    low, high = batch.chunk(2, 1)
    return low, high[..., reach:-reach, reach:-reach]
