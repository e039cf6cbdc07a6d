"""Text of others in Markdown: what it holds is shown as it is written, and never read as Markdown or HTML."""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~!&])")
_PLAIN = re.compile(r"[\w .:;,/@+=()-]+")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")


def shown(text: str, longest: int) -> str:
    """Write a text of others on one line; what is longer than ``longest`` ends in an ellipsis."""
    line = _UNSEEN.sub(" ", text)
    return _SPECIAL.sub(r"\\\1", line if len(line) <= longest else f"{line[: longest - 1]}…")


def code(text: str, longest: int) -> str:
    """Write a name in code, where nothing in it could end the code; else as `shown` does."""
    return f"`{text}`" if len(text) <= longest and _PLAIN.fullmatch(text) else shown(text, longest)


def linked(text: str, url: str, longest: int) -> str:
    """Write a link. ``url`` holds nothing that ends it: no space, no bracket, no control character."""
    return f"[{shown(text, longest)}]({url})"
