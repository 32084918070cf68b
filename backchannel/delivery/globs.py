"""Globs: many patterns of names at once, in time that grows with the name alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import translate
from re import Pattern
from re import compile as compiled

SPECIAL = frozenset("*?[")
LONGEST_NAME = 256
"""Characters of a name that patterns are compared with; a longer one fits none."""

MOST_KNOWN = 1_024
"""Characters whose bits are remembered."""


class Globs:
    """Patterns with ``*``, ``?`` and ``[...]``, as `fnmatch.fnmatchcase` reads them.

    All of them are one row of bits: for each pattern one for its beginning and one for each of its
    characters. A set bit says that the name fits up to there; each character of the name moves all of them by
    one at once. No pattern is ever tried a second time, whatever stands in it.
    """

    __slots__ = ("_any", "_begin", "_end", "_known", "_letters", "_loops", "_sets")

    def __init__(self, patterns: Iterable[str]) -> None:
        self._any = self._begin = self._end = self._loops = 0
        self._letters: dict[str, int] = {}
        self._sets: list[tuple[Pattern[str], int]] = []
        self._known: dict[str, int] = {}
        place = 0
        for pattern in patterns:
            place = self._add(pattern, place)

    def fit(self, name: str) -> bool:
        """Whether any of them does."""
        if not self._end or len(name) > LONGEST_NAME:
            return False
        state = self._begin
        for one in name:
            state = (state << 1) & self._taking(one) | (state & self._loops)
            if not state:
                return False
        return bool(state & self._end)

    def _add(self, pattern: str, place: int) -> int:
        """Set the bits of a pattern from `place` on; where the next one begins."""
        bit = 1 << place
        self._begin |= bit
        for part in _parts(pattern):
            if part == "*":
                self._loops |= bit
                continue
            place, bit = place + 1, bit << 1
            if part == "?":
                self._any |= bit
            elif len(part) == 1:
                self._letters[part] = self._letters.get(part, 0) | bit
            else:
                self._sets.append((compiled(translate(part)), bit))
        self._end |= bit
        return place + 1

    def _taking(self, one: str) -> int:
        """The bits of everything that takes this character."""
        found = self._known.get(one)
        if found is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            found = self._any | self._letters.get(one, 0)
            for pattern, bit in self._sets:
                if pattern.match(one):
                    found |= bit
            self._known[one] = found
        return found


def _parts(pattern: str) -> Iterator[str]:
    """Single characters, and sets as they are written. A bracket that is not closed stands for itself."""
    place = 0
    while place < len(pattern):
        end = place + 1
        if pattern[place] == "[":
            found = pattern.find("]", place + (3 if pattern[end : end + 1] == "!" else 2))
            end = found + 1 or end
        yield pattern[place:end]
        place = end
