"""One training loop:

Adam and Muon, warm-up and cosine decay, EMA, checkpoints that survive a kill, a log and its curve.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from ..drawing import check_plots
from ..settings import Settings, option
from .checkpoint import restore, save
from .curve import plot
from .optimizers import Optimizers

if TYPE_CHECKING:
    from accelerate import Accelerator


log = logging.getLogger("priorsr")

# settings that a resumed run may change; init and start count before the first step, frame after the last
RESUMABLE = ("steps", "validate_every", "checkpoint_every", "lr", "precision", "init", "start", "frame")


@dataclass(frozen=True)
class Optimisation(Settings):
    """How a network is trained; steps are optimizer steps."""

    steps: int = option(10_000, "Optimizer steps", low=1)
    lr: float = option(3e-3, "Adam's learning rate at its highest", low=0, high=1)
    muon: float = option(
        0.0, "Learning rate of Muon for matrices with more than one row; 0 leaves them to Adam", low=0, high=1
    )
    final_lr: float = option(0.01, "Share of the learning rates left at the end of the cosine", low=0, high=1)
    warmup: int = option(100, "Steps of linear warm-up", low=0)
    ema: float = option(0.999, "Decay of the averaged weights, which are the result", low=0, high=1)
    clip: float = option(1.0, "Largest norm of the gradient", low=0)
    precision: str = option("fp32", "bf16 halves the precision of large layers", choices=("fp32", "bf16"))
    exact_tail: float = option(0.1, "Last share of the steps that ignores bf16", low=0, high=1)
    seed: int = option(0, "Seed of the first weights and of every batch", low=0)
    checkpoint_every: int = option(500, "Steps between checkpoints", low=1)
    validate_every: int = option(1000, "Steps between validations", low=1)

    def share_at(self, step: int) -> float:
        """What part of the learning rates a step uses."""
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        progress = max(0, step - self.warmup) / max(1, self.steps - self.warmup)
        return warm * (self.final_lr + (1 - self.final_lr) * 0.5 * (1 + math.cos(math.pi * progress)))

    def average(self, averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        """One step of the moving average, faster at first so that it forgets the initial weights."""
        decay = torch.as_tensor((1 + count) / (10 + count)).clamp(max=self.ema)
        return torch.lerp(current, averaged, decay.to(current))

    def half_at(self, step: int) -> bool:
        return self.precision == "bf16" and step < self.steps * (1 - self.exact_tail)


@dataclass
class Batch:
    """What a loss function may use besides the network: its own random stream, and whether to compute in half
    precision.
    """

    generator: torch.Generator
    half: bool
    device: torch.device

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)


@dataclass
class Task:
    """A network, its loss on a random batch, and how to judge it.

    `finish` turns trained weights into the network to use; `identity` names what a checkpoint must agree
    with. `show` writes pictures of what a finished network does into the run's folder, at every validation.
    """

    network: nn.Module
    loss: Callable[[Any, Batch], Tensor]  # of the network's own class, as all that follow
    validate: Callable[[Any], dict[str, float]]
    finish: Callable[[Any], nn.Module]
    identity: dict = field(default_factory=dict)
    show: Callable[[Any, Path], None] = lambda network, run: None
    betas: tuple[float, float] = (0.9, 0.999)  # of Adam
    # parts whose gradients are clipped each by its own norm: a discriminator's must not shrink the maker's
    apart: Callable[[Any], Iterable[Iterable[nn.Parameter]]] = lambda network: [network.parameters()]


Net = TypeVar("Net", bound=nn.Module)


def channels_last(network: Net) -> Net:
    """The same network with its weights laid out as convolutions on CPUs like them best."""
    cast(Any, network).to(memory_format=torch.channels_last)  # torch's own types leave this form out
    return network


def fit(
    task: Task,
    settings: Optimisation,
    run: Path,
    resume: bool = False,
    device: str = "cpu",
    progress: bool = True,
) -> nn.Module:
    """Train and return the finished average of the network; logs to run/log.jsonl, keeps run/checkpoint.pt
    for `resume`.

    Batches depend on (seed, step, process) only, so that a resumed run repeats the uninterrupted one; resumed
    with another number of steps or another rate, the learning rate follows the new course from there. Under
    torchrun each process draws its own batch and the gradients are averaged. What only shows the training
    (log, curve, pictures) never ends it. Raises FileExistsError when the folder holds a checkpoint and
    `resume` is not set, ValueError when the checkpoint is damaged or was made with other settings, OSError
    when it cannot be written, FloatingPointError when loss or weights stop being finite (the last good
    checkpoint stays), and ImportError without the extra `train`.
    """
    accelerator = this_process(torch.device(device))
    main, processes = accelerator.is_main_process, accelerator.num_processes
    run.mkdir(parents=True, exist_ok=True)
    path = run / "checkpoint.pt"
    if path.exists() and not resume:
        raise FileExistsError(f"{path} exists: continue it with --resume, or choose another run folder")
    if resume and main and not path.exists():
        log.warning("there is no checkpoint in %s to go on from: begins at the first step", run)
    network = task.network.to(accelerator.device).train()
    average = AveragedModel(network, avg_fn=settings.average)
    optimizer = Optimizers(network, settings.lr, settings.muon, task.betas)
    parallel = accelerator.prepare_model(network)
    identity = {
        k: v
        for k, v in {**asdict(settings), **task.identity, "processes": processes}.items()
        if k not in RESUMABLE
    }
    step = kept = restore(path, network, average, optimizer, identity) if path.exists() else 0
    bar = tqdm(
        total=settings.steps, initial=step, disable=not (progress and main), unit="step", smoothing=0.02
    )
    since, total, count = time.monotonic(), 0.0, 0
    try:
        while step < settings.steps:
            generator = torch.Generator().manual_seed(
                (settings.seed * 1_000_003 + step) * processes + accelerator.process_index
            )
            loss = task.loss(parallel, Batch(generator, settings.half_at(step), accelerator.device))
            network.zero_grad(set_to_none=True)
            accelerator.backward(loss)
            for part in task.apart(network):
                nn.utils.clip_grad_norm_(part, settings.clip)
            optimizer.step(settings.share_at(step))
            average.update_parameters(network)
            step, total, count = step + 1, total + loss.detach(), count + 1
            bar.update()
            last = step == settings.steps
            judged, saved = (
                main and (last or step % every == 0)
                for every in (settings.validate_every, settings.checkpoint_every)
            )
            if judged or saved:
                _check_finite(total / count, average, step, kept)
            if saved:
                save(path, network, average, optimizer, step, identity)
                kept = step
            if judged:
                finished = task.finish(average.module)
                figures = task.validate(finished)
                seconds = round(time.monotonic() - since, 1)
                row: dict[str, Any] = {
                    "step": step,
                    "loss": float(total) / count,
                    **figures,
                    "seconds": seconds,
                }
                shown = {k: f"{v:.3f}" for k, v in headlines(figures).items()}
                bar.set_postfix({"loss": f"{row['loss']:.3g}", **shown})
                total, count = 0.0, 0
                _accessory("log", lambda row=row: _log(run / "log.jsonl", row))
                _accessory("curve", lambda: plot(run / "log.jsonl", run / "curve.png"))
                _accessory("pictures", lambda finished=finished: task.show(finished, run))
    finally:
        bar.close()
    return task.finish(average.module)


def _check_finite(loss: Tensor, average: nn.Module, step: int, kept: int) -> None:
    """Raises FloatingPointError with the cure: the checkpoint of step `kept` is not touched."""
    if torch.isfinite(loss) and all(bool(torch.isfinite(p).all()) for p in average.parameters()):
        return
    cure = f"--resume, which goes on from step {kept}" if kept else "begin again in an empty run folder"
    raise FloatingPointError(
        f"loss or weights are no longer finite at step {step}: lower --lr or use --precision fp32, and {cure}"
    )


def _accessory(what: str, make: Callable[[], object]) -> None:
    """What only shows the training: whatever fails in it, the weights matter more."""
    try:
        make()
    except Exception as error:
        log.warning("no %s this time: %s", what, error)


def headlines(figures: dict[str, float]) -> dict[str, float]:
    """Figures without the parts of a profile, name@step."""
    return {k: v for k, v in figures.items() if "@" not in k}


def leads() -> bool:
    """Whether this process is the one that writes files and speaks: the only one, or the first of
    torchrun's.
    """
    from accelerate import PartialState

    return PartialState().is_main_process


def this_process(device: torch.device) -> Accelerator:
    """This process among those of the training: its own device, its number and theirs.

    Raises ImportError without the extra `train`.
    """
    try:
        from accelerate import Accelerator

        check_plots()  # of the curve, which every training draws
    except ImportError as error:
        raise ImportError('training needs more packages: pip install "priorsr[train]"') from error
    if device.index is not None:
        torch.cuda.set_device(device)
    return Accelerator(cpu=device.type == "cpu")


def _log(path: Path, row: dict) -> None:
    cut = path.exists() and not path.read_bytes().endswith(b"\n")  # a line that a kill left unfinished
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if cut else "") + json.dumps(row) + "\n")
