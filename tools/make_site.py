"""The documentation site: pages of docs/, cards of weights/, what lies at the top, and the reference,
gathered in one folder, links made to fit, then built by mkdocs. python tools/make_site.py [--out build/site]

A link that leads nowhere is an error; one to a file that is no page leads to the repository.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from reference_pages import pages

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "build" / "site-pages"  # what mkdocs.yml names
REPOSITORY = "https://github.com/priorsr/priorsr/blob/main"
TOP = {"README.md": "index.md"} | {
    f"{name}.md": f"{name.lower()}.md"
    for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY", "CODE_OF_CONDUCT")
}
LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)\s#]+)(#[^)]*)?\)")
CODE = re.compile(r"(^```.*?^```$)", re.M | re.S)
ITEM = re.compile(r"\s*([-*]|\d+\.) ")


def sources() -> dict[Path, Path]:
    """Every file of the repository that is in the site, and where."""
    found = {ROOT / name: Path(place) for name, place in TOP.items()}
    for folder, patterns, place in (
        ("docs", ("*.md", "*.png", "*.jpg", "sample/*.md", "sample/*.png"), ""),
        ("weights", ("*.md", "*.png"), "weights"),
    ):
        for pattern in patterns:
            for path in (ROOT / folder).glob(pattern):
                found[path] = Path(place) / path.relative_to(ROOT / folder)
    return found


def gather() -> None:
    """Fill SOURCE anew. Raises ValueError that names a page and a link of it which leads nowhere."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    known = sources()
    for path, place in known.items():
        (SOURCE / place).parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            text = outside_code(path.read_text(encoding="utf-8"), lambda t, p=path: linked(t, p, known))
            (SOURCE / place).write_text(outside_code(text, spaced), encoding="utf-8")
        else:
            shutil.copyfile(path, SOURCE / place)
    for place, text in pages().items():
        (SOURCE / place).parent.mkdir(parents=True, exist_ok=True)
        (SOURCE / place).write_text(outside_code(text, spaced), encoding="utf-8")


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """The text changed everywhere but in its blocks of code."""
    return "".join(part if part.startswith("```") else change(part) for part in CODE.split(text))


def linked(text: str, page: Path, known: dict[Path, Path]) -> str:
    """The text with the links of a page as they are in the site."""

    def moved(found: re.Match) -> str:
        target = Path(os.path.normpath(page.parent / found[2]))
        anchor = found[3] or ""
        if target in known:
            to = os.path.relpath(known[target], known[page].parent).replace(os.sep, "/")
        elif target.exists():
            to = f"{REPOSITORY}/{target.relative_to(ROOT).as_posix()}"
        else:
            raise ValueError(f"{page.relative_to(ROOT)}: the link {found[2]} leads nowhere")
        return f"{found[1]}{to}{anchor})"

    return LINK.sub(moved, text)


def spaced(text: str) -> str:
    """With an empty line before every list, which GitHub does not need and mkdocs does."""
    lines: list[str] = []
    for line in text.split("\n"):
        if ITEM.match(line) and lines and lines[-1].strip() and not _in_list(lines):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)


def _in_list(lines: list[str]) -> bool:
    """Whether the paragraph that the last line belongs to is an item's."""
    for line in reversed(lines):
        if not line.strip():
            return False
        if ITEM.match(line):
            return True
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=str(ROOT / "build" / "site"), help="the folder of the site")
    options = parser.parse_args()
    try:
        gather()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    # not --quiet: warnings that are not logged are not counted by --strict
    built = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", options.out]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # of the theme, about other versions of itself
    done = subprocess.run(built, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)
    told = (done.stdout + done.stderr).splitlines()
    print("\n".join(line for line in told if not line.startswith("INFO")), file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
