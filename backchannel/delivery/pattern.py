"""Pattern: a part of a text that is looked for, in time that grows with the text alone."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import cache

STRETCH = 8_192
"""Characters after which a search lets others go on."""

WILD = 8
"""How many times as long a character takes where `?` stands between others, for each `WORD` of them."""

WORD = 1_024

Search = Generator[int, None, bool]
"""Yields what it has cost since it last did, in characters of plain text, and returns whether it fits."""


class Pattern:
    """A part of a text, in any case; ``*`` stands for anything, ``?`` for one character.

    Pieces between ``*`` are looked for from left to right, each behind the one before: the first place where
    one fits leaves the most to the others, so none is tried twice. A piece without ``?`` is found by Python's
    own search, which is linear; one with ``?`` by a set of bits, one for each of its characters, which is
    moved once for each character of the text.
    """

    __slots__ = ("_pieces",)

    def __init__(self, text: str) -> None:
        self._pieces = [_Piece(piece) for piece in folded(text).split("*") if piece]

    def fits(self, text: str) -> bool:
        """Whether it does, in one go."""
        search = self.search(text)
        while True:
            try:
                next(search)
            except StopIteration as end:
                return bool(end.value)

    def search(self, text: str) -> Search:
        """The same a stretch at a time, for texts that are long."""
        text = yield from _folded(text)
        place = 0
        for piece in self._pieces:
            end = yield from piece.search(text, place)
            if end is None:
                return False
            place = end
        return True


class _Piece:
    """What stands between two ``*``, without the ``?`` at its ends: of those only the number counts."""

    __slots__ = ("_after", "_before", "_core", "_longest", "_masks", "_offset", "_wild")

    def __init__(self, piece: str) -> None:
        core = piece.strip("?")
        self._before = len(piece) - len(piece.lstrip("?")) if core else len(piece)
        self._after = len(piece) - len(piece.rstrip("?")) if core else 0
        self._core = core
        self._longest = max(core.split("?"), key=len)
        self._offset = core.index(self._longest)
        self._wild, self._masks = _masks(core) if "?" in core else (0, {})

    def search(self, text: str, place: int) -> Generator[int, None, int | None]:
        """The end of the first place at `place` or behind it where the piece fits."""
        start, last = place + self._before, len(text) - self._after
        if not self._core:
            return start if start <= last else None
        found = text.find(self._longest, start, last)
        yield max(0, last - start if found < 0 else found - start)
        if found < 0:
            return None
        if self._masks:
            end = yield from self._moved(text, max(start, found - self._offset), last)
        else:
            end = found + len(self._core)
        return None if end is None else end + self._after

    def _moved(self, text: str, start: int, last: int) -> Generator[int, None, int | None]:
        """Bit number n of the set says that the n+1 characters before this one fit the first of the piece."""
        masks, wild, fits = self._masks, self._wild, 1 << (len(self._core) - 1)
        dear = WILD * (1 + len(self._core) // WORD)
        state = 0
        for stretch in range(start, last, STRETCH // dear):
            end = min(stretch + STRETCH // dear, last)
            for place, character in enumerate(text[stretch:end], stretch + 1):
                state = (state << 1 | 1) & masks.get(character, wild)
                if state & fits:
                    return place
            yield (end - stretch) * dear
        return None


def _masks(core: str) -> tuple[int, dict[str, int]]:
    """The bits of every ``?``; and for each other character those and its own."""
    wild = sum(1 << number for number, one in enumerate(core) if one == "?")
    masks: dict[str, int] = {}
    for number, one in enumerate(core):
        if one != "?":
            masks[one] = masks.get(one, wild) | 1 << number
    return wild, masks


def _folded(text: str) -> Generator[int, None, str]:
    if text.isascii():
        yield len(text)
        return text.lower()
    parts: list[str] = []
    for start in range(0, len(text), STRETCH):
        parts.append(folded(text[start : start + STRETCH]))
        yield 2 * len(parts[-1])
    return "".join(parts)


def folded(text: str) -> str:
    """The text without regard to case; a character stays one character, so that ``?`` means what it says."""
    if text.isascii():
        return text.lower()
    return text.replace("\u0130", "i").lower().translate(_alike())


_MORE = {0x131: "i", 0x1FD3: "\u0390", 0x1FE3: "\u03b0", 0xFB05: "\ufb06"}
"""Letters that differ only in how they are put together."""


@cache
def _alike() -> dict[int, str]:
    """Small letters that are the same but for their form, as the two small sigmas."""
    return dict(_forms()) | _MORE


def _forms() -> Iterator[tuple[int, str]]:
    for place in range(0x20000):
        one = chr(place)
        small = one.lower()
        if len(small) == 1 and len(plain := small.casefold()) == 1 and plain != small:
            yield ord(small), plain
