"""A clip, frame by frame, in constant memory: sound and time stamps stay, every frame has the same seed."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..imaging.images import Picture, check_writable, read, to_uint8, write
from ..imaging.replacing import replacing
from .folder import Job, Outcome, check_output
from .tally import Tally, log

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
READ = {*FORMATS, ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv"}  # names that are taken for clips
CODEC, WEBM = ("libx264", {"crf": "14"}), ("libvpx-vp9", {"crf": "16", "b": "0"})
ABOUT = "methods work on each frame alone, with the same noise: what they invent may flicker"
BT709 = 1  # of ITU-T H.273: the colours of the results

Work = Callable[[Picture, Job], "tuple[Picture, dict]"]


def add_video(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--frames",
        metavar="DIR",
        help="of a video, keep each enlarged frame here as PNG; an interrupted run resumes from them",
    )


def is_video(path: str | Path) -> bool:
    """Whether a file's name is that of a clip."""
    return Path(path).suffix.lower() in READ


def check_video(options: argparse.Namespace) -> None:
    """See before any weights are loaded whether a clip can be done.

    Raises ValueError, FileNotFoundError, FileExistsError, and ImportError without PyAV.
    """
    source, target = Path(options.source), Path(options.destination)
    if options.workers or options.shard or options.cluster:
        raise ValueError(
            f"{source} is a video, which one process works on: leave out --workers, --shard and --cluster"
        )
    if not source.is_file():
        raise FileNotFoundError(f"there is no file at {source}")
    if target.suffix.lower() not in FORMATS:
        raise ValueError(f"{target} is no name of a video: choose one that ends in {', '.join(FORMATS)}")
    _av()
    check_output(target, [source], options.overwrite)
    if options.frames:
        check_writable(Path(options.frames) / "00000000.png")


def run_video(options: argparse.Namespace, work: Work) -> int:
    """Enlarge a clip; the exit code. work: what it does with a picture."""
    source, target = Path(options.source), Path(options.destination)
    log.info("%s", ABOUT)
    tally, start = Tally(options, 1, single=True), time.perf_counter()
    try:
        with tqdm(unit="frame", disable=None) as bar:
            count = _convert(source, target, options, bar.update, work)
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        message = str(error) if str(source) in str(error) else f"{source}: {error}"
        outcome = Outcome(str(source), str(target), "failed", message)
    else:
        seconds = round(time.perf_counter() - start, 3)
        outcome = Outcome(str(source), str(target), "written", "", seconds, {"frames": count})
    tally.add(outcome)
    return tally.finish(())


def _convert(
    source: Path, target: Path, options: argparse.Namespace, on_frame: Callable[[], object], work: Work
) -> int:
    """The number of frames. Raises ValueError for a clip that is broken."""
    av = _av()
    count = 0
    with replacing(target, options.overwrite) as partial:
        try:
            with (
                closing(av.open(str(source))) as clip,
                closing(av.open(str(partial), "w", format=FORMATS[target.suffix.lower()])) as result,
            ):
                writer = _Writer(clip, result, source, target)
                for frame in writer.frames():
                    writer.write(_enlarged(frame, count, source, target, options, work), frame)
                    count += 1
                    on_frame()
                writer.finish()
        except av.error.FFmpegError as error:
            what = "cannot be read" if not count else f"is broken after frame {count}"
            raise ValueError(
                f"{source} {what}, or what it holds does not fit into {target.name}: {error.strerror}. "
                "Repair it, or choose a name that ends in .mkv"
            ) from error
        if not count:
            raise ValueError(f"{source} holds no frame that can be read")
    return count


def _enlarged(
    frame: Any, number: int, source: Path, target: Path, options: argparse.Namespace, work: Work
) -> np.ndarray:
    """A frame as H W 3 bytes, worked on or found where an earlier run has kept it."""
    kept = Path(options.frames) / f"{number:08}.png" if options.frames else None
    if kept and kept.is_file() and not options.overwrite:
        pixels = read(kept).pixels
    else:
        samples = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
        pixels = torch.from_numpy(samples.copy()).movedim(-1, 0)[None].float() / 255
        picture, _ = work(Picture(pixels), Job(source, kept or target.with_suffix(".png")))
        if kept:
            write(picture, kept, options.overwrite)
        pixels = picture.pixels
    return to_uint8(pixels.expand(-1, 3, -1, -1))[0].movedim(0, -1).contiguous().numpy()


class _Writer:
    """What goes from one container into the other: frames that were worked on, sound as it is."""

    def __init__(self, clip: Any, result: Any, source: Path, target: Path):
        if not clip.streams.video:
            raise ValueError(f"{source} holds no video: give a clip, or a picture")
        self.clip, self.result, self.source = clip, result, source
        self.video, self.shape = clip.streams.video[0], None
        name, options = WEBM if target.suffix.lower() == ".webm" else CODEC
        self.rate = self.video.average_rate or Fraction(25)
        self.made = result.add_stream(name, rate=self.rate, options=options)
        self.sound = {one.index: result.add_stream_from_template(one) for one in clip.streams.audio}
        self.early: list[Any] = []
        self.last = 0.0  # second of the last frame
        other = len(clip.streams) - 1 - len(self.sound)
        if other:
            log.warning("%s: %d further streams, such as subtitles, are left out", source, other)

    def frames(self) -> Iterator[Any]:
        """Frames of the clip, one at a time; sound goes over in between."""
        for packet in self.clip.demux(self.video, *self.clip.streams.audio):
            if packet.stream.index == self.video.index:
                yield from packet.decode()
            elif packet.dts is not None:
                packet.stream = self.sound[packet.stream.index]
                self.early.append(packet)
            if self.shape is not None:  # before the first frame it is not known what the header says
                while self.early:
                    self.result.mux(self.early.pop(0))

    def write(self, samples: np.ndarray, origin: Any) -> None:
        av = _av()
        if self.shape is None:
            self._begin(samples.shape[:2])
        if samples.shape != self.shape:
            raise ValueError(f"{self.source} has frames of several sizes: cut it where they change")
        frame = av.VideoFrame.from_ndarray(samples, format="rgb24").reformat(
            format=self.made.codec_context.pix_fmt, dst_colorspace=BT709, dst_color_range=1
        )
        self.last = max(self.last, origin.time or 0.0)
        frame.pts, frame.time_base = origin.pts, origin.time_base
        self.result.mux(self.made.encode(frame))

    def _begin(self, size: tuple[int, int]) -> None:
        context = self.made.codec_context
        context.height, context.width = size
        even = size[0] % 2 == size[1] % 2 == 0
        context.pix_fmt = "yuv420p" if even else "yuv444p"
        context.time_base = self.made.time_base = self.video.time_base
        context.thread_count = 1  # the same bytes on any number of cores
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = 1
        self.shape = (*size, 3)

    def finish(self) -> None:
        """The end of the clip: what the encoder still holds, and whether all of the clip was there."""
        length = self.video.duration and float(self.video.duration * self.video.time_base)
        length = length or float(self.clip.duration or 0) / 1e6
        if length - self.last > max(1.0, 2 / float(self.rate)):
            log.warning("%s ends after %.1f of %.1f seconds: it is cut", self.source, self.last, length)
        if self.shape is not None:
            for packet in [*self.early, *self.made.encode(None)]:
                self.result.mux(packet)


def _av() -> Any:
    """PyAV. Raises ImportError that says how it is had."""
    try:
        import av
    except ImportError as error:
        raise ImportError('videos need PyAV: pip install "priorsr[video]"') from error
    return av
