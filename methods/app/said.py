"""What the page says, and sentences that Markdown shows as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

DOCS = "https://github.com/priorsr/priorsr/blob/main/docs"
HEAD = """# PriorSR
Small, old, noisy or compressed pictures made larger and clearer, and the faces in them restored."""
FOOT = f"""What a picture no longer holds can only be invented, and an invented face is no evidence of who
someone is ([why]({DOCS}/ethics.md)). For medical and legal pictures there is nothing here."""
EMPTY = "Drop a picture, say which kind it is, and press **Restore**."


def lines(texts: Sequence[str]) -> str:
    """The first as a sentence, the others as a list below."""
    first, *rest = dict.fromkeys(map(sentence, texts))
    return "\n".join([first, "", *(f"- {one}" for one in rest)])


def sentence(text: str) -> str:
    """With a capital letter and a full stop, and nothing that Markdown would take for more than text."""
    text = text.strip().replace("<", "&lt;")
    if text.startswith("**") or Path(text.split(":")[0]).suffix:  # the name of a file
        return text
    return f"{text[:1].upper()}{text[1:]}{'' if text[-1:] in '.!?' else '.'}"
