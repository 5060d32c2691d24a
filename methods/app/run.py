"""Runs of a page's users: each a process of the command itself, in a folder that goes with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from .. import weights
from ..cli import steps
from ..imaging.images import Picture, read, write
from ..imaging.resize import resize, size_of

MAIN = steps.__name__.replace(".steps", ".main")
PICTURES, RESULTS = "pictures", "restored"  # folders of a run for several pictures
WIDEST = 4096  # pixels of the longer side of what a browser is shown
PATIENCE = 20.0  # seconds that a command which is stopped has to clean up
STOPPED = "Stopped: nothing is left of this run."
MEMORY = "the system ended the run, as it does where memory runs out: choose a smaller scale or smaller tiles"


@dataclass(frozen=True)
class Upload:
    """A file that a browser sent: where it lies, and its own name."""

    path: Path
    name: str


@dataclass
class Run:
    """A command with its pictures in a folder; after `steps` results, failures, notes, and an error."""

    folder: Path
    words: list[str]
    pairs: list[tuple[Path, Path]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    error: str = ""
    stopped: bool = False
    process: subprocess.Popen[str] | None = None

    @property
    def several(self) -> bool:
        return (self.folder / PICTURES).is_dir()

    def steps(self) -> Iterator[tuple[int, int, str]]:
        """Run it, and tell how far it is: done, of so many, of what."""
        if self.stopped:
            self.error = STOPPED
            return
        models = os.pathsep.join(str(one.absolute()) for one in weights.folders() if one != weights.SHIPPED)
        command = [sys.executable, "-m", MAIN, *self.words, "--json-lines"]
        self.process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**os.environ, steps.STEPS: "1", "PRIORSR_MODELS": models, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        try:
            assert self.process.stdout is not None
            for line in self.process.stdout:
                yield from self._heard(line.strip())
            self.process.wait()
        finally:
            self.stop(wanted=False)
            if self.process.stdout is not None:
                self.process.stdout.close()
        if self.stopped:
            self.error = STOPPED
        elif self.process.returncode < 0:
            self.error = MEMORY
        elif self.process.returncode and not self.error and not self.failures:
            self.error = self.sentence(self.notes.pop() if self.notes else "the command ended without a word")
        elif self.several:  # what the command takes for no picture, it does not speak of
            names = {path.name for path in (self.folder / PICTURES).iterdir()} - set(self.done)
            self.failures += [f"{name}: no picture, left out" for name in sorted(names)]

    def _heard(self, line: str) -> Iterator[tuple[int, int, str]]:
        try:
            said = json.loads(line) if line.startswith("{") else None
        except ValueError:
            said = None
        if said is None:
            if line and not line.startswith(("failed: ", "priorsr: ", "wrote ")):
                self.notes.append(self.sentence(line))
        elif "done" in said:
            yield said["done"], said["of"], "steps"
        elif "error" in said:
            self.error = self.sentence(said["error"])
        elif said.get("status") == "failed":
            self.failures.append(self.sentence(said["message"]))
            self.done.append(Path(said["source"]).name)
        elif "status" in said:
            self.pairs.append((self.folder / said["source"], self.folder / said["target"]))
            self.done.append(Path(said["source"]).name)
            yield len(self.done), 0, "pictures"

    def sentence(self, text: str) -> str:
        """The first line of a text, without the folder of the run."""
        return (text.strip().splitlines() or [""])[0].replace(f"{self.folder}{os.sep}", "")

    def stop(self, wanted: bool = True) -> None:
        """End the command, which removes what it has half written."""
        self.stopped = self.stopped or wanted
        process = self.process
        if process is None or process.poll() is not None:
            return
        with suppress(OSError):
            process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def archive(self) -> Path:
        """All results of several pictures as one zip archive."""
        return Path(shutil.make_archive(str(self.folder / RESULTS), "zip", self.folder / RESULTS))


class Runs:
    """The folders and runs of a page's users, by their sessions; `close` ends and removes all of them."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="priorsr-app-"))
        self.uploads = self.root / "uploads"
        self._runs: dict[str, Run] = {}
        self._lock = threading.Lock()

    def begin(self, session: str, words: Sequence[str], uploads: Sequence[Upload]) -> Run:
        """A run for what a user uploaded, in place of the user's last one.

        Raises ValueError for two pictures of one name.
        """
        names = [one.name for one in uploads]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two of the pictures are called {twice[0]}: rename one of them")
        self.forget(session)
        run = Run(Path(tempfile.mkdtemp(dir=self.root)), list(words))
        inside = run.folder / PICTURES if len(uploads) > 1 else run.folder
        inside.mkdir(exist_ok=True)
        for one in uploads:
            shutil.copyfile(one.path, inside / one.name)
        with self._lock:
            self._runs[session] = run
        return run

    def scratch(self, session: str, name: str) -> Path:
        """Where a file of a session that belongs to no run lies."""
        folder = self.root / session
        folder.mkdir(exist_ok=True)
        return folder / name

    def stop(self, session: str) -> bool:
        """Whether there was a run to end."""
        with self._lock:
            run = self._runs.get(session)
        if run is None or run.error or (run.process is not None and run.process.poll() is not None):
            return False
        run.stop()
        return True

    def forget(self, session: str) -> None:
        """End and remove the run of a session."""
        with self._lock:
            run = self._runs.pop(session, None)
        if run is not None:
            run.stop()
            shutil.rmtree(run.folder, ignore_errors=True)

    def leave(self, session: str) -> None:
        """A session is over."""
        self.forget(session)
        shutil.rmtree(self.root / session, ignore_errors=True)

    def close(self) -> None:
        for session in list(self._runs):
            self.forget(session)
        shutil.rmtree(self.root, ignore_errors=True)


def places(names: Sequence[str], form: str = "") -> tuple[str, str]:
    """IN and OUT of a command for pictures of these names; form: of one result, PNG where nothing is said."""
    if len(names) != 1:
        return PICTURES, RESULTS
    path = Path(names[0])
    return path.name, f"{path.stem}_{RESULTS}.{form or 'png'}"


def kept_name(name: str) -> str:
    """The name of an upload without folders, one that a command takes for no option."""
    return name.replace("\\", "/").rpartition("/")[2].lstrip("-.").strip() or "picture"


def shown(path: Path, at: Path) -> Path:
    """A picture as PNG that every browser shows, at most 4096 pixels wide and high. Raises as `read`."""
    picture = read(path)
    height, width = size_of(picture.pixels)
    less = min(1.0, WIDEST / max(height, width))
    wanted = max(1, round(height * less)), max(1, round(width * less))
    pixels, alpha = picture.pixels, picture.alpha
    if wanted != size_of(pixels):
        pixels = resize(pixels, wanted).clamp(0, 1)
        alpha = alpha if alpha is None else resize(alpha, wanted).clamp(0, 1)
    at.parent.mkdir(parents=True, exist_ok=True)
    return write(Picture(pixels, alpha), at, overwrite=True)
