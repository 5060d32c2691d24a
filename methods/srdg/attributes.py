"""Attributes of faces: what the classifiers' classes mean, what is wished for, and what a picture shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor

from ...samplers.noise import Noise
from ...samplers.run import Draw
from ...samplers.schedule import ExplodingSchedule
from .. import weights
from ..imaging.color import BT601, grey
from ..imaging.images import check_pixels
from ..nets.densenet import DenseNet
from ..nets.plain import PlainClassifier
from ..precision import loaded_in
from .classifier_crop import ClassifierCrop

CLASSES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "gender": ("female", "male"),
        "glasses": ("no eyeglasses", "eyeglasses"),
        "beard": ("beard", "no beard"),  # CelebA's attribute is No_Beard
    }
)
LUMA_NOISE = (
    math.hypot(*BT601.forward[0]) * 255 / 219
)  # standard deviation of the luma of white noise, see `grey`
KIND = "attribute"  # what files of ours call themselves
JUDGE = "judge"  # and those that guide nothing


@dataclass(frozen=True)
class AttributeClassifier:
    """A noise-aware network (of a judge: one that knows of none), the attribute that it tells and what its
    classes mean, in their order.

    luma: it is trained on grey pictures, so that it is shown the luma of coloured ones.
    """

    network: DenseNet | PlainClassifier
    attribute: str
    classes: tuple[str, ...]
    luma: bool = False

    def __post_init__(self):
        known = self.network.config.num_classes
        if len(self.classes) != known or len(set(self.classes)) != known:
            raise ValueError(
                f"the {self.attribute} classifier knows {known} classes, the names are "
                f"{', '.join(self.classes)}: name each once"
            )

    @property
    def meaning(self) -> str:
        """The classes with their numbers: 0 female, 1 male."""
        return ", ".join(f"{i} {name}" for i, name in enumerate(self.classes))

    def label(self, wish: str | int) -> int:
        """The class of that name or number, which may be written as text.

        Raises ValueError naming those that there are.
        """
        if isinstance(wish, str) and wish in self.classes:
            return self.classes.index(wish)
        number = int(wish) if isinstance(wish, str) and wish.isdecimal() else wish
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(self.classes):
            return number
        raise ValueError(f"{self.attribute} has no label {wish!r}: give one of {self.meaning}")

    def shown(self, x: Tensor, sigma: float) -> tuple[Tensor, float]:
        """Pictures of 1 or 3 channels plus noise sigma as the network takes them, B 3 H W, with what sigma is
        then.
        """
        if self.luma and x.shape[1] == 3:
            x, sigma = grey(x), sigma * LUMA_NOISE
        return x.expand(-1, 3, -1, -1), sigma


@dataclass(frozen=True)
class AttributeTarget:
    """A classifier, the label for all pictures or one for each, and how much it weighs."""

    classifier: AttributeClassifier
    labels: tuple[int, ...]
    weight: float = 1.0

    def __post_init__(self):
        for label in self.labels:
            self.classifier.label(label)
        if not self.labels:
            raise ValueError(
                f"no label of {self.classifier.attribute} is wished for: give one, or one for each picture"
            )
        if not 0 <= self.weight < math.inf:
            raise ValueError(
                f"a weight of {self.weight} for {self.classifier.attribute} is outside 0 .. any: wish for "
                "the other label instead"
            )

    def of(self, which: slice, count: int) -> AttributeTarget:
        """The same for some of `count` pictures. Raises ValueError for another number of labels."""
        if len(self.labels) not in (1, count):
            raise ValueError(
                f"{count} pictures need one label of {self.classifier.attribute} or as many, not "
                f"{len(self.labels)}"
            )
        return self if len(self.labels) == 1 else replace(self, labels=self.labels[which])


def attribute_targets(
    classifiers: Sequence[AttributeClassifier],
    wanted: Mapping[str, str | int | Sequence[str | int]],
    weighing: Mapping[str, float] = MappingProxyType({}),
) -> list[AttributeTarget]:
    """Labels by attribute, one for all pictures or a list with one each, weighing 1 unless another weight is
    given, as wishes.

    Raises ValueError for attributes that no classifier tells or several do, and for labels that it does not
    know.
    """
    known = {c.attribute: c for c in classifiers}
    if len(known) < len(classifiers):
        raise ValueError(
            f"several classifiers tell one attribute ({', '.join(c.attribute for c in classifiers)}): give "
            "one for each"
        )
    for attribute in [*wanted, *weighing]:
        if attribute not in known:
            raise ValueError(
                f"no classifier tells {attribute!r}: choose from {', '.join(known) or 'none'}, or load one "
                "for it"
            )
    result = []
    for attribute, labels in wanted.items():
        several = labels if isinstance(labels, Sequence) and not isinstance(labels, str) else [labels]
        classifier = known[attribute]
        result.append(
            AttributeTarget(
                classifier, tuple(classifier.label(label) for label in several), weighing.get(attribute, 1.0)
            )
        )
    return result


def load_wishes(files: Sequence[str], attributes: str, weighing: str = "") -> list[AttributeTarget]:
    """What two texts wish for (see parse_wishes and parse_weights), told by classifiers in files, or without
    any by those that come along.
    """
    wanted = parse_wishes(attributes)
    return attribute_targets(
        [load_attribute(file) for file in files or (shipped_attributes() if wanted else ())],
        wanted,
        parse_weights(weighing),
    )


def parse_wishes(text: str) -> dict[str, str]:
    """`gender=male, beard=no beard` as labels by attribute.

    Raises ValueError, for labels that contradict each other too.
    """
    result: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        attribute, separator, label = (p.strip() for p in part.partition("="))
        if not separator or not attribute or not label:
            raise ValueError(
                f"{part!r} is no attribute with its label: write gender=male, glasses=eyeglasses"
            )
        if result.setdefault(attribute, label) != label:
            raise ValueError(
                f"{attribute} cannot be {result[attribute]!r} and {label!r} at once: give one label an "
                "attribute"
            )
    return result


def parse_weights(text: str) -> dict[str, float]:
    """`gender=2, beard=0.5` as weights by attribute. Raises ValueError."""
    try:
        return {attribute: float(weight) for attribute, weight in parse_wishes(text).items()}
    except ValueError as error:
        raise ValueError(
            f"{text!r} does not give attributes their weights: write gender=2, beard=0.5"
        ) from error


@dataclass(frozen=True)
class Reading:
    """What a classifier says of pictures: probabilities B K of its classes, in their order."""

    attribute: str
    classes: tuple[str, ...]
    probabilities: Tensor

    @property
    def labels(self) -> list[str]:
        """The likeliest class of each picture."""
        return [self.classes[i] for i in self.probabilities.argmax(1).tolist()]

    def describe(self, picture: int) -> str:
        """One line for people: gender: female 0.930, male 0.070."""
        parts = zip(self.classes, self.probabilities[picture].tolist(), strict=True)
        return f"{self.attribute}: " + ", ".join(f"{name} {p:.3f}" for name, p in parts)


@torch.no_grad()
def read_attributes(
    classifiers: Sequence[AttributeClassifier],
    pictures: Tensor,
    t: float = 0.01,
    view: ClassifierCrop | None = None,
    noise: Draw | None = None,
    schedule: ExplodingSchedule = ExplodingSchedule(),
) -> list[Reading]:
    """What B 3 H W or B 1 H W in 0..1 show, one reading a classifier.

    They see the noise of time t, that of seed 0 unless `noise` is given.

    view: the part of the pictures that they see; without one the pictures must have the classifiers' size.
    Raises ValueError.
    """
    check_pixels(pictures, "the picture")
    if not 0 <= t <= 1:
        raise ValueError(f"a time of {t} is outside 0 .. 1: 0.01 is nearly clean")
    sigma = schedule.sigma(t)
    noisy = pictures + sigma * (noise or Noise([0] * len(pictures)))(pictures.shape).to(pictures)
    readings = []
    for classifier in classifiers:
        seen, left = classifier.shown(noisy, sigma)
        if view is not None:
            seen, left = view(seen, left, classifier.network.config.image_size)
        logits = classifier.network(
            seen, torch.full((len(seen),), left, device=seen.device, dtype=torch.float32)
        )
        readings.append(Reading(classifier.attribute, classifier.classes, logits.softmax(1)))
    return readings


def load_attribute(name: str, attribute: str = "", judging: bool = False) -> AttributeClassifier:
    """The classifier in a weight file (a path, or a name in a model folder).

    judging: one that judges and never guides will do as well.

    Which attribute it tells comes from `attribute`, else from the file, else from its name (ckpt_gender).
    Raises ValueError.
    """
    path = weights.locate(name)
    judge = judging and weights.read_metadata(path).get("kind") == JUDGE
    with loaded_in(torch.float32):  # gradients of log probabilities are too small for half precision
        found = weights.load(path, JUDGE if judge else KIND)
    named = next((known for known in CLASSES if known in found.path.stem.lower()), "")
    attribute = attribute or found.metadata.get("attribute", "") or named
    if not attribute:
        raise ValueError(
            f"{found.path} does not say which attribute it tells: give one, such as {', '.join(CLASSES)}"
        )
    stored = found.metadata.get("classes", "")
    classes = tuple(stored.split(",")) if stored else CLASSES.get(attribute)
    if classes is None:
        raise ValueError(
            f"{found.path}: what the classes of attribute {attribute[:40]!r} mean is not known: choose one "
            f"of {', '.join(CLASSES)}"
        )
    with weights.building(found.path, "attribute classifier"):
        return AttributeClassifier(
            found.network, attribute, classes, found.metadata.get("channels") == "luma"
        )


def shipped_attributes() -> list[str]:
    """Names of the classifiers that come with the package."""
    return weights.shipped(KIND)
