"""Sets of subjects and subject filters, and whether two of them meet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from backchannel.jetstream.entry import covers


def is_pattern(subject: str) -> bool:
    """Whether it is a filter with NATS wildcards and no plain subject."""
    return "*" in subject or ">" in subject


class Subjects:
    """Subjects and filters, found by their beginnings: what shares none with another cannot meet it."""

    def __init__(self) -> None:
        self._plain: set[str] = set()
        self._patterns: defaultdict[str, set[str]] = defaultdict(set)
        self._beginnings: set[str] = set()

    def add(self, subjects: Iterable[str]) -> None:
        for subject in subjects:
            *_, longest = beginnings = _beginnings(subject)
            self._beginnings.update(beginnings)
            if is_pattern(subject):
                self._patterns[longest].add(subject)
            else:
                self._plain.add(subject)

    def meets(self, subjects: Iterable[str]) -> bool:
        """Whether one of these, or what it covers, is among ours, or covered by one of ours.

        Two filters are taken to meet where one begins like the other.
        """
        return any(self._meets(subject) for subject in subjects)

    def _meets(self, subject: str) -> bool:
        above = [pattern for one in _beginnings(subject) for pattern in self._patterns.get(one, ())]
        if not is_pattern(subject):
            return subject in self._plain or any(covers(pattern, subject) for pattern in above)
        below = _beginnings(subject)[-1] in self._beginnings
        return bool(above) or (below and self._covers_one(subject))

    def _covers_one(self, pattern: str) -> bool:
        longest = _beginnings(pattern)[-1]
        if any(longest in _beginnings(one) for one in self._patterns):
            return True
        return any(covers(pattern, one) for one in self._plain)


def _beginnings(subject: str) -> list[str]:
    """`a`, `a.b` … up to the first wildcard; at least the empty one."""
    found = [""]
    for token in subject.split("."):
        if token in ("*", ">"):
            break
        found.append(f"{found[-1]}.{token}" if found[-1] else token)
    return found
