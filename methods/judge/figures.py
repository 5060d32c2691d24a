"""Every figure that results can be judged by: what it needs, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass

from ..metrics.backbones import REQUIREMENTS, missing
from ..metrics.identity import available
from ..settings import nearest


@dataclass(frozen=True)
class Figure:
    """A figure of results.

    needs: what is compared with: truth, inputs, people (whom pictures show), a set (of truths or of a
    reference), runs (by those who make results). faces: whether of faces only. of_set: of
    all pictures together. better: high, low or one. smallest: pictures that it is defined for, where not all
    are. asked: computed only where it is named.
    """

    name: str
    about: str
    needs: tuple[str, ...] = ()
    better: str = "low"
    digits: int = 4
    faces: bool = False
    of_set: bool = False
    median: bool = False
    backbone: str = ""
    smallest: str = ""
    asked: bool = False

    def lacks(self, given: frozenset[str]) -> str | None:
        """What is missing to compute it here, with the cure; given: truth, inputs, ... and faces."""
        for need in (*self.needs, *(["faces"] if self.faces else [])):
            if need not in given:
                return CURES[need]
        if self.faces and (absent := available()):
            return absent
        lacking = missing(self.backbone) if self.backbone else None
        return lacking.removeprefix(f"{self.backbone} ") if lacking else None


CURES = {
    "truth": "needs the true pictures: --truth DIR",
    "inputs": "needs the pictures that the results were made from: --inputs DIR",
    "set": "needs true pictures, or others of their kind: --truth DIR or --reference DIR",
    "people": "needs whom each picture shows: --identities TABLE.csv (columns file and identity), and "
    "--truth DIR or --gallery DIR",
    "runs": "is known to those who make the results: priorsr evaluate study",
    "faces": "is of faces: say how they are framed, --faces tight, ffhq or find",
}
FIGURES = {
    one.name: one
    for one in (
        Figure("psnr", "dB", ("truth",), "high", 2),
        Figure("psnr-wrapping", "dB of wrapping 8 bits, of no meaning", ("truth",), "high", 2, asked=True),
        Figure("ssim", "1 is equal", ("truth",), "high", smallest="11 x 11"),
        Figure("mae", "levels of 255", ("truth",), "low", 2),
        Figure("sharpness", "gradient energy over the truth's, median", ("truth",), "one", 2, median=True),
        Figure("consistency", "dB of the reduced result to its input", ("inputs",), "high", 1),
        Figure("identity", "cosine distance of embeddings", ("truth",), faces=True),
        Figure("recognised", "share within the threshold", ("truth",), "high", 3, faces=True),
        *(
            Figure(name, "distance", ("truth",), backbone=name, smallest="32 x 32")
            for name in ("lpips-vgg", "lpips-alex", "dists")
        ),
        Figure("niqe", "distance to good photographs", smallest="192 x 96"),
        *(
            Figure(name, "1 is best", (), "high", backbone=name, smallest="32 x 32")
            for name in ("clip-iqa", "arniqa")
        ),
        Figure("frechet", "of embeddings, not FID", ("set",), faces=True, of_set=True),
        *(Figure(name, "of sets", ("set",), of_set=True, backbone=name) for name in ("fid", "kid")),
        Figure("auc", "1:1, area under the ROC", ("people",), "high", faces=True, of_set=True),
        Figure("eer", "1:1, equal error rate", ("people",), faces=True, of_set=True),
        *(
            Figure(f"rank-{k}", "1:N, share", ("people",), "high", 3, faces=True, of_set=True)
            for k in (1, 5, 10)
        ),
        Figure("low-error", "levels of 255, what x4 keeps", ("truth",), "low", 2, asked=True),
        Figure("high-error", "levels of 255, what x4 loses", ("truth",), "low", 2, asked=True),
        Figure("diversity", "levels of 255, between seeds", ("runs",), "high", 2, asked=True),
        Figure("seconds", "a picture, on this machine", ("runs",), "low", 2, asked=True),
    )
}


def chosen(metrics: tuple[str, ...], given: frozenset[str]) -> tuple[list[Figure], dict[str, str]]:
    """The figures to compute, and what those lack that cannot be; metrics: names, () for all that there are
    but those that must be asked for.

    Raises ValueError for a name that is none.
    """
    if unknown := [name for name in metrics if name not in FIGURES]:
        raise ValueError(f"there is no metric {unknown[0]!r}{nearest(unknown[0], list(FIGURES))}")
    wanted = [FIGURES[name] for name in metrics] or [one for one in FIGURES.values() if not one.asked]
    lacks = {one.name: why for one in wanted if (why := one.lacks(given))}
    if not metrics:
        lacks["musiq"] = missing("musiq") or ""
    return [one for one in wanted if one.name not in lacks], lacks


def backbones(figures: list[Figure]) -> dict[str, str]:
    """The weight files of other people's networks that figures use, by the figure."""
    return {one.name: str(REQUIREMENTS[one.backbone].file) for one in figures if one.backbone}
