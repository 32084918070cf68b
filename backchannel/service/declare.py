"""How a service is declared: what it answers, what it follows, what it can be asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backchannel.domain.decision import Decision
from backchannel.jetstream.entry import Entry
from backchannel.protocol.message import Message
from backchannel.service.context import Context, Inquiry
from backchannel.service.due import Due
from backchannel.service.happened import Follower
from backchannel.service.house import House
from backchannel.service.wanted import Wanted
from backchannel.service.watcher import Watcher

Answerer = Callable[[Any, Context], Awaitable[Decision | Sequence[Entry]]]
"""Decides a command. It never publishes, acknowledges, sleeps or reads a clock.

Entries instead of a decision are stored as they are, and no result is told: they are the message itself.
"""

Alarm = Callable[[Due, Context], Awaitable[Decision]]
"""Decides what follows from a timer that has come due; things may have changed since it was started."""

Duty = Callable[[House], Awaitable[None]]
"""Goes on by itself for as long as the process does, once in it for all groups; started anew if it fails."""

Clerk = Callable[[Wanted, Context], Awaitable[Decision]]
"""Decides a request at a desk. Like a handler it never publishes, sleeps or reads a clock."""

Responder = Callable[[Inquiry], Awaitable[Mapping[str, Any]]]
"""Answers a query with the fields of its result."""


@dataclass(slots=True)
class Service:
    """One handler: a name, and the functions that answer for it.

    ``about`` is the module's docstring; ``doctor`` shows it. ``awaited`` says that a process is ready
    only when the service has called ``house.announce(name)``.
    """

    name: str
    about: str | None = None
    answerers: dict[str, Answerer] = field(default_factory=dict)
    beside: set[str] = field(default_factory=set)
    responders: dict[str, Responder] = field(default_factory=dict)
    searching: set[str] = field(default_factory=set)
    followers: dict[tuple[str, ...], Follower] = field(default_factory=dict)
    timers: dict[str, Alarm] = field(default_factory=dict)
    watchers: dict[str, Watcher] = field(default_factory=dict)
    duties: dict[str, Duty] = field(default_factory=dict)
    awaited: bool = False
    desks: dict[str, Clerk] = field(default_factory=dict)

    def on(self, *kinds: type[Message], beside: bool = False) -> Callable[[Answerer], Answerer]:
        """Let the function answer commands of these types.

        Args:
            beside: those of different senders may be decided together. That is for commands that say
                `repeated` when they come again, and rest on nothing that another sender's may change.
        """

        def declared(answerer: Answerer) -> Answerer:
            for kind in kinds:
                name = kind.model_fields["type"].default
                self.answerers[name] = answerer
                if beside:
                    self.beside.add(name)
            return answerer

        return declared

    def due(self, name: str) -> Callable[[Alarm], Alarm]:
        """Let the function answer this service's timers of this name when they come due."""

        def declared(alarm: Alarm) -> Alarm:
            self.timers[name] = alarm
            return alarm

        return declared

    def duty(self, work: Duty) -> Duty:
        """Let the function go on by itself."""
        self.duties[work.__name__] = work
        return work

    def decides(self, name: str) -> Callable[[Clerk], Clerk]:
        """Let the function decide requests at this desk, which are answered once all is stored."""

        def declared(clerk: Clerk) -> Clerk:
            self.desks[name] = clerk
            return clerk

        return declared

    def answers(self, query: str, *, searches: bool = False) -> Callable[[Responder], Responder]:
        """Let the function answer queries of this name.

        Args:
            searches: it may look through much of the log; each caller has one such query answered at a time.
        """

        def declared(responder: Responder) -> Responder:
            self.responders[query] = responder
            if searches:
                self.searching.add(query)
            return responder

        return declared

    def follows(self, *patterns: str) -> Callable[[Follower], Follower]:
        """Let the function see every event whose subject matches; ``{group}`` is filled in.

        One function to a service, for its place in the log is kept under the service's name.
        """

        def declared(follower: Follower) -> Follower:
            if self.followers:
                raise ValueError(
                    f"The service {self.name} follows events already; give all patterns at once."
                )
            self.followers[patterns] = follower
            return follower

        return declared

    def watches(self, bucket: str) -> Callable[[Watcher], Watcher]:
        """Let the function look at every change in a bucket whose keys begin with the group."""

        def declared(watcher: Watcher) -> Watcher:
            self.watchers[bucket] = watcher
            return watcher

        return declared
