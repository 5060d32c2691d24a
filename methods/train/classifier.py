"""Training of noise-aware attribute classifiers (SRDG, section 4.2), one network an attribute, on labelled
square pictures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...samplers.noise import Noise
from ...samplers.schedule import ExplodingSchedule
from ..degrade import degrade
from ..device import device_of
from ..nets.densenet import DenseNet, DenseNetConfig
from ..nets.plain import PlainClassifier, PlainConfig
from ..settings import Settings, option, to_json
from ..srdg.attributes import JUDGE, KIND
from ..srdg.objective import noisy, train_times
from .augment import moved
from .balance import chances, class_weights, drawn_of, groups_of
from .channels import Coloured
from .curve import plot_profiles
from .init import CURE, begin_from, init_option
from .judge import MIX, judge_damage, judged_accuracies
from .labels import JUDGED, UNKNOWN, Attribute, Labelled
from .loop import Batch, Optimisation, Task, channels_last
from .prior import mirrored, numbers, square

TUNED = Optimisation(steps=20_000, lr=1e-3, warmup=500)
ANSWERS = ("Dense_3", "last")  # the layer that networks of several attributes do not share
TIMES = (0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85)
SCHEDULE = ExplodingSchedule()


@dataclass(frozen=True)
class ClassifierRecipe(Coloured, Settings):
    """The attributes, the networks that tell them, and their batches. Lists are written as 6,6,6,6."""

    attributes: str = option(
        "",
        "What is told: ATTRIBUTE:COLUMN=CLASS:VALUE,CLASS:VALUE; ... with classes in the order of their "
        "numbers, "
        "for example gender:Male=female:-1,male:1; a name that the table calls the same needs no :COLUMN "
        "or :VALUE",
    )
    size: int = option(
        128,
        "Side of the pictures; others are cropped to a square and resized. A classifier takes this size only",
        low=8,
        high=1024,
    )
    channels: str = option(
        "rgb",
        "luma: it is trained on grey pictures, and shown the luma of coloured ones",
        choices=("rgb", "luma"),
    )
    net: str = option(
        "dense",
        "dense: told the noise of noisy pictures, it guides; plain: another architecture, for clean and "
        "degraded "
        "pictures, it judges what a guide has done",
        choices=("dense", "plain"),
    )
    width: int = option(32, "Channels of the first level of a plain network", low=16, high=512)
    layers: str = option("6,6,6,6", "Layers of each block; between blocks the sides are halved")
    growth: int = option(16, "Channels that each layer adds", low=1, high=256)
    bottleneck: int = option(2, "Width inside a layer, in --growth", low=1, high=16)
    pool: int = option(
        1, "The network sees blocks of so many pixels as one: cheap, and calms noise", low=1, high=16
    )
    batch: int = option(4, "Pictures a step and process", low=2, high=65536)
    flip: bool = option(True, "Mirror half of the pictures")
    shift: int = option(0, "Pictures are moved by up to so many pixels, their rim repeated", low=0, high=512)
    shared: bool = option(
        False,
        "One network tells all attributes: several times faster; each file has a copy of it and its own "
        "answer",
    )
    degradation: str = option(
        MIX,
        f"What damages the pictures of a plain network; {MIX}: a part is clean, the others are reduced or "
        "mildly damaged faces; or a preset of `priorsr degrade`, or a recipe's JSON file",
    )
    balanced: bool = option(True, "Every class is drawn as often as any other, however many pictures it has")
    init: str = init_option(
        "they must be of the same sizes; for several attributes FILE stands for FILE_ATTRIBUTE"
    )

    def prepared(self, picture: Tensor) -> Tensor:
        """A picture C H W in 0..1 as the square that is learnt from, uint8."""
        return square(picture, self.size, self.colours)

    def config(self, classes: int = 2) -> DenseNetConfig | PlainConfig:
        """A network's settings. Raises ValueError when they do not fit together."""
        if self.net == "plain":
            return PlainConfig(self.size, self.width, num_classes=classes)
        layers = numbers(self.layers)
        if not layers or 0 in layers:
            raise ValueError(
                f"layers {self.layers!r} leave a block empty: give one or more for each, such as 6,6,6,6"
            )
        return DenseNetConfig(self.size, layers, self.growth, self.bottleneck, classes, self.pool)


