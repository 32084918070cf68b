"""Refusals at the native doors, as the audit trail keeps them: each kind once, and then how often."""

from __future__ import annotations

import asyncio

from backchannel.domain.audit import Deed
from backchannel.errors import BackchannelError
from backchannel.service.trail import Trail

WINDOW = 10.0
"""Seconds within which what repeats itself is only counted."""

MOST_KINDS = 256
Kind = tuple[str, str, str, str]
"""Group, agent, door and code."""


class Refusals:
    """Whoever floods a door does not flood the trail. Bounded by MOST_KINDS."""

    def __init__(self, trail: Trail, group: str) -> None:
        self._trail = trail
        self._group = group
        self._repeated: dict[Kind, int] = {}
        self._unsorted = 0

    def note(self, group: str, agent: str, door: str, error: BackchannelError) -> None:
        """Something of an agent was refused."""
        kind = (group, agent, door, error.code)
        if kind in self._repeated:
            self._repeated[kind] += 1
        elif len(self._repeated) >= MOST_KINDS:
            self._unsorted += 1
        else:
            self._repeated[kind] = 0
            facts = {"door": door, "code": error.code, "reason": error.message, "field": error.field}
            self._trail.note(Deed(group, "security", agent, "refused", facts))

    def sweep(self) -> None:
        """Tell of what was repeated."""
        gathered, self._repeated = self._repeated, {}
        for (group, agent, door, code), count in gathered.items():
            if count:
                facts = {"door": door, "code": code, "count": count}
                self._trail.note(Deed(group, "security", agent, "refused_again", facts))
        if self._unsorted:
            facts = {"count": self._unsorted}
            self._trail.note(Deed(self._group, "security", "unknown", "refused_others", facts))
            self._unsorted = 0

    async def run(self) -> None:
        """Sweep until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(WINDOW)
                self.sweep()
        finally:
            self.sweep()
