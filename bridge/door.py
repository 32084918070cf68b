"""The door: takes in a message, or refuses it, and has it stored: in the log at once, or as a command."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from backchannel.delivery.admission import admit, context_of, whereabouts
from backchannel.delivery.budget import ByteBudget
from backchannel.delivery.calls import Called, called, few, text_of
from backchannel.delivery.loops import Finding
from backchannel.domain.delegation import MOST as MOST_DELEGATES
from backchannel.domain.settings import Settings
from backchannel.errors import (
    BackchannelError,
    BadMessage,
    Conflict,
    Forbidden,
    IllegalTransition,
    Refused,
)
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.publish import Entry, Publisher, Stored
from backchannel.jetstream.read import find_id
from backchannel.protocol.catalog import AnyMessage
from backchannel.protocol.claims import Claims
from backchannel.protocol.identifier import MAIN
from backchannel.protocol.lane import Lane
from backchannel.protocol.mention import MentionRoute
from backchannel.protocol.message import Way
from backchannel.protocol.presence import AgentPresence
from backchannel.service.admit import Sender, entries_of
from backchannel.service.parking import Quarantine
from backchannel.service.states import digest_of
from bridge.directory import Directory
from bridge.feed import Feed
from bridge.states import again

Answer = Callable[[Stored | BackchannelError], None]
OF_A_COMMAND = 2
"""How often a command comes to lie in the streams: as it was sent, and in the event that tells of it."""


def _copies(message: AnyMessage) -> int:
    """How often each entry may come to lie in the streams; what is urgent is offered to others as well."""
    if isinstance(message, MentionRoute) and message.lane is Lane.CRITICAL:
        return 1 + MOST_DELEGATES
    return OF_A_COMMAND if message.way is Way.STATEFUL else 1


@dataclass(frozen=True, slots=True)
class Caller:
    """Who wants something stored, and the feed of its group.

    Args:
        paid: bytes of what it wants stored that its budget was charged with already.
    """

    claims: Claims
    feed: Feed
    paid: int = 0

    @property
    def agent(self) -> str:
        return self.claims.sub

    @property
    def sender(self) -> Sender:
        return Sender(self.claims)

    @property
    def owner(self) -> tuple[str, str]:
        return self.claims.collaboration_group, self.claims.sub


class Door:
    """Admission of messages, the same for every way they come in."""

    def __init__(
        self,
        publisher: Publisher,
        reading: Connection,
        directory: Directory,
        quarantine: Quarantine,
        settings: Callable[[], Settings],
        budget: ByteBudget,
    ) -> None:
        self._publisher = publisher
        self._budget = budget
        self._quarantine = quarantine
        self._settings = settings
        self._reading = reading
        self._directory = directory

    def offer(
        self, caller: Caller, content: dict[str, Any], message: AnyMessage, answer: Answer
    ) -> Coroutine[Any, Any, None] | None:
        """Have a message stored; `answer` is told what came of it, once.

        Returns what must be awaited before the next message of this caller may be offered, if there is
        something that takes a while.

        Raises:
            Refused: it may not be stored; nothing was.
        """
        found = self._looked_at(caller, message)
        whom = self._plainly(caller, message)
        if whom is None or found.reason is not None:
            return self._offer_slowly(caller, content, message, answer)
        at = self._whereabouts(caller, message)
        entries = entries_of(caller.sender, content, message, whom, found.hops, at)
        size = self._charge(caller, message, entries)
        try:
            return self._send(caller, content, message, entries, self._paid(caller, size, answer))
        except BackchannelError:
            self._budget.give_back(caller.owner, size)
            raise

    def _send(
        self,
        caller: Caller,
        content: dict[str, Any],
        message: AnyMessage,
        entries: list[Entry],
        answer: Answer,
    ) -> Coroutine[Any, Any, None] | None:
        if isinstance(message, AgentPresence) and (state := digest_of(content)) is not None:
            return self._offer_state(caller, entries, state, answer)
        if len(entries) > 1:
            return self._commit(entries, answer)
        self._publisher.post(entries[0], answer, before=(caller.feed.stream, caller.feed.position))
        return None

    def _charge(self, caller: Caller, message: AnyMessage, entries: Sequence[Entry]) -> int:
        """All that it adds to the log, every copy of it; how much that is. Raises TooLarge, RateLimited."""
        size = max(_copies(message) * sum(entry.size for entry in entries) - caller.paid, 0)
        self._budget.charge(caller.owner, size, time.time())
        return size

    def _paid(self, caller: Caller, size: int, answer: Answer) -> Answer:
        """The same answer; what lay there before costs next to nothing."""

        def told(outcome: Stored | BackchannelError) -> None:
            if isinstance(outcome, Stored) and outcome.duplicate:
                self._budget.repeated(caller.owner, size)
            answer(outcome)

        return told

    async def store(self, caller: Caller, content: dict[str, Any], message: AnyMessage) -> Stored:
        """The same for somebody who waits.

        Raises:
            Refused: it may not be stored.
            Unavailable: it was not stored.
        """
        found = self._looked_at(caller, message)
        whom = self._plainly(caller, message)
        if whom is None:
            try:
                whom = await self._check_again(caller, message)
            except (Forbidden, IllegalTransition, Conflict):
                entries = entries_of(caller.sender, content, message)
                if (before := await self._stored_before(caller, message, entries)) is not None:
                    return before
                raise
        at = self._whereabouts(caller, message)
        entries = entries_of(caller.sender, content, message, whom, found.hops, at)
        if found.reason is not None:
            if (before := await self._find(entries)) is not None:
                return before
            self._charge(caller, message, entries)
            await self._quarantine.park(caller.sender, message, entries, found, self._settings().loops.window)
        size = self._charge(caller, message, entries)
        stored = await self._publisher.commit(entries)
        if stored.duplicate:
            self._budget.repeated(caller.owner, size)
        return stored

    def _plainly(self, caller: Caller, message: AnyMessage) -> Called | None:
        """Whom its text calls, if what is known here is enough to admit it."""
        try:
            return self._check(caller, message)
        except BadMessage:
            raise
        except (Refused, Conflict):
            return None

    def _whereabouts(self, caller: Caller, message: AnyMessage) -> str | None:
        return whereabouts(caller.agent, message, caller.feed.membership)

    def _offer_state(
        self, caller: Caller, entries: list[Entry], found: str, answer: Answer
    ) -> Coroutine[Any, Any, None] | None:
        """Saying the same again within a short time is a duplicate: it stores nothing and nobody hears it."""
        states, agent, now = caller.feed.states, caller.agent, time.time()
        if states.joins(agent, found, answer):
            return None
        repeated = states.repeated(agent, found, now)
        if repeated is not None and not repeated.sure:
            return self._look_again(caller, entries, found, answer)
        if repeated is not None:
            asyncio.get_running_loop().call_soon(answer, again(repeated.sequence, caller.feed.stream))
            return None
        done = states.sends(agent, found, answer, now)
        if len(entries) > 1:
            return self._commit(entries, done)
        try:
            self._publisher.post(entries[0], done)
        except BackchannelError:
            states.gave_up(agent)
            raise
        return None

    async def _look_again(self, caller: Caller, entries: list[Entry], found: str, answer: Answer) -> None:
        """The state it repeats came in at another bridge: a newer one may be on its way from there."""
        states = caller.feed.states
        try:
            await caller.feed.catch_up()
            repeated = states.repeated(caller.agent, found, time.time())
            if repeated is not None:
                states.made_sure(caller.agent, repeated)
            if (under_way := self._offer_state(caller, entries, found, answer)) is not None:
                await under_way
        except BackchannelError as error:
            answer(error)

    async def _offer_slowly(
        self, caller: Caller, content: dict[str, Any], message: AnyMessage, answer: Answer
    ) -> None:
        try:
            stored = await self.store(caller, content, message)
        except BackchannelError as error:
            answer(error)
        else:
            answer(stored)

    async def _commit(self, entries: list[Entry], answer: Answer) -> None:
        try:
            stored = await self._publisher.commit(entries)
        except BackchannelError as error:
            answer(error)
        else:
            answer(stored)

    async def _check_again(self, caller: Caller, message: AnyMessage) -> Called:
        """What is known here would refuse it: ask the log and the directory themselves, then decide."""
        names = few(called(text_of(message)), caller.agent)
        context_id = context_of(message)
        if context_id not in (None, MAIN):
            await caller.feed.refresh(str(context_id))
        if isinstance(message, MentionRoute):
            await self._directory.ask(caller.feed.group, message.target_agents)
        await self._directory.ask(caller.feed.group, names)
        return self._check(caller, message)

    def _looked_at(self, caller: Caller, message: AnyMessage) -> Finding:
        """Whether agents go round in circles by it. Where a human speaks, a new chain begins."""
        if caller.claims.entity_type == "human":
            return Finding(0)
        return caller.feed.exchanges.find(caller.agent, message, self._settings())

    async def _stored_before(
        self, caller: Caller, message: AnyMessage, entries: Sequence[Entry]
    ) -> Stored | None:
        """Whoever repeats what was stored while it might learns just that, though it may no more now.

        Only former participants are worth a look into the log.
        """
        if context_of(message) not in caller.feed.membership.ever_of(caller.agent):
            return None
        return await self._find(entries)

    async def _find(self, entries: Sequence[Entry]) -> Stored | None:
        found = await find_id(self._reading, entries[0].subject, entries[0].message_id or "")
        return Stored(found[1], True, found[0]) if found else None

    def _check(self, caller: Caller, message: AnyMessage) -> Called:
        group, directory = caller.feed.group, self._directory
        return admit(
            caller.agent,
            message,
            caller.feed.membership,
            lambda name: directory.knows(group, name),
            lambda specialty: directory.skilled(group, specialty),
        )
