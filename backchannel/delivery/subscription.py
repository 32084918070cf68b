"""Subscription: which of the events it may see a connection wants to hear."""

from __future__ import annotations

from backchannel.delivery.traits import LOW, Areas, Traits
from backchannel.protocol.frame import Subscription
from backchannel.protocol.identifier import MAIN


class Choice:
    """An agent's own choice; it never shows more than the agent may see.

    What concerns it in person is always wanted: its inbox, its own words, the life of its sidebars, the three
    top lanes, and what it said it requires.
    """

    __slots__ = ("_agent", "_areas", "_focused", "_peripheral", "_required")

    def __init__(self, agent: str, said: Subscription, required: Areas) -> None:
        self._agent = agent
        self._focused = said.mode == "focused"
        self._peripheral = said.peripheral_awareness
        self._areas = Areas(said.focus)
        self._required = required

    def wants(self, one: Traits) -> bool:
        if one.urgent or one.personal or one.sender == self._agent:
            return True
        if one.kind == "life" and one.context != MAIN:
            return True
        if self._areas.fits(one) or self._required.fits(one):
            return True
        if one.kind == "presence":
            return self._peripheral
        return not self._focused and (self._peripheral or one.rank < LOW)


def chosen(agent: str, said: Subscription, required: Areas) -> Choice | None:
    """The choice in what an agent said; None if it wants all it may see."""
    if said.mode == "everything" or (said.mode == "relevant" and said.peripheral_awareness):
        return None
    return Choice(agent, said, required)
