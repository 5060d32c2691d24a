"""The English of README, docs and the nodes' help, by proselint, which is shown their prose and no code.

python tools/check_english.py [FILE ...]   (make docs-lint)
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from proselint.checks import __register__
from proselint.registry import CheckRegistry
from proselint.tools import LintFile

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("*.md", "docs/*.md", "docs/sample/*.md", "weights/*.md", "web/docs/*.md")
OFF = {  # rules that do not hold here, and why
    "typography.symbols.curly_quotes": "sources are typed in ASCII, which is what a reader copies",
    "typography.symbols.ellipsis": "as above",
    "typography.symbols.multiplication": "as above; 4x is how the field writes a scale",
    "typography.symbols.copyright": "licences are quoted as they were granted",
    "typography.diacritical_marks": "it takes the verb resume for a curriculum vitae",
}
# blocks of code, code in a line, where links lead, tags, addresses, and bars of tables with their figures
NO_PROSE = re.compile(
    r"^(```|~~~).*?^\1|`[^`]+`|(?<=\])\([^)\s]+\)|<[^>\n]+>|https?://\S+|\|(?:[^|\w\n]*\d[^|\n]*(?=\|))?",
    re.M | re.S,
)
STAND_IN = " ; "  # of code in a sentence: no word, so that none is repeated


def prose(text: str) -> str:
    """A page without what is no prose, every line in its place."""
    return NO_PROSE.sub(lambda found: STAND_IN + "\n" * found[0].count("\n"), text)


def problems(paths: Iterable[Path]) -> list[str]:
    """What proselint says of pages: file, line, rule, and its sentence."""
    registry = CheckRegistry()
    if not registry.checks:
        registry.register_many(__register__)
    found = []
    for path in paths:
        for one in LintFile(path.name, prose(path.read_text(encoding="utf-8"))).lint():
            said = one.check_result
            if said.check_path not in OFF:
                found.append(f"{path}:{one.pos[0]}: {said.check_path}: {said.message}")
    return found


if __name__ == "__main__":
    pages = [Path(name) for name in sys.argv[1:]]
    pages = pages or sorted(path.relative_to(ROOT) for pattern in PAGES for path in ROOT.glob(pattern))
    found = problems(pages)
    print("\n".join(found) or f"{len(pages)} pages, no complaint")
    sys.exit(bool(found))
