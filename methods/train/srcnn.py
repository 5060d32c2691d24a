"""Training of SRCNN on luma patches (Dong et al., TPAMI 2016, section 3.3; optimizer and patch size are
ours).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast

import torch
from torch import Tensor, nn

from ..imaging.color import luma
from ..imaging.resize import modcrop, resize, size_of
from ..metrics.benchmark import Upscale, benchmark
from ..nets.srcnn import SRCNN
from ..settings import Settings, option
from ..visionrefine.srcnn import SRCNNSettings, restore_luma, srcnn_upscale
from .init import begin_from, init_option
from .loop import Batch, Optimisation, Task, channels_last

CENTRE = (
    0.5  # training sees luma minus this, which conditions it far better; `finish` folds it into the biases
)
TUNED = Optimisation(steps=10_000, lr=2e-3, muon=0.03, precision="bf16")


@dataclass(frozen=True)
class Patches(Settings):
    """Random luma patches."""

    size: int = option(
        96, "Side of the supervised square; the input is wider by the network's reach", low=16, high=1024
    )
    batch: int = option(8, "Patches a step", low=1, high=4096)
    init: str = init_option("they must be of this scale")


def task(
    scale: int,
    images: Sequence[Tensor],
    validation: Sequence[Tensor],
    patches: Patches = Patches(),
    seed: int = 0,
) -> Task:
    """Train at one scale on RGB images (3 H W, 0..1), judging by mean luma PSNR on `validation`."""
    # the valid part only: nothing is learnt from padding
    network = channels_last(SRCNN(paddings=(0, 0, 0)))
    _initialise(network, torch.Generator().manual_seed(seed))
    if found := begin_from(network, patches.init, "srcnn"):
        if found.scale not in (None, scale):
            raise ValueError(
                f"{patches.init} is for x{found.scale}: give --scale {found.scale}, or another file"
            )
        _fold(network, -CENTRE)
    pairs = [
        pair
        for pair in (_pair(x, scale) for x in images)
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
        rows = benchmark(luma_upscaler(net, scale), validation, scale)
        return {"psnr": sum(r.psnr for r in rows) / len(rows)}

    return Task(network, loss, validate, finish, {"scale": scale, "images": len(images), **asdict(patches)})


@torch.no_grad()
def finish(trained: SRCNN) -> SRCNN:
    """The network of the published form that does to luma what the trained one does to luma minus CENTRE."""
    network = SRCNN().to(trained.conv1.weight.device)
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


@torch.no_grad()
def _initialise(net: SRCNN, generator: torch.Generator) -> None:
    """Random filters beside one fixed path that passes luma through: training learns what to add to the
    bicubic image.
    """
    for layer in (net.conv1, net.conv2, net.conv3):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
        nn.init.zeros_(cast(Tensor, layer.bias))
    net.conv3.weight *= 0.1
    cast(Tensor, net.conv1.bias)[0], cast(Tensor, net.conv3.bias)[0] = (
        CENTRE,
        -CENTRE,
    )  # the path must stay positive through both ReLUs
    net.conv1.weight[0], net.conv2.weight[0], net.conv2.weight[1:, 0], net.conv3.weight[0, 0] = 0, 0, 0, 0
    for layer in (net.conv1, net.conv2, net.conv3):
        layer.weight[0, 0, layer.kernel_size[0] // 2, layer.kernel_size[0] // 2] = 1
    path = {net.conv1.weight: [0], net.conv1.bias: [0], net.conv2.bias: [0], net.conv3.weight: [(0, 0)]}
    path[net.conv2.weight] = [0, (slice(1, None), 0)]
    for parameter, places in path.items():
        keep = torch.ones_like(parameter)
        for place in places:
            keep[place] = 0
        parameter.register_hook(lambda g, keep=keep: g * keep.to(g.device))


def _pair(rgb: Tensor, scale: int) -> Tensor:
    """Enlarged low-resolution luma and the true one, stacked: 2 H W in 0..1."""
    high = modcrop(luma(rgb * 255) / 255, scale)
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
    return batch[:, :1], batch[:, 1:, reach:-reach, reach:-reach]
