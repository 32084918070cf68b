"""Accounts: what every agent may ask of the loop of this bridge, over all its connections."""

from __future__ import annotations

from collections import OrderedDict

from backchannel.delivery.pace import Account
from backchannel.delivery.work import of_agent

MOST = 20_000
"""Accounts kept; the one that was not asked for longest goes first, and would be in credit by then."""


class Accounts:
    """An account for each agent, kept while it comes and goes: leaving and coming back pays no debt."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: OrderedDict[tuple[str, str], Account] = OrderedDict()

    def of(self, owner: tuple[str, str]) -> Account:
        """That of an agent, by group and name."""
        found = self._known.get(owner)
        if found is None:
            found = self._known[owner] = of_agent()
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        self._known.move_to_end(owner)
        return found
