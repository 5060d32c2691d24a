"""SRDG measured: what the strength of the guidance does to the attribute, to fidelity and to identity, on the
same faces and seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from ...samplers.hooks import ClipX0
from ...samplers.noise import Noise
from ..dps.sampling import DPSSettings, dps
from ..imaging.resize import Resampler, resize, size_of
from ..metrics import faces
from ..metrics.compare import side_by_side
from ..priors.adm import ADMPrior
from ..priors.ncsnpp import NCSNppPrior
from ..srdg.attributes import AttributeClassifier, AttributeTarget, read_attributes
from ..srdg.method import SRDGSettings, condition, enlarged, guidance_of, srdg_upscale
from ..train.classifier import Labelled, accuracies

KEPT = ("psnr", "ssim", "identity", "recognised", "lpips", "seconds")  # of a judge's figures
HARM = {
    "psnr": 0.1,
    "identity": -0.002,
}  # less PSNR than without guidance by so many dB, or more distance to the person, is harm
SLACK = 0.005  # a probability that falls by no more still counts as rising
SHOWN = 4  # faces of the sheet

Asked = tuple[int, ...] | None  # a label for each face, or no guidance
Guided = Callable[
    [Tensor, Sequence[int], Asked, float], Tensor
]  # small faces, a seed and a label for each, and h, to large faces
Report = Callable[[str], None]


@dataclass(frozen=True)
class LabelledFaces:
    """True faces N C S S in 0..1 and the class of each, by one attribute."""

    truth: Tensor
    labels: tuple[int, ...]
    classes: tuple[str, ...]

    @staticmethod
    def of(data: Labelled, classifier: AttributeClassifier, count: int = 0) -> LabelledFaces:
        """Faces whose label is known: the first `count` in such an order that the classes take turns, or all
        with 0. Raises ValueError.
        """
        if 0 < count < len(classifier.classes):
            raise ValueError(
                f"{count} faces cannot show {len(classifier.classes)} classes: give a count of "
                f"{len(classifier.classes)} or more"
            )
        labels, seen, turns = (
            data.labels[classifier.attribute].tolist(),
            dict.fromkeys(range(len(classifier.classes)), 0),
            [],
        )
        for i, label in enumerate(labels):
            turns.append((seen[label], label, i))
            seen[label] += 1
        chosen = [i for _, _, i in sorted(turns)][: count or None]
        return LabelledFaces(data.images[chosen] / 255, tuple(labels[i] for i in chosen), classifier.classes)

    def asked(self, true: bool) -> tuple[int, ...]:
        """The label to ask for of each face: its own, or the next, which of two is the other."""
        return self.labels if true else tuple((label + 1) % len(self.classes) for label in self.labels)


def by_network(
    prior: NCSNppPrior, classifier: AttributeClassifier, scale: int, settings: SRDGSettings
) -> Guided:
    """SRDG."""

    def restore(low: Tensor, seeds: Sequence[int], asked: Asked, h: float) -> Tensor:
        return srdg_upscale(
            prior, low, scale, _wanted(classifier, asked), replace(settings, h=h), seeds=seeds
        )

    return restore


def by_dps(
    prior: ADMPrior,
    classifier: AttributeClassifier,
    scale: int,
    settings: SRDGSettings,
    measurement: DPSSettings,
) -> Guided:
    """An unconditional prior held by posterior sampling, with the same hook.

    The operator is the reduction that the faces came by.
    """
    large = (prior.size, prior.size)
    operator = Resampler(large, (prior.size // scale, prior.size // scale), method="bilinear")

    def restore(low: Tensor, seeds: Sequence[int], asked: Asked, h: float) -> Tensor:
        hooks = guidance_of(prior, _wanted(classifier, asked), replace(settings, h=h))
        hooks = (
            (*hooks, ClipX0()) if hooks else ()
        )  # early steps take the predicted picture for much, and a push may leave its range
        return dps(prior, low * 2 - 1, operator, large, measurement, Noise(seeds), hooks) / 2 + 0.5

    return restore


def _wanted(classifier: AttributeClassifier, asked: Asked) -> list[AttributeTarget]:
    return [AttributeTarget(classifier, asked)] if asked else []


class AttributeMetrics:
    """Figures of restorations of some subjects: those of faces, and what a classifier that did not guide them
    sees.
    """

    def __init__(self, subjects: LabelledFaces, classifier: AttributeClassifier, t: float = 0.01):
        self.subjects, self.classifier, self.t, self.faces = (
            subjects,
            classifier,
            t,
            faces.FaceMetrics(subjects.truth),
        )

    def run(self, restore: Guided, low: Tensor, asked: Asked, h: float) -> tuple[Tensor, dict[str, float]]:
        """All faces, face i with seed i, and their figures."""

        def part(x: Tensor, seeds: Sequence[int]) -> Tensor:  # seeds number the faces
            return restore(x, seeds, asked and tuple(asked[i] for i in seeds), h)

        restored, figures = self.faces.run(part, low)
        return restored, {name: figures[name] for name in KEPT if name in figures}

    def opinion(self, restored: Tensor, asked: tuple[int, ...]) -> dict[str, float]:
        """The mean probability of the label asked for, of all faces and of those asked for each class, and
        how often it is the likeliest.
        """
        noise = Noise(range(len(restored)))
        (reading,) = read_attributes([self.classifier], restored, self.t, noise=noise)
        labels = torch.tensor(asked, device=restored.device)
        found = reading.probabilities.gather(1, labels[:, None])[:, 0]
        agreed = (reading.probabilities.argmax(1) == labels).float().mean()
        by_class = {
            f"asked {name}": round(float(found[labels == k].mean()), 3)
            for k, name in enumerate(self.subjects.classes)
        }
        return {"probability": round(float(found.mean()), 3), **by_class, "agreed": round(float(agreed), 3)}


def strengths(
    jury: AttributeMetrics,
    low: Tensor,
    methods: Mapping[str, Guided],
    values: Sequence[float],
    at: dict,
    report: Report = lambda message: None,
) -> tuple[list[dict], Tensor]:
    """Rows for bicubic and for each method, label (true, opposite) and h; and a sheet of the first faces by
    method: the small face, from the hardest pull to the opposite label over none to the hardest to the true
    one, the truth.

    values: of h, ascending, 0 among them. at: what the rows say of where they belong.
    """
    subjects, size, pictures = jury.subjects, size_of(jury.subjects.truth), []
    bicubic, figures = jury.run(lambda x, seeds, asked, h: resize(x, size).clamp(0, 1), low, None, 0.0)
    rows = [
        {
            **at,
            "method": "bicubic",
            "asked": "true",
            "h": "",
            **jury.opinion(bicubic, subjects.asked(True)),
            **figures,
        }
    ]
    for name, restore in methods.items():
        shown, free = {}, jury.run(restore, low, None, 0.0)
        for true in (True, False):
            asked, who = subjects.asked(true), "true" if true else "opposite"
            for h in values:
                restored, figures = jury.run(restore, low, asked, h) if h else free
                rows.append(
                    {**at, "method": name, "asked": who, "h": h, **jury.opinion(restored, asked), **figures}
                )
                shown[h if true else -h] = restored[:SHOWN]
                where = ", ".join(f"{key} {value}" for key, value in at.items())
                report(
                    f"{where}, {name}, {who} h {h:g}: probability {rows[-1]['probability']:.3f}, "
                    f"{figures['psnr']:.2f} dB"
                )
        columns = [
            resize(low[:SHOWN], size, method="nearest"),
            *(shown[h] for h in sorted(shown)),
            subjects.truth[:SHOWN],
        ]
        pictures += [side_by_side(list(row), height=2 * size[0]) for row in torch.stack(columns, 1).cpu()]
    return rows, torch.cat(pictures, 1)[None]


def effects(rows: Sequence[dict], keys: Sequence[str]) -> list[dict]:
    """For each method and label, told apart by `keys`: the probability without guidance and with the most,
    whether it only rises, and the first h that harms, with what it harms. Harm is HARM in the mean over the
    faces, against the same faces without guidance.
    """
    found: dict[tuple, list[dict]] = {}
    for row in rows:
        if row["h"] != "":
            found.setdefault(tuple(row[key] for key in keys), []).append(row)
    result = []
    for key, group in found.items():
        seen = [row["probability"] for row in group]
        harmed = (
            (row["h"], name)
            for row in group
            for name, most in HARM.items()
            if name in row and (group[0][name] - row[name]) / most > 1
        )
        h, what = next(harmed, ("none", ""))
        rising = "yes" if all(b >= a - SLACK for a, b in pairwise(seen)) else "no"
        told = {"free": seen[0], "strongest": seen[-1], "rising": rising, "harm at h": h, "of": what}
        result.append(dict(zip(keys, key, strict=True)) | told)
    return result


def readings(
    classifiers: Mapping[str, AttributeClassifier], data: Labelled, scales: Sequence[int]
) -> list[dict]:
    """Balanced accuracy of classifiers by time, on true faces and on small ones enlarged, of which attributes
    would be read.
    """
    rows = []
    for scale in (1, *scales):
        clean = data.images / 255
        seen = clean if scale == 1 else enlarged(condition(clean, scale), size_of(clean))
        for name, classifier in classifiers.items():
            found = accuracies({classifier.attribute: classifier.network}, Labelled(seen * 255, data.labels))
            shown = "true faces" if scale == 1 else f"x{scale} enlarged"
            rows.append(
                {
                    "pictures": shown,
                    "classifier": name,
                    **{f"t {t:g}": round(a, 3) for t, a in found[classifier.attribute].items()},
                }
            )
    return rows
