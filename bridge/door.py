"""The door: takes in a message, or refuses it, and has it stored: in the log at once, or as a command."""

from __future__ import annotations

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
    Unavailable,
)
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.entry import Fence, fenced
from backchannel.jetstream.publish import Entry, Publisher, Stored
from backchannel.jetstream.read import find_id
from backchannel.protocol.catalog import AnyMessage
from backchannel.protocol.claims import Claims
from backchannel.protocol.identifier import MAIN
from backchannel.protocol.lane import Lane
from backchannel.protocol.mention import MentionRoute
from backchannel.protocol.message import Way
from backchannel.protocol.presence import AgentPresence
from backchannel.protocol.subject import life_of
from backchannel.service.admit import Sender, entries_of
from backchannel.service.parking import Quarantine
from backchannel.service.states import digest_of
from bridge.directory import Directory
from bridge.feed import Feed
from bridge.saying import Saying
from bridge.under_way import UnderWay

Answer = Callable[[Stored | BackchannelError], None]
TRIES = 16
"""How often a message is decided anew because its sidebar changed meanwhile."""

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


@dataclass(frozen=True, slots=True)
class _Offered:
    """A message on its way to the log: what it was charged with, what it rests on, and whom to tell.

    `paid` tells `answer`, and charges next to nothing for what lay in the log before.
    """

    caller: Caller
    content: dict[str, Any]
    message: AnyMessage
    size: int
    fence: Fence | None
    paid: Answer
    answer: Answer


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
        under_way: UnderWay,
    ) -> None:
        self._publisher = publisher
        self._saying = Saying(publisher)
        self._under_way = under_way
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
        fence = self._fence(caller, message)
        if self._under_way.must_wait(caller.owner, fence):
            return self._offer_in_turn(caller, content, message, answer)
        found = self._looked_at(caller, message)
        whom = self._plainly(caller, message)
        if whom is None or found.reason is not None:
            return self._offer_slowly(caller, content, message, answer)
        at = self._whereabouts(caller, message)
        entries = entries_of(caller.sender, content, message, whom, found.hops, at)
        size = self._charge(caller, message, entries)
        offered = _Offered(caller, content, message, size, fence, self._paid(caller, size, answer), answer)
        try:
            return self._send(offered, entries)
        except BackchannelError:
            self._budget.give_back(caller.owner, size)
            raise

    async def _offer_in_turn(
        self, caller: Caller, content: dict[str, Any], message: AnyMessage, answer: Answer
    ) -> None:
        """What this sender said before comes first."""
        await self._under_way.settled(caller.owner)
        try:
            under_way = self.offer(caller, content, message, answer)
        except BackchannelError as error:
            answer(error)
            return
        if under_way is not None:
            await under_way

    def _send(self, offered: _Offered, entries: list[Entry]) -> Coroutine[Any, Any, None] | None:
        caller, message, answer = offered.caller, offered.message, offered.paid
        if isinstance(message, AgentPresence) and (state := digest_of(offered.content)) is not None:
            return self._saying.offer(caller.feed, caller.agent, entries, state, answer)
        if len(entries) > 1:
            return self._commit(offered, entries)
        before = (caller.feed.stream, caller.feed.position)
        if offered.fence is None:
            self._publisher.post(entries[0], answer, before=before)
        else:
            self._post_behind(offered.fence, offered, entries, before)
        return None

    def _post_behind(
        self, fence: Fence, offered: _Offered, entries: list[Entry], before: tuple[str, int]
    ) -> None:
        owner = offered.caller.owner
        number = self._under_way.begins(owner, fence)

        def done(outcome: Stored | BackchannelError) -> None:
            stale = isinstance(outcome, Conflict)
            self._under_way.ends(owner, fence, number, (lambda: self._anew(offered)) if stale else None)
            if not stale:
                offered.paid(outcome)

        try:
            self._publisher.post(fenced(entries, [fence])[0], done, before=before, looked_into=False)
        except BackchannelError:
            self._under_way.ends(owner, fence, number)
            raise

    async def _anew(self, offered: _Offered) -> None:
        """Somebody came or went meanwhile, or the sidebar ended: what was decided holds no more."""
        self._budget.give_back(offered.caller.owner, offered.size)
        await self._offer_slowly(offered.caller, offered.content, offered.message, offered.answer)

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
        fence, whom = self._fence(caller, message), self._plainly(caller, message)
        for _ in range(TRIES):
            if whom is None:
                fence = await self._fence_anew(caller, message)
                try:
                    whom = await self._check_again(caller, message)
                except (Forbidden, IllegalTransition, Conflict):
                    entries = entries_of(caller.sender, content, message)
                    if (before := await self._stored_before(caller, message, entries)) is not None:
                        return before
                    raise
            if (stored := await self._stored(caller, content, message, whom, fence)) is not None:
                return stored
            whom = None
        raise Unavailable("Its sidebar changed again and again; send it again.", retry_after=1.0)

    async def _stored(
        self,
        caller: Caller,
        content: dict[str, Any],
        message: AnyMessage,
        whom: Called,
        fence: Fence | None,
    ) -> Stored | None:
        """None if its sidebar changed meanwhile: then it has to be decided anew."""
        found, at = self._looked_at(caller, message), self._whereabouts(caller, message)
        entries = entries_of(caller.sender, content, message, whom, found.hops, at)
        if found.reason is not None:
            if (before := await self._find(entries)) is not None:
                return before
            self._charge(caller, message, entries)
            await self._quarantine.park(caller.sender, message, entries, found, self._settings().loops.window)
        size = self._charge(caller, message, entries)
        try:
            stored = await self._publisher.commit(entries, () if fence is None else (fence,))
        except Conflict:
            self._budget.give_back(caller.owner, size)
            return None
        if stored.duplicate:
            self._budget.repeated(caller.owner, size)
        return stored

    def _fence(self, caller: Caller, message: AnyMessage) -> Fence | None:
        """What is said in a sidebar, or of it, rests on who is in there: the log is to refuse it if that has
        changed by then, however old what is known here may be, and however long it is on its way."""
        context_id = context_of(message)
        if context_id in (None, MAIN) or not caller.feed.fences:
            return None
        changed = caller.feed.membership.changed_at(str(context_id))
        return Fence(life_of(caller.feed.group, str(context_id)), changed)

    async def _fence_anew(self, caller: Caller, message: AnyMessage) -> Fence | None:
        """The same as the log's leader has it; who is in there is known here as of then."""
        context_id = context_of(message)
        if context_id in (None, MAIN):
            return None
        changed = await caller.feed.refresh(str(context_id))
        if caller.feed.membership.changed_at(str(context_id)) < changed:
            raise Unavailable("Who is in the sidebar now is not known here yet; try again.", retry_after=1.0)
        return Fence(life_of(caller.feed.group, str(context_id)), changed) if caller.feed.fences else None

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

    async def _offer_slowly(
        self, caller: Caller, content: dict[str, Any], message: AnyMessage, answer: Answer
    ) -> None:
        try:
            stored = await self.store(caller, content, message)
        except BackchannelError as error:
            answer(error)
        else:
            answer(stored)

    async def _commit(self, offered: _Offered, entries: list[Entry]) -> None:
        fence = offered.fence
        try:
            stored = await self._publisher.commit(entries, () if fence is None else (fence,))
        except Conflict:
            await self._under_way.settled(offered.caller.owner)  # what is before it may be refused, too
            await self._anew(offered)
        except BackchannelError as error:
            offered.paid(error)
        else:
            offered.paid(stored)

    async def _check_again(self, caller: Caller, message: AnyMessage) -> Called:
        """What is known here would refuse it: ask the directory itself, as the log was asked, then decide."""
        names = few(called(text_of(message)), caller.agent)
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
