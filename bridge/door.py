"""The door: what a message needs to be stored, and how it is: to the log at once, or as a command."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import pydantic_core

from backchannel.delivery.audience import Membership
from backchannel.errors import (
    BackchannelError,
    BadMessage,
    Forbidden,
    IllegalTransition,
    NotFound,
    Refused,
    TooLarge,
    Unavailable,
    UnknownAgent,
)
from backchannel.jetstream.publish import Entry, Publisher, Stored
from backchannel.protocol.catalog import AnyMessage
from backchannel.protocol.claims import Claims
from backchannel.protocol.emergency import CriticalFailure, SecurityEmergency
from backchannel.protocol.identifier import MAIN
from backchannel.protocol.memory import MemoryUpdate
from backchannel.protocol.mention import MentionRoute
from backchannel.protocol.message import Way
from backchannel.protocol.presence import AgentPresence
from backchannel.protocol.sidebar import SidebarMessage, SidebarMessageBody
from backchannel.protocol.subject import Destination, InContext, InInbox, ToEveryone, command_subject
from bridge.directory import Directory
from bridge.feed import Feed

Answer = Callable[[Stored | BackchannelError], None]
TRACE_PARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
MOST_STORED = 1_572_864
FILLED_BY_PLATFORM = ("cursor", "status", "old_status", "members", "by", "cause")
"""Fields of a sidebar's message that only the platform fills."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who wants something stored, and the feed of its group."""

    claims: Claims
    feed: Feed

    @property
    def agent(self) -> str:
        return self.claims.sub


class Door:
    """Admission of messages, the same for every way they come in."""

    def __init__(self, publisher: Publisher, directory: Directory) -> None:
        self._publisher = publisher
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
        require_offered(message)
        if not self._is_plain(caller, message):
            return self._offer_slowly(caller, content, message, answer)
        entries = entries_of(caller, content, message)
        if len(entries) > 1:
            return self._commit(entries, answer)
        self._publisher.post(entries[0], answer)
        return None

    async def store(self, caller: Caller, content: dict[str, Any], message: AnyMessage) -> Stored:
        """The same for somebody who waits.

        Raises:
            Refused: it may not be stored.
            Unavailable: it was not stored.
        """
        require_offered(message)
        if not self._is_plain(caller, message):
            await self._check_again(caller, message)
        return await self._publisher.commit(entries_of(caller, content, message))

    def _is_plain(self, caller: Caller, message: AnyMessage) -> bool:
        """Whether what is known here is enough to admit it."""
        try:
            self._check(caller, message)
        except BadMessage:
            raise
        except Refused:
            return False
        return True

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

    async def _check_again(self, caller: Caller, message: AnyMessage) -> None:
        """What is known here would refuse it: ask the log and the directory themselves, then decide."""
        context_id = context_of(message)
        if context_id not in (None, MAIN):
            await caller.feed.refresh(str(context_id))
        if isinstance(message, MentionRoute):
            await self._directory.ask(caller.feed.group, message.target_agents)
        self._check(caller, message)

    def _check(self, caller: Caller, message: AnyMessage) -> None:
        context_id = context_of(message)
        if context_id is not None:
            writes = not isinstance(message, MentionRoute)
            check_context(caller.agent, context_id, caller.feed.membership, writes=writes)
        if isinstance(message, MentionRoute):
            self._check_targets(caller, message)

    def _check_targets(self, caller: Caller, mention: MentionRoute) -> None:
        if caller.agent in mention.target_agents:
            raise BadMessage("An agent cannot mention itself; leave it out.", field="target_agents")
        group = caller.feed.group
        unknown = [name for name in mention.target_agents if not self._directory.knows(group, name)]
        if unknown:
            raise UnknownAgent(
                f"Nobody in the group {group} is called {', '.join(sorted(set(unknown)))}; nobody was told.",
                field="target_agents",
            )


def require_offered(message: AnyMessage) -> None:
    """Raises Unavailable for what nothing here answers yet."""
    if message.way is Way.STATEFUL and not isinstance(message, SidebarMessageBody):
        raise Unavailable(f"This platform does not offer {message.type!r} yet.", field="type")


def context_of(message: AnyMessage) -> str | None:
    """The context a message would be stored in or speaks of, if its sender must be in there."""
    match message:
        case MemoryUpdate(context_id=context_id):
            return context_id
        case SidebarMessage(sidebar_id=sidebar_id) | MentionRoute(sidebar_id=sidebar_id):
            return sidebar_id
    return None


