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
from ..imaging.images import replacing
from ..settings import Settings, option
from .curve import plot

if TYPE_CHECKING:
    from accelerate import Accelerator


log = logging.getLogger("priorsr")

# settings that a resumed run may change; init and start count before the first step, frame after the last
RESUMABLE = ("steps", "validate_every", "checkpoint_every", "lr", "precision", "init", "start", "frame")
CHECKPOINT = {"network", "average", "optimizer", "step", "identity"}


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
    network = task.network.to(accelerator.device).train()
    average = AveragedModel(network, avg_fn=settings.average)
    optimizer = _Optimizers(network, settings, task.betas)
    parallel = accelerator.prepare_model(network)
    identity = {
        k: v
        for k, v in {**asdict(settings), **task.identity, "processes": processes}.items()
        if k not in RESUMABLE
    }
    step = kept = _restore(path, network, average, optimizer, identity) if path.exists() else 0
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
                _save(path, network, average, optimizer, step, identity)
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


class _Optimizers:
    """Adam, and Muon (Jordan et al. 2024) on matrices that share their storage with the convolutions'
    weights.
    """

    def __init__(self, network: nn.Module, settings: Optimisation, betas: tuple[float, float]):
        matrices = [p for p in network.parameters() if settings.muon and p.ndim > 1 and p.shape[0] > 1]
        known = {id(p) for p in matrices}
        self.pairs = [(p, nn.Parameter(_matrix(p.detach(), p))) for p in matrices]
        rates = [
            (
                torch.optim.Adam(
                    [p for p in network.parameters() if id(p) not in known], lr=settings.lr, betas=betas
                ),
                settings.lr,
            )
        ]
        if self.pairs:
            muon: Any = getattr(torch.optim, "Muon", None)
            if muon is None:
                raise ValueError(
                    f"Muon needs torch 2.9 or newer, this is {torch.__version__}: upgrade, or train with "
                    "--muon 0"
                )
            rates.append(
                (
                    cast(Any, torch.optim).Muon(
                        [m for _, m in self.pairs], lr=settings.muon, weight_decay=0.0
                    ),
                    settings.muon,
                )
            )
        self.rates = rates

    def step(self, share: float) -> None:
        for weight, matrix in self.pairs:
            matrix.grad = None if weight.grad is None else _matrix(weight.grad, weight)
        for optimizer, rate in self.rates:
            for group in optimizer.param_groups:
                group["lr"] = rate * share
            optimizer.step()

    def state_dict(self) -> list:
        return [optimizer.state_dict() for optimizer, _ in self.rates]

    def load_state_dict(self, states: list) -> None:
        for (optimizer, _), state in zip(self.rates, states, strict=True):
            optimizer.load_state_dict(state)


def _matrix(x: Tensor, weight: Tensor) -> Tensor:
    """A weight or its gradient as (out, rest), columns in the weight's memory order:

    Muon does not mind which.
    """
    return x.flatten(1) if weight.is_contiguous() else x.permute(0, 2, 3, 1).flatten(1)


def _restore(
    path: Path, network: nn.Module, average: nn.Module, optimizer: _Optimizers, identity: dict
) -> int:
    state = read_checkpoint(path)
    made = state["identity"]  # settings that came after it was made are not in it
    differing = sorted(k for k in identity if k in made and made[k] != identity[k])
    if differing:
        shown = ", ".join(f"{k}={made[k]}" for k in differing)
        raise ValueError(
            f"{path} was made with other settings ({shown}): repeat them, or choose another run folder"
        )
    try:
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is of another network or optimizer: choose another run folder, or repeat the command "
            f"that "
            "made it"
        ) from error
    return state["step"]


def read_checkpoint(path: Path) -> dict:
    """What a run folder's checkpoint holds: network, average, optimizer, step and identity.

    Raises ValueError naming a file that is damaged or something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        whole = (
            state.keys() >= CHECKPOINT
            and isinstance(state["step"], int)
            and isinstance(state["identity"], dict)
        )
    except OSError:
        raise
    except (
        Exception
    ):  # whatever the reader of pickled files makes of damage; its own advice is an unsafe switch
        whole = False
    if not whole:
        raise ValueError(
            f"{path} is damaged or no checkpoint of a training: delete it and begin again, or choose another "
            "run folder"
        )
    return state


def _save(
    path: Path, network: nn.Module, average: nn.Module, optimizer: _Optimizers, step: int, identity: dict
) -> None:
    state = {"network": network, "average": average, "optimizer": optimizer}
    content = {**{k: v.state_dict() for k, v in state.items()}, "step": step, "identity": identity}
    try:
        with replacing(path) as partial:
            torch.save(content, partial)
    except (OSError, RuntimeError) as error:  # torch says RuntimeError of a full disk
        reason = getattr(error, "strerror", None) or "the disk may be full"
        raise OSError(
            f"{path} cannot be written at step {step} ({reason}): make room and --resume, which goes on from "
            "the checkpoint before, if there is one"
        ) from error


def _log(path: Path, row: dict) -> None:
    cut = path.exists() and not path.read_bytes().endswith(b"\n")  # a line that a kill left unfinished
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if cut else "") + json.dumps(row) + "\n")
