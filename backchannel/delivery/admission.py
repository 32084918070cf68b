"""Admission: what a message needs, beyond its token, to be stored at once; the same at every door."""

from __future__ import annotations

from backchannel.delivery.audience import Membership
from backchannel.delivery.calls import NOBODY, Called, Knows, Skilled, called, resolve, some_of, text_of
from backchannel.errors import (
    BadMessage,
    Conflict,
    IllegalTransition,
    UnknownAgent,
    no_sidebar_of,
)
from backchannel.protocol.catalog import AnyMessage
from backchannel.protocol.identifier import MAIN
from backchannel.protocol.memory import MemoryUpdate
from backchannel.protocol.mention import MentionRoute
from backchannel.protocol.presence import AgentPresence
from backchannel.protocol.sealed import FORMAT, envelope_in
from backchannel.protocol.sidebar import SidebarMessage


def admit(
    agent: str,
    message: AnyMessage,
    membership: Membership,
    knows: Knows,
    skilled: Skilled = lambda specialty: (),
) -> Called:
    """Let a message in that `agent` wants stored, or say why not. Commands are decided elsewhere.

    Returns whom its text calls.

    Raises:
        Forbidden: the agent is not in the sidebar, or there is none.
        IllegalTransition: it takes no messages any more.
        BadMessage: the agent mentions itself, or says that something is sealed which is not.
        Conflict: something is sealed for others than those who are in the sidebar now.
        UnknownAgent: it mentions somebody whom the group does not know, or its text does.
    """
    context_id = context_of(message)
    if context_id is not None:
        check_context(agent, context_id, membership, writes=not isinstance(message, MentionRoute))
        _check_readers(context_id, message, membership)
    if isinstance(message, MentionRoute):
        _check_targets(agent, message, knows)
    if not (names := called(text_of(message))):
        return NOBODY
    members = None if context_id in (None, MAIN) else membership.members(str(context_id))
    return resolve(names, agent, knows, skilled, members)


def context_of(message: AnyMessage) -> str | None:
    """The context a message would be stored in or speaks of, if its sender must be in there."""
    match message:
        case MemoryUpdate(context_id=context_id):
            return context_id
        case SidebarMessage(sidebar_id=sidebar_id) | MentionRoute(sidebar_id=sidebar_id):
            return sidebar_id
    return None


def whereabouts(agent: str, message: AnyMessage, membership: Membership) -> str | None:
    """The sidebar that a presence names and its sender is in: who is in there may know. Nobody else may."""
    match message:
        case AgentPresence(current_context=str() as named) if agent in membership.members(named):
            return named
    return None


def check_context(agent: str, context_id: str, membership: Membership, *, writes: bool) -> None:
    """Whether an agent may speak of a context, or write into it. Raises as `admit`.

    One that is not there is answered as one that it is not in.
    """
    if context_id == MAIN:
        return
    if agent not in membership.members(context_id):
        raise no_sidebar_of(agent, context_id, "sidebar_id")
    if writes and not membership.is_open(context_id):
        raise IllegalTransition(
            f"The sidebar {context_id} is {membership.status(context_id)} and takes no messages; fork it.",
            field="sidebar_id",
        )


def _check_readers(context_id: str, message: AnyMessage, membership: Membership) -> None:
    """What is sealed is sealed for whoever is in the sidebar: nobody who left, nobody missing."""
    match message:
        case SidebarMessage(content=content, format=form) if form == FORMAT:
            readers = set(envelope_in(content).readers)
        case MemoryUpdate(exchange=exchange) if exchange.format == FORMAT:
            readers = set(envelope_in(exchange.content).readers)
        case _:
            return
    members = membership.members(context_id)
    if context_id != MAIN and readers != members:
        raise Conflict(
            f"It is sealed for {some_of(sorted(readers))}, but in the sidebar are"
            f" {some_of(sorted(members))}: seal it anew.",
            field="content",
        )


def _check_targets(agent: str, mention: MentionRoute, knows: Knows) -> None:
    if agent in mention.target_agents:
        raise BadMessage("An agent cannot mention itself; leave it out.", field="target_agents")
    unknown = sorted({name for name in mention.target_agents if not knows(name)})
    if unknown:
        raise UnknownAgent(
            f"Nobody in this group is called {some_of(unknown)}; nobody was told.", field="target_agents"
        )
