"""Loops: how long a chain of causes is, how much two agents say to each other, and when that is too much."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from backchannel.protocol.catalog import AnyMessage
from backchannel.protocol.memory import MemoryUpdate
from backchannel.protocol.mention import MentionRoute
from backchannel.protocol.message import one_form
from backchannel.protocol.sidebar import SidebarMessage, SidebarMessageBody

MOST_KNOWN = 20_000
"""Messages of which it is remembered who sent them and how long their chain is,"""

MOST_PAIRS = 10_000
"""and pairs of which it is counted how much they say. The oldest are forgotten."""


class Bounds(NamedTuple):
    """How long a chain may be, and how many messages two agents may exchange within so many seconds."""

    max_hops: int
    pair_budget: int
    window: float


class Known(NamedTuple):
    """Who sent a message, and how many messages led to it."""

    sender: str
    hops: int


@dataclass(slots=True)
class _Pair:
    began: float
    count: int = 0
    last: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a message would be: its hops, and, if it is too much, why, and between whom it goes round."""

    hops: int
    reason: str | None = None
    between: tuple[str, ...] = ()


class Loops:
    """What one group's log tells of chains and pairs. Filled from the log: every bridge counts alike."""

    __slots__ = ("_known", "_pairs")

    def __init__(self) -> None:
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._pairs: OrderedDict[tuple[str, str], _Pair] = OrderedDict()

    def known(self, message_id: str | None) -> Known | None:
        """A recent message by its id."""
        return self._known.get(one_form(message_id)) if message_id is not None else None

    def note(self, message_id: str, sender: str, hops: int) -> None:
        """A message lies in the log. Whoever takes the id of another's message makes no chain shorter, and
        none longer: who answers that message would be parked for it."""
        message_id = one_form(message_id)
        former = self._known.get(message_id)
        if former is not None:
            hops = max(former.hops, hops) if former.sender == sender else former.hops
            sender = former.sender
        self._known[message_id] = Known(sender, hops)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    def exchanged(self, sender: str, others: Iterable[str], now: float, window: float) -> None:
        """A message in the log was for these in person."""
        for other in others:
            pair = self._pair(sender, other, now, window)
            pair.count += 1
            pair.last = sender

    def talked(self, sender: str, other: str, now: float, window: float) -> None:
        """Something was said where only these two are: it counts when they take turns."""
        pair = self._pair(sender, other, now, window)
        pair.count += pair.last != sender
        pair.last = sender

    def find(
        self, sender: str, message: AnyMessage, alone_with: Collection[str], bounds: Bounds, now: float
    ) -> Finding:
        """What comes of a message of `sender`; `alone_with`: who else is where it goes, if that is one."""
        cause = self._cause(message)
        names_cause = message.reply_to is not None or message.causation_id is not None
        hops = (cause.hops if cause else 0) + 1 if names_cause else 0
        if not is_talk(message):
            return Finding(hops)
        others = others_of(sender, message, cause, alone_with)
        if hops > bounds.max_hops:
            return Finding(
                hops, f"It is the {hops}th message of a chain; {bounds.max_hops} may follow.", others
            )
        for other in others:
            found = self._pairs.get(_pair(sender, other))
            if found and now - found.began < bounds.window and found.count >= bounds.pair_budget:
                told = f"{sender} and {other} exchanged {found.count} messages in {bounds.window:.0f} s"
                return Finding(hops, f"{told}; {bounds.pair_budget} are allowed.", (other,))
        return Finding(hops)

    def _cause(self, message: AnyMessage) -> Known | None:
        """The one with the longer chain, if it names two."""
        named = [self.known(message.causation_id), self.known(message.reply_to)]
        return max((one for one in named if one), key=lambda one: one.hops, default=None)

    def _pair(self, sender: str, other: str, now: float, window: float) -> _Pair:
        key = _pair(sender, other)
        pair = self._pairs.get(key)
        if pair is None or now - pair.began >= window:
            pair = self._pairs[key] = _Pair(now, last=pair.last if pair else "")
            self._pairs.move_to_end(key)
            if len(self._pairs) > MOST_PAIRS:
                self._pairs.popitem(last=False)
        return pair


def is_talk(message: AnyMessage) -> bool:
    """Whether agents may go round in circles by it. Emergencies and presence are never parked."""
    return isinstance(message, MemoryUpdate | SidebarMessageBody | MentionRoute)


def others_of(
    sender: str, message: AnyMessage, cause: Known | None, alone_with: Collection[str]
) -> tuple[str, ...]:
    """For whom in person a message is: whom it mentions, whom it answers, who alone hears it."""
    named = set(message.target_agents) if isinstance(message, MentionRoute) else set()
    if cause is not None:
        named.add(cause.sender)
    if isinstance(message, SidebarMessage | MemoryUpdate):
        named.update(alone_with)
    return tuple(sorted(named - {sender}))


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)
