"""Graphs run by a ComfyUI server: pictures are sent, the graph is queued, its results are fetched."""

from __future__ import annotations

import json
import logging
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from http.client import HTTPException
from types import MappingProxyType
from typing import Any

from .definitions import from_object_info
from .engine import Watch
from .hosts import FOLDER, METHOD, Gone, HostEngine, failure, refusal
from .listening import Listener

log = logging.getLogger("priorsr")

TIMEOUT = 60.0  # seconds for an answer
JSON = MappingProxyType({"Content-Type": "application/json"})
NONE: Mapping = MappingProxyType({})
PATIENCE = 10.0  # seconds that a server may be away while it works
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5  # seconds between two looks at a queue


class Server(HostEngine):
    """A ComfyUI at an address, such as http://127.0.0.1:8188. Raises Gone where there is none."""

    def __init__(self, url: str):
        super().__init__()
        url = url if "://" in url else f"http://{url}"
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"{url} is no address of a ComfyUI: give one such as http://127.0.0.1:8188")
        self.url = url.rstrip("/")
        self._silent = False
        try:
            self.definitions = from_object_info(self._json("/object_info"))
        except (OSError, HTTPException, ValueError, AttributeError, TypeError) as error:
            reason = _reason(error.__cause__ if isinstance(error, Gone) and error.__cause__ else error)
            raise Gone(
                f"there is no ComfyUI at {self.url} ({reason}): start it, or mend the address"
            ) from error

    def _give(self, name: str, content: bytes) -> str:
        mark = uuid.uuid4().hex
        parts = {"type": "temp", "subfolder": FOLDER, "overwrite": "true"}
        body = b"".join(
            f'--{mark}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
            for key, value in parts.items()
        )
        head = f'--{mark}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        body += f"{head}Content-Type: image/png\r\n\r\n".encode() + content + f"\r\n--{mark}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={mark}"}
        told = json.loads(self._asked("/upload/image", body, kind))
        return f"{told['subfolder']}/{told['name']} [{told['type']}]"

    def _outputs(self, nodes: dict[str, Any], watch: Watch) -> dict[str, dict]:
        # one for each run: a server that hears late of a socket's end forgets the next of the same name
        asked: dict[str, Any] = {"prompt": nodes, "client_id": uuid.uuid4().hex}
        if watch.preview is not None:
            asked["extra_data"] = {"preview_method": METHOD}
        with self._listener(asked["client_id"], watch) as listener:
            return self._ran(nodes, json.dumps(asked).encode(), listener)

    def _ran(self, nodes: Mapping, body: bytes, listener: Listener | None) -> dict[str, dict]:
        try:
            prompt = json.loads(self._asked("/prompt", body, JSON))["prompt_id"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{self.url}: {_refused(nodes, error)}") from error
        try:
            entry = self._waited(prompt, listener)
        except BaseException:
            self._withdraw(prompt)
            raise
        status = entry.get("status") or {}
        if status.get("status_str", "success") != "success":
            raise ValueError(f"{self.url}: {failure(nodes, status.get('messages') or [])}")
        return entry["outputs"]

    def _listener(self, client: str, watch: Watch) -> AbstractContextManager:
        """What hears the server for one run; nothing where it cannot be heard, which is said once."""
        if not self._silent:
            try:
                return Listener(self.url, client, watch)
            except ImportError as error:
                log.info("%s; its history is asked for results instead", error)
            except OSError as error:
                log.warning(
                    "%s shows no steps, for its websocket does not answer (%s); its history is asked for "
                    "results instead",
                    self.url,
                    error,
                )
            self._silent = True
        return nullcontext()

    def _waited(self, prompt: str, listener: Listener | None) -> dict:
        """The entry of a run in the server's history, once it is there."""
        pause, missing = FIRST_PAUSE, 0
        while True:
            if listener is None:
                time.sleep(pause)
            elif listener.hear(prompt, pause):
                pause = FIRST_PAUSE
            history = self._json(f"/history/{prompt}")
            if prompt in history:
                return history[prompt]
            missing = 0 if self._place(prompt) else missing + 1
            if missing > 2:  # it was neither waiting nor done, several times
                raise Gone(f"{self.url} has lost the run: it was started anew, or its queue was cleared")
            pause = min(LONGEST_PAUSE, pause * 1.3)

    def _place(self, prompt: str) -> str:
        """In which queue a run is."""
        queues = self._json("/queue")
        return next((name for name, runs in queues.items() if any(prompt == run[1] for run in runs)), "")

    def _withdraw(self, prompt: str) -> None:
        """Take a run out of the queue that nobody waits for any more."""
        try:
            if self._place(prompt) == "queue_running":
                self._asked("/interrupt", json.dumps({"prompt_id": prompt}).encode(), JSON, patience=0)
            else:
                self._asked("/queue", json.dumps({"delete": [prompt]}).encode(), JSON, patience=0)
        except (OSError, HTTPException, ValueError):
            return  # it is gone

    def _fetch(self, image: Mapping) -> bytes:
        query = {key: image.get(key, "") for key in ("filename", "subfolder", "type")}
        return self._asked(f"/view?{urllib.parse.urlencode(query)}")

    def _json(self, path: str) -> Any:
        return json.loads(self._asked(path))

    def _asked(
        self, path: str, body: bytes | None = None, headers: Mapping = NONE, patience: float | None = None
    ) -> bytes:
        """The answer, asked for again while the server is away for moments. Raises Gone and HTTPError."""
        patience = PATIENCE if patience is None else patience
        end = time.monotonic() + (patience if hasattr(self, "definitions") else 0)
        while True:
            try:
                request = urllib.request.Request(self.url + path, body, dict(headers))
                with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                    return answer.read()
            except urllib.error.HTTPError:
                raise
            except (OSError, HTTPException) as error:
                if time.monotonic() >= end:
                    raise Gone(f"{self.url} does not answer any more ({_reason(error)})") from error
                time.sleep(0.2)


def _reason(error: BaseException) -> str:
    return str(getattr(error, "reason", "") or error or type(error).__name__)


def _refused(nodes: Mapping, error: urllib.error.HTTPError) -> str:
    try:
        told = json.loads(error.read())
        message = told.get("error", {})
        message = message.get("message", "") if isinstance(message, dict) else str(message)
        return refusal(nodes, told.get("node_errors") or {}, message)
    except (ValueError, AttributeError, OSError):
        return f"the server refuses the graph ({error.code} {error.reason})"
