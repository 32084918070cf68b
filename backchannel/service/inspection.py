"""What became of one message: as a command, its result, what was set aside, who came too late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backchannel.delivery.cursor import Cursor
from backchannel.errors import BackchannelError
from backchannel.jetstream.read import Record, describe, page
from backchannel.protocol.identifier import MAIN, OPERATOR
from backchannel.protocol.json_object import read_object
from backchannel.protocol.message import one_form
from backchannel.protocol.subject import COMMANDS, InContext, InInbox, asked, events_stream, locate
from backchannel.service.context import Inquiry
from backchannel.service.finding import FAR, Copy, may_name, membership_at
from backchannel.service.redeliver import dead_of

AT_ONCE = 1000
MOST_SET_ASIDE = 5_000


async def may_ask(inquiry: Inquiry, sender: str | None) -> bool:
    """Who may know what became of a message: its sender, the sender's supervisor, the operator."""
    if inquiry.role == OPERATOR or sender == inquiry.caller:
        return True
    return sender in (await inquiry.asker()).charges


def told_of(copy: Copy, epoch: str) -> dict[str, Any]:
    """One event of a message, without what it says."""
    return {
        "cursor": str(Cursor(epoch, copy.sequence)),
        "sequence": copy.sequence,
        "at": copy.record.time,
        "subject": copy.record.subject,
        "lane": copy.place.lane,
        "type": copy.content.get("type"),
    }


async def as_command(inquiry: Inquiry, message_id: str) -> dict[str, Any] | None:
    """The command of that id, if it still waits or was handled a short while ago."""
    facts = await describe(inquiry.house.connection, COMMANDS)
    filter, after = f"bc.{inquiry.group}.cmd.>", max(facts.first - 1, facts.last - FAR)
    for record in await _bearing(inquiry, COMMANDS, filter, after, facts.last, message_id, "message_id"):
        found = asked(record.subject)
        if found is not None and await may_ask(inquiry, found.agent):
            return {
                "sender": found.agent,
                "type": found.type,
                "lane": found.lane,
                "at": record.time,
                "subject": record.subject,
            }
    return None


async def outcome_of(
    inquiry: Inquiry, sender: str | None, message_id: str, until: int
) -> dict[str, Any] | None:
    """What the sender of a command was told last: what was decided about a tool, or its result.

    Args:
        sender: None if the command is gone; then whoever was told is it.
        until: from where to look back.
    """
    facts = await inquiry.house.log(inquiry.group)
    after, stream = max(facts.first - 1, until - FAR), events_stream(inquiry.group)
    for kind in ("decision", "result"):
        filter = f"bc.{inquiry.group}.evt.inbox.{sender or '*'}.*.{kind}"
        told = await _bearing(inquiry, stream, filter, after, until, message_id, "in_reply_to", every=True)
        place = locate(told[-1].subject) if told else None
        if place is None or not isinstance(place.to, InInbox):
            continue
        if await may_ask(inquiry, place.to.agent_id):
            at = {"cursor": str(Cursor(facts.epoch, told[-1].sequence)), "at": told[-1].time}
            return at | _said(read_object(told[-1].payload), place.to.agent_id)
    return None


def _said(told: Mapping[str, Any], sender: str) -> dict[str, Any]:
    return {
        "sender": sender,
        "type": told.get("type"),
        "status": told.get("status") or told.get("decision"),
        "code": told.get("code"),
        "message": told.get("message") or told.get("reason"),
    }


async def _bearing(
    inquiry: Inquiry,
    stream: str,
    filter: str,
    after: int,
    until: int,
    message_id: str,
    field: str,
    every: bool = False,
) -> list[Record]:
    """The records whose field names the message: every one, or the first that are found."""
    found: list[Record] = []
    done = False
    while not done and (every or not found):
        part = await page(inquiry.house.connection, stream, after, limit=AT_ONCE, filter=filter, until=until)
        found += [record for record in part.records if _bears(record, message_id, field)]
        after, done = part.last_sequence_scanned, part.done
    return found


def _bears(record: Record, message_id: str, field: str) -> bool:
    if not may_name(record, message_id):
        return False
    try:
        return one_form(str(read_object(record.payload).get(field))) == message_id
    except BackchannelError:
        return False


async def set_aside_of(inquiry: Inquiry, message_id: str) -> list[dict[str, Any]]:
    """What of it could not be handled, and why."""
    found: list[dict[str, Any]] = []
    looked_at = 0
    async for dead in dead_of(inquiry.house.connection, inquiry.group):
        looked_at += 1
        if looked_at > MOST_SET_ASIDE:
            break
        command = asked(str(dead.kept.get("subject")))
        sender = command.agent if command is not None else None
        if one_form(dead.message_id or "") == message_id and await may_ask(inquiry, sender):
            found.append(dead.shown())
    return found


async def came_later(inquiry: Inquiry, own: Sequence[Copy]) -> list[dict[str, Any]]:
    """Who is in the sidebar now and was not when it was said: why it did not arrive there."""
    to = own[0].place.to
    if not isinstance(to, InContext) or to.context_id == MAIN:
        return []
    then = (await membership_at(inquiry.house, inquiry.group, to.context_id, own[0].sequence)).members(
        to.context_id
    )
    sidebar = await inquiry.house.past(inquiry.group, to.context_id)
    now = frozenset(sidebar.members) if sidebar is not None else frozenset[str]()
    return [{"agent_id": name, "why": f"came into {to.context_id} after it"} for name in sorted(now - then)]
