"""Waits of agents for each other: a graph, and whether one more wait would close a circle in it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple


class Wait(NamedTuple):
    """One agent waits for any of others, until a moment (seconds). `key` tells waits of one agent apart."""

    key: str
    waiter: str
    on: tuple[str, ...]
    until: float


def standing(waits: Iterable[Wait], now: float) -> list[Wait]:
    """Those that have not lapsed."""
    return [wait for wait in waits if wait.until > now]


def circle(waiter: str, on: Collection[str], waits: Iterable[Wait], now: float) -> tuple[str, ...] | None:
    """The circle that a new wait would close, from the waiter round to itself; None if there is none.

    It waits for any of `on`: only if each of them waits for it, however indirectly, can none of them answer.
    """
    edges: dict[str, set[str]] = {}
    for wait in standing(waits, now):
        edges.setdefault(wait.waiter, set()).update(wait.on)
    ways = [_way(one, waiter, edges) for one in sorted(on)]
    found = [way for way in ways if way is not None]
    return (waiter, *found[0]) if ways and len(found) == len(ways) else None


def _way(start: str, end: str, edges: dict[str, set[str]]) -> tuple[str, ...] | None:
    """A shortest way along the waits, both ends included."""
    ways: dict[str, tuple[str, ...]] = {start: (start,)}
    line = [start]
    for here in line:
        if here == end:
            return ways[here]
        for other in sorted(edges.get(here, ())):
            if other not in ways:
                ways[other] = (*ways[here], other)
                line.append(other)
    return None
