"""What feature wrapping is trained on: distance, perception, a share of the game, clipped gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from cfw_trainings import QUICK, made
from stablesr_tiny import tiny
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from priorsr.methods.metrics.backbones import missing
from priorsr.methods.metrics.perceptual import lpips, lpips_network
from priorsr.methods.nets.cfw import CFW
from priorsr.methods.stablesr.autoencoder import Autoencoder
from priorsr.methods.train import perceptual
from priorsr.methods.train.adversary import Adversary
from priorsr.methods.train.loop import fit
from priorsr.methods.train.perceptual import Perceptual
from priorsr.methods.train.stablesr.cfw import metadata
from priorsr.methods.train.stablesr.cfw_loss import Wrapping


class Distance(nn.Module):
    """In place of LPIPS: the distance of blurred pictures."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(3.0))

    def forward(self, a, b):
        return self.scale * nn.functional.avg_pool2d(a - b, 4).square().mean((1, 2, 3), keepdim=True)


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_the_loss_is_distance_perception_and_a_fixed_share_of_the_game(distance, monkeypatch):
    monkeypatch.setattr(perceptual, "missing", lambda metric: None)
    monkeypatch.setattr(perceptual, "lpips_network", Distance)
    torch.manual_seed(0)
    model, game = tiny(), Adversary(0.025, 1, 32, balanced=False)
    generator = torch.Generator().manual_seed(1)
    latent, low, truth = (
        torch.randn(2, *size, generator=generator) / 2 for size in ((4, 4, 4), (3, 32, 32), (3, 32, 32))
    )
    blocks = CFW({1: 32, 2: 64}, blocks=1, growth=8)
    net = Wrapping(blocks, model.vae, distance, Perceptual(0.5), game)
    made = Autoencoder(model.vae, blocks).decode(latent, low, 1.0).detach()
    errors = made - truth
    others = (errors.abs().mean() if distance == "l1" else errors.square().mean()) + 0.5 * Distance()(
        made, truth
    ).mean()
    judged = [game.judge(x).detach() for x in (truth, made)]
    hinge = (1 - judged[0]).relu().mean() + (1 + judged[1]).relu().mean()
    assert net(latent, low, truth).item() == pytest.approx(
        (others + hinge).item(), rel=1e-5
    )  # the game does not count yet
    total = net(latent, low, truth)
    assert total.item() == pytest.approx((others + hinge - 0.025 * judged[1].mean()).item(), rel=1e-5)
    total.backward()
    assert all(p.grad.abs().sum() > 0 for p in blocks.parameters())
    assert not any(key.startswith("perceptual") for key in net.state_dict())


def test_the_game_s_share_of_the_gradient_is_fixed():
    torch.manual_seed(0)
    game = Adversary(0.025, 0, 32, balanced=False)
    made, truth = torch.rand(1, 3, 32, 32).requires_grad_(), torch.rand(1, 3, 32, 32)
    game(made, truth, 1e6 * made.sum()).backward()
    (push,) = torch.autograd.grad(-game.judge(made).mean(), made)
    torch.testing.assert_close(made.grad, 0.025 * push)


def test_without_its_weights_the_perceptual_term_is_left_out_aloud(recipe, latents, monkeypatch, caplog):
    monkeypatch.setattr(perceptual, "missing", lambda metric: f"{metric} needs its weights")
    job = made(replace(recipe, perceptual=1.0), latents)
    assert "the perceptual term is left out: lpips-vgg needs its weights" in caplog.text
    assert (
        job.network.perceptual.network,
        job.identity["lpips"],
        metadata(replace(recipe, perceptual=1.0), QUICK)["lpips"],
    ) == (None, False, False)
    monkeypatch.setattr(perceptual, "missing", lambda metric: None)
    monkeypatch.setattr(perceptual, "lpips_network", Distance)
    job = made(replace(recipe, perceptual=1.0), latents)
    assert job.identity["lpips"]
    assert job.validate(job.network)["lpips"] > 0


@pytest.mark.skipif(missing("lpips-vgg") is not None, reason="the weights of LPIPS are not installed")
def test_lpips_to_learn_from_is_lpips():
    a, b = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    shown = (2 * a - 1).requires_grad_()
    found = lpips_network()(shown, 2 * b - 1)
    torch.testing.assert_close(found.flatten(), lpips(a, b))
    found.sum().backward()
    assert shown.grad.abs().sum() > 0


def test_both_sides_are_clipped_by_their_own_gradients(recipe, latents, tmp_path):
    """As released: however steep the judge's loss, what makes pictures learns at its own pace."""
    work = made(replace(recipe, adversarial=0.025, after=0), latents)
    maker, judge = work.apart(work.network)
    assert {id(p) for p in judge} == {id(p) for p in work.network.adversary.parameters()}
    assert {id(p) for p in maker} == {id(p) for p in work.network.cfw.parameters()}
    seen = {}

    def loss(network, batch):
        part = [sum((p * (1000 if side is judge else 0.01)).sum() for p in side) for side in (maker, judge)]
        return sum(part)

    def watch(optimizer, arguments, keywords):
        for name, side in (("maker", maker), ("judge", judge)):
            seen[name] = torch.stack([p.grad.norm() for p in side]).norm()

    hook = register_optimizer_step_pre_hook(watch)
    try:
        settings = replace(QUICK, steps=1, clip=0.5, validate_every=5, checkpoint_every=5)
        fit(replace(work, loss=loss, validate=lambda net: {}, show=lambda net, run: None), settings, tmp_path)
    finally:
        hook.remove()
    count = sum(p.numel() for p in maker)
    assert float(seen["judge"]) == pytest.approx(0.5, rel=1e-3)
    assert float(seen["maker"]) == pytest.approx(min(0.5, 0.01 * count**0.5), rel=1e-3)