def task(recipe: ClassifierRecipe, data: Labelled, validation: Labelled, seed: int = 0) -> Task:
    """Train one network for each attribute at once, judging by the mean of the classes' accuracies at each of
    TIMES.
    """
    networks = build(recipe, seed)
    members = {name: groups_of(labels, recipe.balanced) for name, labels in data.labels.items()}
    together = chances(members, len(data.images)) if recipe.shared else None
    damage = judge_damage(recipe.degradation)

    def given(chosen: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        draw: dict[str, Any] = {"generator": batch.generator}
        x = data.images[chosen]
        if recipe.flip:
            x = mirrored(x, batch.generator)
        if recipe.shift:
            x = moved(
                x, torch.randint(2 * recipe.shift + 1, (recipe.batch, 2), **draw).tolist(), recipe.shift
            )
        t = train_times(torch.empty(recipe.batch).uniform_(**draw))
        seeds = torch.randint(2**62, (recipe.batch,), **draw).tolist()
        clean, noise = rgb(x / 255), rgb(Noise(seeds)(x.shape))
        if recipe.net == "plain":
            clean = degrade(clean, damage, seeds)[0].clamp(0, 1)
        return clean.to(batch.device), t.to(batch.device), noise.to(batch.device)

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        if together is not None:
            chosen = torch.multinomial(together, recipe.batch, True, generator=batch.generator)
            labels = {name: of[chosen].to(batch.device) for name, of in data.labels.items()}
            with batch.autocast():
                return net(*given(chosen, batch), labels)
        total = torch.zeros((), device=batch.device)
        for name, groups in members.items():
            chosen = drawn_of(groups, recipe.batch, batch.generator)
            labels = {name: data.labels[name][chosen].to(batch.device)}
            with batch.autocast():
                total = total + net(*given(chosen, batch), labels)
        return total

    def validate(net: Judges) -> dict[str, float]:
        if recipe.net == "plain":
            measured = judged_accuracies(net.members(), validation.images, validation.labels)
        else:
            measured = accuracies(net.members(), validation)
        figures = {f"{name}@{t:g}": v for name, profile in measured.items() for t, v in profile.items()}
        return {"accuracy": sum(figures.values()) / len(figures), **figures}

    def show(net: nn.Module, run: Path) -> None:
        plot_profiles(run / "log.jsonl", run / "accuracy.png")

    identity = {**asdict(recipe), "images": len(data.images)}
    weighing = {name: class_weights(data.labels[name], groups, together) for name, groups in members.items()}
    return Task(Judges(networks, weighing), loss, validate, lambda net: net, identity, show)


def build(recipe: ClassifierRecipe, seed: int = 0) -> nn.ModuleDict:
    """New networks, one for each attribute, or with the weights to go on from.

    Raises ValueError for those of other sizes, classes or colours.
    """
    torch.manual_seed(seed)
    judge_damage(recipe.degradation)  # known, and readable
    attributes = Attribute.parse(recipe.attributes)
    kind, of = cast(Any, (JUDGE, PlainClassifier) if recipe.net == "plain" else (KIND, DenseNet))
    networks = nn.ModuleDict({a.name: of(recipe.config(len(a.classes))) for a in attributes})
    files_of = (
        paths(Path(recipe.init), [a.name for a in attributes]) if recipe.init else [None] * len(attributes)
    )
    for file, attribute in zip(files_of, attributes, strict=True):
        found = begin_from(networks[attribute.name], str(file or ""), kind)
        said = (",".join(attribute.classes), recipe.channels)
        if found and (found.metadata.get("classes"), found.metadata.get("channels")) != said:
            raise ValueError(
                f"{file} tells {found.metadata.get('classes')} of {found.metadata.get('channels')} "
                f"pictures, not "
                f"{said[0]} of {said[1]}: {CURE}"
            )
    if recipe.shared:
        first, *others = networks.values()
        for network in others:
            for name, child in first.named_children():
                if name not in ANSWERS:
                    setattr(network, name, child)
    return channels_last(networks)


class Judges(nn.Module):
    """The networks of all attributes and their loss, whose gradients torchrun averages."""

    def __init__(self, networks: nn.ModuleDict, weighing: Mapping[str, Tensor]):
        super().__init__()
        self.networks, self.weighing = networks, weighing

    def members(self) -> dict[str, Any]:
        """The networks by their attributes."""
        return dict(self.networks.items())

    def forward(self, clean: Tensor, t: Tensor, noise: Tensor, labels: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of what a guide sees with the noise of time t, or a judge without: the mean over the
        pictures, summed over the attributes of `labels`, whose networks have all but their answers in common
        where there are several. Pictures of unknown label count for nothing.
        """
        members = self.members()
        network = members[next(iter(labels))]
        seen = (clean, None) if isinstance(network, PlainClassifier) else noisy(clean, t, noise, SCHEDULE)
        features, total = network.features(*seen), clean.new_zeros(())
        for name, own in labels.items():
            errors = F.cross_entropy(members[name].answer(features), own.clamp(min=0), reduction="none")
            weights = self.weighing[name].to(own.device)[own.clamp(min=0)] * (own != UNKNOWN)
            total = total + (weights * errors).mean()
        return total


def rgb(x: Tensor) -> Tensor:
    """What the networks take: grey as equal channels."""
    return x.expand(-1, 3, -1, -1)


@torch.no_grad()
def accuracies(
    networks: Mapping[str, Any], data: Labelled, times: Sequence[float] = TIMES
) -> dict[str, dict[float, float]]:
    """By attribute and time: how often classifiers are right, the mean of their accuracies on each class
    (SRDG, Fig. 3).

    Picture i has the noise of seed i.
    """
    result = {}
    for name, network in networks.items():
        network.eval()
        device = device_of(network)
        chosen = (data.labels[name] != UNKNOWN).nonzero()[:JUDGED, 0]
        clean, labels = data.images[chosen] / 255, data.labels[name][chosen]
        noise = Noise(chosen.tolist())(clean.shape)
        result[name] = {}
        for t in times:
            right = []
            for z, e in zip(clean.split(64), noise.split(64), strict=True):
                x, sigma = noisy(rgb(z), torch.full((len(z),), t), rgb(e), SCHEDULE)
                right.append(network(x.to(device), sigma.to(device)).argmax(1).cpu())
            found = torch.cat(right) == labels
            result[name][t] = float(
                torch.stack([found[labels == k].float().mean() for k in labels.unique()]).mean()
            )
    return result


def files(net: Judges, said: Mapping[str, str], out: Path) -> Iterator[tuple[Path, nn.Module, dict]]:
    """Each network with its file and what that says of itself; several attributes are written as
    OUT_ATTRIBUTE.
    """
    classes = json.loads(said["classes"])
    for path, (name, network) in zip(paths(out, list(classes)), net.networks.items(), strict=True):
        kept = {
            k: v
            for k, v in said.items()
            if k.startswith(f"{name}@") or not ("@" in k or (k == "accuracy" and len(classes) > 1))
        }
        own = {"attribute": name, "classes": ",".join(classes[name]), "settings": settings_of(network)}
        yield path, network, {**kept, **own}


def settings_of(network: Any) -> str:
    """What a file must say of a network beyond the forms of its tensors."""
    if isinstance(network, PlainClassifier):
        return json.dumps(asdict(network.config))
    return json.dumps({"pool": network.config.pool})


def paths(out: Path, attributes: Sequence[str]) -> list[Path]:
    """Where the classifiers of some attributes are written."""
    return (
        [out]
        if len(attributes) == 1
        else [out.with_name(f"{out.stem}_{name}{out.suffix}") for name in attributes]
    )


def metadata(recipe: ClassifierRecipe, settings: Optimisation) -> dict[str, str]:
    """What the files say of themselves, all classes by attribute included."""
    return {
        "kind": JUDGE if recipe.net == "plain" else KIND,
        "channels": recipe.channels,
        "classes": json.dumps({a.name: a.classes for a in Attribute.parse(recipe.attributes)}),
        "training": to_json(recipe, settings),
    }
