"""Warm-up: what a connection that has never been here before is spared at first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from backchannel.delivery.traits import LOW, Traits

USUAL = (10.0, 20.0, 30.0)
"""Seconds of each stage for an agent that asks for a warm-up where the platform has none."""

PRESENCE, UPDATES, EVERYTHING = range(3)


def stage_of(one: Traits, agent: str, *, history: bool) -> int:
    """The first stage in which it is heard: presence and status at once, then what is said and remembered in
    sidebars and in main, then what happened before, and what has no hurry at all.

    Nothing in the top lanes, in the own inbox, or said by the agent itself is ever held back.
    """
    if one.urgent or one.personal or one.sender == agent or one.kind in ("presence", "life", "broadcast"):
        return PRESENCE
    return EVERYTHING if history or one.rank >= LOW else UPDATES


class Warmup:
    """The stages of one connection from its first moment on. Times are seconds."""

    __slots__ = ("_ends",)

    def __init__(self, stages: Sequence[float], began: float) -> None:
        self._ends = [began + end for end in accumulate(stages)][:EVERYTHING]

    def stage(self, now: float) -> int:
        """The stage it is in; the last one begins when all that came before it are over."""
        passed = sum(1 for end in self._ends if now >= end)
        return passed + EVERYTHING - len(self._ends)
