"""One result judged: every figure of a single picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

import torch
from torch import Tensor

from ..faces.align import cut, similarity, template
from ..faces.detect import colours, detect, largest
from ..faces.load import load_detector
from ..imaging.images import read
from ..imaging.resize import modcrop, resize, size_of
from ..metrics import perceptual
from ..metrics.compare import paired
from ..metrics.fidelity import METRICS, prepare, psnr, psnr_uint8_wraparound
from ..metrics.identity import FFHQ, SMALLEST, THRESHOLDS, TIGHT, Identity, identity_distance
from ..metrics.niqe import Statistics, niqe
from ..metrics.sharpness import gradient_energy, sharpness
from ..metrics.spectrum import BANDS, band_errors
from .figures import Figure
from .pairs import Job
from .protocol import Protocol

ALIGNED = 256  # pixels of a face that was looked for
EMBEDDING = "embedding"


@dataclass
class PictureJudge:
    """Figures of results by a protocol; model: of NIQE, the one that comes along by default."""

    protocol: Protocol
    figures: Sequence[Figure]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    model: Statistics | None = None

    def __post_init__(self):
        self.names = {one.name for one in self.figures}
        self.faces = any(one.faces for one in self.figures)
        frame = self.protocol.faces
        self.recogniser = Identity(TIGHT if frame == "tight" else FFHQ) if self.faces else None
        self.detector = load_detector() if self.faces and frame == "find" else None
        self.turn = Lock()  # of networks that keep a state while they run

    def __call__(self, job: Job) -> tuple[dict, str]:
        """Figures by name and, of a face, its embedding; and what could not be told of this picture.

        Raises ValueError and OSError for a picture that cannot be judged.
        """
        result = read(job.result).pixels
        truth = None if job.truth is None else self._true(read(job.truth).pixels)
        low = None if job.low is None else read(job.low).pixels
        return self.measure(result, truth, low)

    def measure(
        self, result: Tensor, truth: Tensor | None = None, low: Tensor | None = None
    ) -> tuple[dict, str]:
        """The same of pictures 1 C H W in 0..1, the truth cut already."""
        row: dict = {}
        if truth is not None:
            row |= self._fidelity(result, truth)
        if low is not None and "consistency" in self.names:
            row["consistency"] = self._consistency(result, low)
        if "niqe" in self.names:
            row["niqe"] = niqe(result, self.model)[0]
        row |= self._perceptual(result, truth)
        problem = self._identity(result, truth, row) if self.faces else ""
        return row, problem

    def embedding(self, path) -> tuple[list[float] | None, str]:
        """Whose face a picture of a reference or gallery shows, and why that cannot be told."""
        return self.shown(self._true(read(path).pixels))

    def shown(self, face: Tensor) -> tuple[list[float] | None, str]:
        """The same of a picture 1 C H W in 0..1."""
        row: dict = {}
        problem = self._identity(face, None, row)
        return row.get(EMBEDDING), problem

    def _true(self, x: Tensor) -> Tensor:
        return modcrop(x, round(self.protocol.scale)) if self.protocol.crop == "multiple" else x

    def _fidelity(self, result: Tensor, truth: Tensor) -> dict:
        whole, true = paired(result, truth)
        rounded = self.protocol.rounding == "8-bit"
        a, b = (prepare(x, self.protocol.colour, self.protocol.cut, rounded) for x in (whole, true))
        row = {name: METRICS[name](a, b)[0] for name in METRICS if name in self.names}
        if "psnr-wrapping" in self.names:
            levels = ((x * 255).round().to(torch.uint8) for x in (a, b))
            row["psnr-wrapping"] = float(psnr_uint8_wraparound(*levels))
        if self.names & set(BANDS):
            row |= {n: v for n, v in zip(BANDS, band_errors(a, b), strict=True) if n in self.names}
        if "sharpness" in self.names:
            flat = min(size_of(true)) < 2 or not gradient_energy(true).all()
            row["sharpness"] = None if flat else float(sharpness(whole, true))
        return row

    def _consistency(self, result: Tensor, low: Tensor) -> float:
        if any(r < n for r, n in zip(result.shape[-2:], low.shape[-2:], strict=True)):
            raise ValueError(f"the result ({_size(result)}) is smaller than its input ({_size(low)})")
        reduced = resize(
            result, size_of(low), method=self.protocol.kernel, border=self.protocol.kernel_border
        )
        return float(psnr(*paired(reduced.clamp(0, 1), low)))

    def _perceptual(self, result: Tensor, truth: Tensor | None) -> dict:
        row: dict = {}
        small = min(size_of(result)) < perceptual.SMALLEST
        for name in self.names & {"lpips-vgg", "lpips-alex", "dists", "clip-iqa", "arniqa"}:
            if small:
                row[name] = None
                continue
            x = result.to(self.device)
            if name in ("clip-iqa", "arniqa"):
                with self.turn:
                    row[name] = float((perceptual.clip_iqa if name == "clip-iqa" else perceptual.arniqa)(x))
            elif truth is not None:
                a, b = paired(x, truth.to(self.device))
                one = perceptual.dists(a, b) if name == "dists" else perceptual.lpips(a, b, name[6:])
                row[name] = float(one)
        return row

    def _identity(self, result: Tensor, truth: Tensor | None, row: dict) -> str:
        """Fill in what a face tells; why not, where there is none or it is too small."""
        shown = [result] if truth is None else [result, truth]
        if self.protocol.faces == "find":
            with self.turn:
                aligned = self._aligned(shown)
            if not aligned:
                return "no face was found"
            shown = aligned
        if min(size_of(shown[0])) < SMALLEST:
            return f"a face of {_size(shown[0])} is too small to tell whose it is: {SMALLEST} pixels at least"
        with self.turn:
            found = [self.recogniser(x) for x in shown] if self.recogniser else []
        row[EMBEDDING] = [round(v, 7) for v in found[0][0].tolist()]
        if len(found) > 1:
            distance = float(identity_distance(found[0], found[1], "cosine"))
            row |= {"identity": distance, "recognised": float(distance <= THRESHOLDS["cosine"])}
            row[f"true {EMBEDDING}"] = [round(v, 7) for v in found[1][0].tolist()]
        return ""

    def _aligned(self, shown: Sequence[Tensor]) -> list[Tensor]:
        """The largest face of the truth, or of a result without one, cut from all of them alike."""
        if self.detector is None:
            return []
        faces = detect(shown[-1], self.detector)[0].faces
        if not len(faces):
            return []
        marks = faces[[largest(faces, size_of(shown[-1]))]].landmarks
        matrix = similarity(marks, template(ALIGNED))
        return [cut(colours(x), matrix, ALIGNED) for x in shown]


def _size(x: Tensor) -> str:
    return f"{x.shape[-1]}x{x.shape[-2]}"
