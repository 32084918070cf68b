"""Traits: what an event is, as far as that decides who wants to hear it, and when."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from backchannel.delivery.globs import SPECIAL, Globs
from backchannel.errors import BadMessage
from backchannel.protocol.lane import NEVER_DROPPED, RANK, Lane
from backchannel.protocol.subject import Destination, InContext, InInbox, ToEveryone

URGENT = len(NEVER_DROPPED)
"""Ranks below this are never held back and never filtered, and overtake a catch-up."""

LOW = RANK[Lane.LOW]

MOST_PATTERNS = 4_096

Names = Mapping[str, Collection[str]]
NO_OTHER_NAMES: Names = {}


class Traits(NamedTuple):
    """`kind` is the last part of the subject, `context` the context it lies in, `rank` that of its lane."""

    type: str
    sender: str
    kind: str
    rank: int
    context: str | None = None
    topic: str | None = None
    personal: bool = False

    @property
    def urgent(self) -> bool:
        return self.rank < URGENT

    @property
    def names(self) -> Iterator[str]:
        """Everything by which somebody may ask for it."""
        yield from (self.type, self.sender)
        if self.context is not None:
            yield self.context
        if self.topic is not None:
            yield self.topic


def traits(to: Destination, rank: int, event: Mapping[str, Any]) -> Traits:
    """The traits of a stored event for `to`, in the lane of this rank."""
    kind, sender = _text(event.get("type")) or "", _text(event.get("sender_agent_id")) or ""
    match to:
        case InContext(context_id, place):
            return Traits(kind, sender, place, rank, context_id, topic_of(event))
        case InInbox(_, place):
            return Traits(kind, sender, place, rank, _text(event.get("sidebar_id")), personal=True)
        case ToEveryone(place):
            return Traits(kind, sender, place, rank)


def topic_of(event: Mapping[str, Any]) -> str | None:
    exchange = event.get("exchange")
    found = exchange.get("topic") if isinstance(exchange, dict) else event.get("topic")
    return _text(found)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


class Areas:
    """Names of contexts, topics, agents and types; ``*``, ``?`` and ``[...]`` stand for more than one."""

    __slots__ = ("_exact", "_globs")

    def __init__(self, names: Collection[str], others: Names = NO_OTHER_NAMES) -> None:
        plain = [name.lstrip("@#") for name in names]
        plain += [meant for name in plain for meant in others.get(name, ())]
        self._exact = frozenset(plain)
        self._globs = Globs(name for name in self._exact if not SPECIAL.isdisjoint(name))

    def __bool__(self) -> bool:
        return bool(self._exact)

    def fits(self, one: Traits) -> bool:
        return any(name in self._exact or self._globs.fit(name) for name in one.names)


def require_few(names: Collection[str], field: str) -> None:
    """Patterns cost something at every event: they may have so many characters together.

    Raises:
        BadMessage: they have more.
    """
    length = sum(len(name) for name in names if not SPECIAL.isdisjoint(name))
    if length > MOST_PATTERNS:
        raise BadMessage(
            f"Names with *, ? or [ may have {MOST_PATTERNS} characters together; these have {length}.",
            field=field,
        )
