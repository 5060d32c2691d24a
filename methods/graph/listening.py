"""What a ComfyUI server says of a run while it works, over its websocket."""

from __future__ import annotations

import io
import json
import logging
import time
from contextlib import ExitStack
from typing import Any

from PIL import Image

from .engine import Watch

log = logging.getLogger("priorsr")
OPENING = 5.0  # seconds for the websocket to be there
PICTURE, TITLED_PICTURE = 1, 4  # kinds of binary messages, of ComfyUI's protocol
ABSENT = 'steps and previews of a server need websockets: pip install "priorsr[server]"'


def library() -> tuple[Any, type[Exception]]:
    """What opens a websocket, and what it raises. Raises ImportError that says how the library is had."""
    try:
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect
    except ImportError as error:
        raise ImportError(ABSENT) from error
    return connect, WebSocketException


class Listener:
    """The websocket of one run, open for as long as the block lasts; closed or lost, it only waits.

    Hears of steps and previews of what `client` has queued. Raises ImportError without websockets, OSError
    where there is no websocket.
    """

    def __init__(self, url: str, client: str, watch: Watch):
        connect, mistake = library()
        self.watch = watch
        self._lost: tuple[type[Exception], ...] = (OSError, mistake)
        self._open = ExitStack()
        address = f"ws{url.removeprefix('http')}/ws?clientId={client}"
        try:
            opened = connect(address, open_timeout=OPENING, close_timeout=1, max_size=None, compression=None)
            self._socket: Any = self._open.enter_context(opened)
        except self._lost as error:
            raise OSError(str(error) or type(error).__name__) from error

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def hear(self, run: str, seconds: float) -> bool:
        """Pass on what is said for so long; True as soon as the run is said to have ended."""
        end = time.monotonic() + seconds
        while self._socket is not None and (left := end - time.monotonic()) > 0:
            try:
                message = self._socket.recv(timeout=left)
            except TimeoutError:
                return False
            except self._lost:
                self._socket = None  # whether the server is there is asked otherwise
                break
            if isinstance(message, bytes):
                self._see(message)
            elif self._told(message, run):
                return True
        time.sleep(max(0.0, end - time.monotonic()))
        return False

    def _told(self, message: str, run: str) -> bool:
        """Pass on a step; whether the message is the end of the run."""
        try:
            said = json.loads(message)
            kind, told = said["type"], said["data"]
            if told.get("prompt_id") != run:
                return False
            if kind == "executing":
                if told["node"] is None:
                    return True
                self.watch.step(str(told["node"]), 0, 0)
            elif kind == "progress":
                self.watch.step(str(told.get("node") or ""), int(told["value"]), int(told["max"]))
        except (ValueError, LookupError, TypeError, AttributeError):
            return False  # a kind of message that we do not know
        return False

    def _see(self, message: bytes) -> None:
        """Pass on a preview."""
        if self.watch.preview is None:
            return
        kind, more = int.from_bytes(message[:4], "big"), int.from_bytes(message[4:8], "big")
        if kind not in (PICTURE, TITLED_PICTURE):
            return
        content = message[8 + (more if kind == TITLED_PICTURE else 0) :]
        try:
            with Image.open(io.BytesIO(content)) as picture:
                self.watch.preview(picture.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            log.debug("a preview that is no picture")
