"""Whether a tag may be released: it is the version, which the changelog dates and the citation names.

python tools/check_release.py v1.0.0
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = {  # where the version stands, and how
    "pyproject.toml": r'^version = "(.+)"$',
    "__init__.py": r'^__version__ = "(.+)"$',
    "CITATION.cff": r"^version: (.+)$",
    "docs/cite.md": r"\{Version (.+)\}",
    "CHANGELOG.md": r"^## \[(\d.+)\] - \d{4}-\d\d-\d\d$",
}


def problems(tag: str, root: Path = ROOT) -> list[str]:
    """What keeps a tag such as v1.0.0 from being released, in sentences."""
    found = []
    if not re.fullmatch(r"v\d+\.\d+\.\d+((a|b|rc)\d+)?", tag):
        return [f"{tag} is no tag of a release: give one such as v1.0.0"]
    for name, pattern in FILES.items():
        said = re.search(pattern, (root / name).read_text(encoding="utf-8"), re.M)
        if said is None:
            found.append(f"{name} names no version")
        elif said[1] != tag[1:]:
            found.append(f"{name} says {said[1]}, the tag {tag[1:]}: make them equal first")
    return found


if __name__ == "__main__":
    found = problems(sys.argv[1] if len(sys.argv) > 1 else "")
    print("\n".join(found) or "ready")
    sys.exit(bool(found))
