"""Listeners: who hears an event at once, found by what the event is for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, Protocol

import structlog

from backchannel.protocol.identifier import MAIN
from backchannel.protocol.subject import Destination, InContext, InInbox
from bridge.ring import Event
from bridge.weave import woven

log = structlog.get_logger("bridge.listeners")
EVERYONE = "*"


def key_of(to: Destination) -> str:
    """The name of an audience. Two events with one key are heard by the same listeners."""
    match to:
        case InContext(context_id) if context_id != MAIN:
            return "#" + context_id
        case InInbox(agent):
            return "@" + agent
    return EVERYONE


class Listener(Protocol):
    """A connection that hears events as they happen."""

    @property
    def agent(self) -> str: ...
    @property
    def access(self) -> Collection[str]: ...
    def hear(self, events: Sequence[Event], frames: bytes) -> None:
        """These events, in log order; `frames` is all of their frames, joined once for everybody."""

    def overtake(self, event: Event) -> bool:
        """An urgent event before its turn, and not again in its turn; False if it has to come in its turn."""

    def fail(self) -> None:
        """It could not be given something: end it."""


def give_up(listener: Listener) -> None:
    """Whatever is wrong with one listener must not reach another. Called where the exception was caught."""
    log.exception("a listener failed", agent=listener.agent)
    listener.fail()


class Share(NamedTuple):
    """What one listener hears of some events."""

    listener: Listener
    events: Sequence[Event]
    frames: bytes


class Listeners:
    """Everybody who is live, by audience. Joins frames once per set of audiences, not per listener."""

    def __init__(self) -> None:
        self._by_key: dict[str, dict[Listener, None]] = {}

    def __len__(self) -> int:
        return len(self._by_key.get(EVERYONE, ()))

    def __contains__(self, listener: Listener) -> bool:
        return listener in self._by_key.get(EVERYONE, ())

    def add(self, listener: Listener, contexts: Collection[str]) -> None:
        """Let `listener` hear everyone's events, its inbox and these contexts."""
        for key in self._keys(listener, contexts):
            self._by_key.setdefault(key, {})[listener] = None

    def remove(self, listener: Listener, contexts: Collection[str]) -> None:
        """Let it hear nothing any more; `contexts` are those it may have been in."""
        for key in self._keys(listener, contexts):
            self._drop(key, listener)

    def enter(self, agents: Collection[str], context_id: str) -> None:
        """Let the connections of these agents hear a context from now on."""
        for agent in agents:
            for listener in tuple(self._by_key.get("@" + agent, ())):
                self._by_key.setdefault("#" + context_id, {})[listener] = None

    def leave(self, agents: Collection[str], context_id: str) -> None:
        """Let them hear it no more, but those whose token names the context."""
        for agent in agents:
            for listener in tuple(self._by_key.get("@" + agent, ())):
                if context_id not in listener.access:
                    self._drop("#" + context_id, listener)

    def share(self, events: Sequence[Event]) -> Iterator[Share]:
        """Who hears which of `events` (in log order)."""
        keys = dict.fromkeys(event.key for event in events)
        if len(keys) == 1:
            frames = woven(events)
            for listener in tuple(self._by_key.get(next(iter(keys)), ())):
                yield Share(listener, events, frames)
            return
        yield from self._share_mixed(events, keys)

    def _share_mixed(self, events: Sequence[Event], keys: Collection[str]) -> Iterator[Share]:
        touched: dict[Listener, list[str]] = {}
        for key in keys:
            for listener in self._by_key.get(key, ()):
                touched.setdefault(listener, []).append(key)
        joined: dict[tuple[str, ...], tuple[list[Event], bytes]] = {}
        for listener, heard in touched.items():
            name = tuple(heard)
            if name not in joined:
                chosen = [event for event in events if event.key in heard]
                joined[name] = chosen, woven(chosen)
            yield Share(listener, *joined[name])

    def _keys(self, listener: Listener, contexts: Collection[str]) -> Iterator[str]:
        yield EVERYONE
        yield "@" + listener.agent
        for context_id in {*contexts, *listener.access} - {MAIN}:
            yield "#" + context_id

    def _drop(self, key: str, listener: Listener) -> None:
        found = self._by_key.get(key)
        if found is None:
            return
        found.pop(listener, None)
        if not found:
            del self._by_key[key]
