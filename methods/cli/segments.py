"""What is done of a clip, in segments of frames that survive the process: a further run goes on from them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ..imaging.replacing import replacing
from .claims import Claims
from .folder import Job
from .tally import log

LENGTH = 50  # frames of a segment
FORMAT = "nut"  # which keeps packets and time stamps as they are

Encoder = Callable[[Any, Any], Any]  # of a container, and of the first frame: an encoded stream in it


class Segments:
    """The segments of a result: files in a hidden folder beside it, whose name tells the settings of the run.

    What earlier runs with other settings have left of the same result is removed.
    """

    def __init__(self, target: Path, settings: str):
        name = hashlib.sha256(target.name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        digest = hashlib.sha256(settings.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self.folder = target.with_name(f".priorsr-{name}-{digest}.clip")
        for other in target.parent.glob(f".priorsr-{name}-*.clip"):
            if other != self.folder:
                log.info("%s: removed what a run with other settings has left unfinished", target)
                shutil.rmtree(other, ignore_errors=True)
        self.files: list[Path] = []
        self.count = 0  # frames in them
        while (path := self._next()).is_file():
            self.files.append(path)
            self.count += sum(1 for _ in packets(path))

    def add(self, frames: Iterator[tuple[Any, Any]], encoder: Encoder) -> None:
        """Encode pictures, each with the frame that it was made of, until there is none."""
        while (first := next(frames, None)) is not None:
            path, count = self._next(), 0
            what = f"pictures of {first[0].shape[1]} x {first[0].shape[0]} cannot be encoded"
            with (
                replacing(path) as partial,
                saying(what),
                closing(pyav().open(str(partial), "w", format=FORMAT)) as container,
            ):
                stream = encoder(container, first[0])
                for picture, origin in chain([first], islice(frames, LENGTH - 1)):
                    container.mux(stream.encode(_frame(stream, picture, origin)))
                    count += 1
                container.mux(stream.encode(None))
            self.files.append(path)
            self.count += count

    def packets(self) -> Iterator[Any]:
        """All that was encoded, in its order."""
        for path in self.files:
            yield from packets(path)

    def shape(self) -> tuple[int, int, int] | None:
        """H, W and 3 of what is encoded already."""
        if not self.files:
            return None
        with closing(pyav().open(str(self.files[0]))) as container:
            return container.streams.video[0].height, container.streams.video[0].width, 3

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _next(self) -> Path:
        return self.folder / f"{self.count:08}.nut"


def packets(path: Path) -> Iterator[Any]:
    """The packets of a segment."""
    with closing(pyav().open(str(path))) as container:
        for packet in container.demux(video=0):
            if packet.size:
                yield packet


@contextmanager
def segments_of(source: Path, target: Path, settings: str, overwrite: bool) -> Iterator[Segments]:
    """The segments of a clip, claimed: no other process works on them. They go when the block ends, unless it
    was interrupted when some were whole, or failed for reasons that are not the clip's (a ValueError).

    Raises ValueError where another process is at it.
    """
    with ExitStack() as stack:
        claims = Claims()
        stack.callback(claims.close)
        if not claims.hold(Job(source, target), overwrite):
            raise ValueError(f"another process is making {target}: wait for it, or choose another name")
        segments = Segments(target, settings)
        try:
            yield segments
        except ValueError:
            segments.remove()
            raise
        except BaseException:
            if not segments.files:
                segments.remove()
            else:
                log.info("%d frames are kept: the same command goes on after them", segments.count)
            raise
        segments.remove()


def _frame(stream: Any, samples: Any, origin: Any) -> Any:
    """Samples H W 3 at the time of the frame that they were made of."""
    context = stream.codec_context
    frame = (
        pyav()
        .VideoFrame.from_ndarray(samples, format="rgb24")
        .reformat(
            format=context.pix_fmt, dst_colorspace=context.colorspace, dst_color_range=context.color_range
        )
    )
    frame.pts, frame.time_base = origin.pts, origin.time_base
    return frame


@contextmanager
def saying(text: str) -> Iterator[None]:
    """What FFmpeg refuses in a block is a ValueError of this text and its reason; what the system refuses,
    such as to write on a full disk, stays an OSError.
    """
    mistake = pyav().error.FFmpegError
    try:
        yield
    except mistake as error:
        if isinstance(error, OSError):
            raise
        raise ValueError(f"{text}: {getattr(error, 'strerror', None) or error}") from error


def pyav() -> Any:
    """PyAV. Raises ImportError that says how it is had."""
    try:
        import av
    except ImportError as error:
        raise ImportError('videos need PyAV: pip install "priorsr[video]"') from error
    return av
