"""A clip, frame by frame, in constant memory: sound and time stamps stay, every frame has the same seed.

Frames are enlarged and encoded in segments, which an interrupted run leaves for the next one; then segments
and sound are joined. No frame is stored before an earlier one (no B-frames), so that segments can follow each
other.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from fractions import Fraction
from heapq import merge
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ... import __version__
from .. import weights
from ..imaging.images import Picture, check_writable, read, to_uint8, write
from ..imaging.replacing import replacing
from .folder import Job, Outcome, check_output
from .segments import Segments, pyav, saying, segments_of
from .tally import Tally, log

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
READ = {*FORMATS, ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv"}  # names that are taken for clips
CODEC, WEBM = ("libx264", {"crf": "14", "bf": "0"}), ("libvpx-vp9", {"crf": "16", "b": "0"})
ABOUT = "methods work on each frame alone, with the same noise: what they invent may flicker"
BT709 = 1  # of ITU-T H.273: the colours of the results
TELLING = ("json", "json_lines", "overwrite", "destination")  # options that change no frame

Work = Callable[[Picture, Job], "tuple[Picture, dict]"]


def add_video(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--frames",
        metavar="DIR",
        help="of a video, keep each enlarged frame here as PNG too; a further run takes them from there",
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
    pyav()
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
    check_output(target, [source], options.overwrite)
    with segments_of(source, target, _settings(source, options), options.overwrite) as segments:
        with closing(_opened(source)) as clip:
            reader = _Clip(clip, source, target)
            if segments.count:
                log.info("%s: goes on after frame %d, where an earlier run ended", source, segments.count)
            frames = reader.frames(on_frame)
            done = sum(1 for _ in islice(frames, segments.count))
            if done < segments.count:
                raise ValueError(f"{source} has fewer frames than before: run the same command again")

            def pictures() -> Iterator[tuple[np.ndarray, Any]]:
                shape = segments.shape()
                for number, frame in enumerate(frames, done):
                    samples = _enlarged(frame, number, source, target, options, work)
                    shape = shape or samples.shape
                    if samples.shape != shape:
                        raise ValueError(f"{source} has frames of several sizes: cut it where they change")
                    yield samples, frame

            segments.add(pictures(), lambda container, samples: reader.stream(container, samples.shape[:2]))
            reader.check_end()
        if not segments.count:
            raise ValueError(f"{source} holds no frame that can be read")
        with replacing(target, options.overwrite) as partial, closing(_opened(source)) as clip:
            _Clip(clip, source, target).join(segments, partial)
        return segments.count


def _settings(source: Path, options: argparse.Namespace) -> str:
    """What decides the frames: options, files that they name as they are now, the clip, this version."""
    plain = (str, int, float, bool, list, type(None))
    values = {k: v for k, v in vars(options).items() if k not in TELLING and isinstance(v, plain)}
    named = [one for v in values.values() for one in (v if isinstance(v, list) else [v])]
    files = {path: (path.stat().st_size, path.stat().st_mtime_ns) for one in named if (path := _file(one))}
    files[source] = (source.stat().st_size, source.stat().st_mtime_ns)
    return repr((sorted(values.items()), sorted(files.items()), __version__))


def _file(value: object) -> Path | None:
    """The file that an option names: as it is, or among the weights."""
    if not isinstance(value, str) or not value:
        return None
    try:
        path = Path(value) if os.path.isfile(value) else weights.locate(value)
    except (ValueError, OSError):
        return None
    return path if path.is_file() else None


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


class _Clip:
    """A clip that is read, and the container that its result goes into.

    Raises ValueError where there is no video, or what it holds does not fit into the result.
    """

    def __init__(self, clip: Any, source: Path, target: Path):
        if not clip.streams.video:
            raise ValueError(f"{source} holds no video: give a clip, or a picture")
        self.clip, self.source, self.target = clip, source, target
        self.video = clip.streams.video[0]
        self.format = FORMATS[target.suffix.lower()]
        self.rate = self.video.average_rate or Fraction(25)
        self.count, self.last = 0, 0.0  # frames, and the second of the last one
        with closing(pyav().open(BytesIO(), "w", format=self.format)) as trial:
            self._begin(trial, (self.video.height or 2, self.video.width or 2))

    def frames(self, on_frame: Callable[[], object]) -> Iterator[Any]:
        """Frames, one at a time."""
        try:
            for frame in self.clip.decode(self.video):
                self.count += 1
                self.last = max(self.last, frame.time or 0.0)
                yield frame
                on_frame()
        except pyav().error.FFmpegError as error:
            where = f"is broken after frame {self.count}" if self.count else "cannot be read"
            raise ValueError(f"{self.source} {where}: {error.strerror}. Repair it") from error

    def stream(self, container: Any, size: tuple[int, int]) -> Any:
        """A stream of results in a container, from whose settings alone it is encoded: the same anywhere."""
        name, options = WEBM if self.target.suffix.lower() == ".webm" else CODEC
        made = container.add_stream(name, rate=self.rate, options=options)
        context = made.codec_context
        context.height, context.width = size
        context.pix_fmt = "yuv420p" if size[0] % 2 == size[1] % 2 == 0 else "yuv444p"
        context.time_base = made.time_base = self.video.time_base
        context.thread_count = 1  # the same bytes on any number of cores
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = 1
        return made

    def _begin(self, container: Any, size: tuple[int, int]) -> tuple[Any, dict[int, Any]]:
        """The streams of a result, after its header is written: of pictures, and by index those of sound."""
        made = self.stream(container, size)
        try:
            sound = {one.index: container.add_stream_from_template(one) for one in self.clip.streams.audio}
            container.start_encoding()
        except ValueError as error:
            raise ValueError(
                f"what {self.source} holds does not fit into {self.target.name}: {error}. Choose a name that "
                "ends in .mkv"
            ) from error
        return made, sound

    def check_end(self) -> None:
        """Say what of the clip is not in the result."""
        length = self.video.duration and float(self.video.duration * self.video.time_base)
        length = length or float(self.clip.duration or 0) / 1e6
        if length - self.last > max(1.0, 2 / float(self.rate)):
            log.warning("%s ends after %.1f of %.1f seconds: it is cut", self.source, self.last, length)
        if other := len(self.clip.streams) - 1 - len(self.clip.streams.audio):
            log.warning("%s: %d further streams, such as subtitles, are left out", self.source, other)

    def join(self, segments: Segments, partial: Path) -> None:
        """Write the result: what is encoded, and the sound as it is, in the order of their times."""
        with closing(pyav().open(str(partial), "w", format=self.format)) as result:
            height, width, _ = segments.shape() or (0, 0, 0)
            made, sound = self._begin(result, (height, width))
            heard = self.clip.demux(*self.clip.streams.audio) if sound else ()
            pictures = ((packet, made) for packet in segments.packets())
            sounds = ((one, sound[one.stream.index]) for one in heard if one.dts is not None)
            with saying(f"{self.source} cannot be joined into {self.target.name}"):
                for packet, stream in merge(pictures, sounds, key=lambda one: one[0].dts * one[0].time_base):
                    packet.stream = stream
                    result.mux(packet)


def _opened(source: Path) -> Any:
    """Raises ValueError for what is no clip."""
    try:
        return pyav().open(str(source))
    except pyav().error.FFmpegError as error:
        raise ValueError(
            f"{source} cannot be read: {error.strerror}. Repair it, or give another clip"
        ) from error
