"""Spellings: the plain text behind quotes, percent signs, look-alikes and characters that nobody sees.

Everything here takes time in proportion to the text: `MOST_ROUNDS` is how often a text is read again.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from urllib.parse import unquote_to_bytes

LONGEST = 16_384
"""Characters of one text that are read closely; the rest of a longer one is searched for words only."""
MOST_ROUNDS = 5
"""Times that a text is decoded; what is still encoded then counts as not understood."""
MOST_ALTERNATIVES = 64
"""Texts that braces like ``{a,b}`` may stand for."""

_PERCENT = re.compile(r"%[0-9a-fA-F]{2}")
_PERCENT_U = re.compile(r"%u([0-9a-fA-F]{4})")
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([0-3][0-7]{2}))")
_SEPARATORS = str.maketrans(
    {
        "\u2215": "/",
        "\u2044": "/",
        "\u29f8": "/",
        "\u2571": "/",
        "\u29f5": "\\",
        "\u2216": "\\",
        "\u3002": ".",
        "\uff61": ".",
    }
)
"""What looks like a separator and is none to NFKC; some programs fold it all the same."""
_OVERLONG = {
    b"\xc0\xae": b".",
    b"\xc0\xaf": b"/",
    b"\xc1\x9c": b"\\",
    b"\xe0\x80\xae": b".",
    b"\xe0\x80\xaf": b"/",
}
_BRACES = re.compile(r"\{([^{},]*(?:,[^{},]*)+)\}")
_AROUND = " \t\r\n\f\v\"'`<>"
_WHITE = frozenset(" \t\r\n\f\v")


@dataclass(frozen=True, slots=True)
class Plain:
    """A text as it is meant. `doubt` says why it may be meant otherwise; None if there is no doubt."""

    text: str
    doubt: str | None = None


def plain(said: str) -> Plain:
    """Decoded until nothing changes any more, without what cannot be seen, each letter in its plain form."""
    text, doubt = said[:LONGEST], None
    for _ in range(MOST_ROUNDS):
        read, wrong = _once(text)
        doubt = doubt or wrong
        if read == text:
            return Plain(text, doubt)
        text = read
    return Plain(text, doubt or "it is encoded several times over")


def alternatives(text: str) -> list[str] | None:
    """What braces stand for, as a shell expands them; None if that is too much."""
    found = [text]
    for _ in range(MOST_ROUNDS):
        if not any(_BRACES.search(one) for one in found):
            return found
        found = list(dict.fromkeys(more for one in found for more in _expanded(one)))
        if len(found) > MOST_ALTERNATIVES:
            return None
    return None


def hidden(text: str) -> bool:
    """Whether there are characters that nobody sees: control, formatting, unassigned."""
    if text.isprintable():
        return False
    return any(unicodedata.category(letter)[0] == "C" and letter not in _WHITE for letter in text[:LONGEST])


def _once(text: str) -> tuple[str, str | None]:
    if text.isascii() and text.isprintable():
        return _decoded(text.strip(_AROUND))
    folded = unicodedata.normalize("NFKC", text).translate(_SEPARATORS)
    seen = "".join(one for one in folded if one in _WHITE or unicodedata.category(one)[0] != "C")
    decoded, doubt = _decoded(seen.strip(_AROUND))
    return decoded, doubt


def _decoded(text: str) -> tuple[str, str | None]:
    if "%" not in text:
        return text, None
    text = _PERCENT_U.sub(lambda found: chr(int(found[1], 16)), text)
    if not _PERCENT.search(text):
        return text, None
    raw = unquote_to_bytes(text)
    try:
        return raw.decode(), None
    except UnicodeDecodeError:
        # Overlong forms of "." and "/" are what such bytes are sent for.
        for overlong, meant in _OVERLONG.items():
            raw = raw.replace(overlong, meant)
        return raw.decode("utf-8", "ignore"), "it holds bytes that are no text"


def unescaped(text: str) -> str:
    r"""The same with ``\u002f``, ``\x2f``, ``\057`` and ``&sol;`` written out."""
    if "&" in text and ";" in text:
        text = html.unescape(text)
    return _ESCAPED.sub(_character, text) if "\\" in text else text


def _character(found: re.Match[str]) -> str:
    return chr(int(found[1] or found[2], 16) if found[1] or found[2] else int(found[3], 8))


def _expanded(text: str) -> Iterator[str]:
    parts: list[list[str]] = []
    position = 0
    for found in _BRACES.finditer(text):
        parts += [[text[position : found.start()]], found[1].split(",")]
        position = found.end()
    parts.append([text[position:]])
    for number, chosen in enumerate(product(*parts)):
        if number > MOST_ALTERNATIVES:
            return
        yield "".join(chosen)
