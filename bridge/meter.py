"""Meters: counts, levels and spreads of one event loop, cheap enough for every message."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

OTHER = "other"


class Count:
    """A number that only grows. No lock: it belongs to the loop's thread, and a scrape only reads it."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        self.value += amount


class Level(Count):
    """A number that is what it is now."""

    __slots__ = ()

    def dec(self, amount: float = 1) -> None:
        self.value -= amount

    def set(self, value: float) -> None:
        self.value = value


class Spread:
    """How often a value fell below each of some bounds, and the sum of all."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as Prometheus wants them."""
        total, found = 0.0, []
        for bound, count in zip((*map(_plain, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            found.append((bound, total))
        return found


_Meter = TypeVar("_Meter", Count, Level)


class Labelled(Generic[_Meter]):
    """One meter for each value of a label. Values nobody foresaw share one, so nobody can grow the list."""

    __slots__ = ("_most", "kind", "label", "meters")

    def __init__(self, kind: type[_Meter], label: str, values: Iterable[str], most: int = 0) -> None:
        self.kind: type[_Meter] = kind
        self._most = most
        self.label = label
        self.meters: dict[str, _Meter] = {value: kind() for value in (*values, OTHER)}

    def labels(self, value: object) -> _Meter:
        found = self.meters.get(str(value))
        if found is not None:
            return found
        if len(self.meters) <= self._most:
            return self.meters.setdefault(str(value), self.kind())
        return self.meters[OTHER]


def _plain(bound: float) -> str:
    return str(int(bound)) if bound == int(bound) else repr(bound)