def check_context(agent: str, context_id: str, membership: Membership, *, writes: bool) -> None:
    """Whether an agent may speak of a context, or write into it.

    Raises:
        NotFound: there is no such sidebar.
        Forbidden: the agent is not in it.
        IllegalTransition: it takes no messages any more.
    """
    if context_id == MAIN:
        return
    if not membership.knows(context_id):
        raise NotFound(f"There is no sidebar {context_id}.", field="sidebar_id")
    if agent not in membership.members(context_id):
        raise Forbidden(
            f"{agent} is not a participant of the sidebar {context_id}; ask one of them to invite you.",
            field="sidebar_id",
        )
    if writes and not membership.is_open(context_id):
        raise IllegalTransition(
            f"The sidebar {context_id} is {membership.status(context_id)} and takes no messages; fork it.",
            field="sidebar_id",
        )


def entries_of(caller: Caller, content: dict[str, Any], message: AnyMessage) -> list[Entry]:
    """What is to be stored. The payload is made once from what was read: canonical, unknown fields kept."""
    content = content | {"sender_agent_id": caller.agent}
    if message.way is Way.STATEFUL:
        return [_command(caller, content, message)]
    for name in _platforms_own(message):
        content.pop(name, None)
    match message:
        case MemoryUpdate(context_id=context_id):
            return [_event(caller, content, message, InContext(context_id, "memory"))]
        case SidebarMessage(sidebar_id=sidebar_id):
            return [_event(caller, content, message, InContext(sidebar_id, "talk"))]
        case MentionRoute():
            return _mentions(caller, content, message)
        case AgentPresence():
            content["agent_id"] = caller.agent
            return [_event(caller, content, message, ToEveryone("presence"))]
        case SecurityEmergency() | CriticalFailure():
            content |= {"type": f"{message.type}_broadcast", "priority_lane": True}
            return [_event(caller, content, message, ToEveryone("broadcast"))]
    raise Unavailable(f"This platform does not offer {message.type!r} yet.", field="type")


def _platforms_own(message: AnyMessage) -> tuple[str, ...]:
    match message:
        case SidebarMessage():
            return FILLED_BY_PLATFORM
        case AgentPresence():
            return ("cursor", "active_sidebars")
    return ("cursor",)


def _mentions(caller: Caller, content: dict[str, Any], mention: MentionRoute) -> list[Entry]:
    payload = _written(content)
    return [
        _entry(
            InInbox(target, "mention").subject(caller.feed.group, mention.lane),
            payload,
            _headers(caller, content, mention, f":{target}"),
        )
        for target in dict.fromkeys(mention.target_agents)
    ]


def _event(caller: Caller, content: dict[str, Any], message: AnyMessage, to: Destination) -> Entry:
    subject = to.subject(caller.feed.group, message.lane)
    return _entry(subject, _written(content), _headers(caller, content, message))


def _command(caller: Caller, content: dict[str, Any], message: AnyMessage) -> Entry:
    content.pop("cursor", None)
    claims = caller.claims.model_dump(
        mode="json", include={"entity_type", "human_supervisor", "sidebar_access"}, exclude_none=True
    )
    headers = _headers(caller, content, message)
    headers["Bc-Claims"] = pydantic_core.to_json(claims).decode()
    subject = command_subject(caller.feed.group, message.lane, caller.agent, message.type)
    return _entry(subject, _written(content), headers)


def _entry(subject: str, payload: bytes, headers: Mapping[str, str]) -> Entry:
    if len(payload) > MOST_STORED:  # a number may be written in many more digits than it was sent with
        raise TooLarge(f"The message would take {len(payload)} bytes in the log; {MOST_STORED} are allowed.")
    return Entry(subject=subject, payload=payload, headers=headers)


def _headers(
    caller: Caller, content: Mapping[str, Any], message: AnyMessage, suffix: str = ""
) -> dict[str, str]:
    headers = {
        "Nats-Msg-Id": f"{caller.agent}:{message.message_id}{suffix}",
        "Bc-Type": str(content["type"]),
        "Bc-Lane": message.lane.value,
    }
    trace = content.get("traceparent", message.trace_id)
    if isinstance(trace, str) and TRACE_PARENT.fullmatch(trace):
        headers["traceparent"] = trace
    return headers


def _written(content: Mapping[str, Any]) -> bytes:
    return pydantic_core.to_json(content, inf_nan_mode="null")
