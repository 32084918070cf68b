"""Evidence: how granted calls went, told by workers and humans, and what can be claimed on that ground."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from backchannel.protocol.claims import SupervisionLevel

Teller = Literal["worker", "human"]

FAILURES: Mapping[str, float] = {"low": 1.0, "medium": 2.0, "high": 4.0, "critical": 8.0}
"""How many ordinary failures one failure of a call of that risk counts for. A success counts once: thus no
number of harmless calls is worth more for having been called dangerous."""

GRAVEST = max(FAILURES.values())
CONFIDENCE = 1.645
"""Standard deviations of the lower bound: one-sided, 95 of 100."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one call went.

    Args:
        at: seconds since 1970, UTC.
        risk: as it was judged when it was asked for.
        level: the level under which it was granted.
        by: who told it. An agent's own word counts for nothing here.
        severe: a human calls it that.
    """

    request_id: str
    at: float
    success: bool
    risk: str
    level: SupervisionLevel
    by: Teller = "worker"
    severe: bool = False

    @classmethod
    def read(cls, row: Sequence[Any]) -> Outcome:
        return cls(*row)

    def row(self) -> list[Any]:
        """For storing: many are kept, so without names."""
        return [self.request_id, self.at, self.success, self.risk, self.level, self.by, self.severe]

    @property
    def failures(self) -> float:
        """How many ordinary failures it counts for."""
        if self.success:
            return 0.0
        return GRAVEST if self.severe else FAILURES.get(self.risk, GRAVEST)


@dataclass(frozen=True, slots=True)
class Evidence:
    """`uses` calls; `rate` of them went well, failures weighted by risk; at least `bound` will, with
    95 of 100 certainty."""

    uses: int
    rate: float
    bound: float

    def shown(self) -> dict[str, Any]:
        return {"uses": self.uses, "success_rate": round(self.rate, 4), "lower_bound": round(self.bound, 4)}


def weigh(outcomes: Iterable[Outcome]) -> Evidence:
    """What these outcomes together say."""
    known = list(outcomes)
    good = float(sum(one.success for one in known))
    total = good + sum(one.failures for one in known)
    return Evidence(len(known), good / total if total else 0.0, lower_bound(good, total))


def lower_bound(good: float, total: float) -> float:
    """The lower end of Wilson's interval for a share: 20 of 20 proves 0.88, not 1."""
    if total <= 0:
        return 0.0
    square = CONFIDENCE**2
    spread = CONFIDENCE * math.sqrt(square + 4 * good * (total - good) / total)
    return max(0.0, (2 * good + square - spread) / (2 * (total + square)))
