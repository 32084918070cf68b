"""Finding a message in the log by its id: where it was stored, and who it went to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from backchannel.delivery.audience import Membership, life
from backchannel.delivery.cursor import Cursor
from backchannel.errors import BackchannelError, BadMessage
from backchannel.jetstream.read import Record, page
from backchannel.protocol.identifier import MAIN
from backchannel.protocol.json_object import read_object
from backchannel.protocol.message import one_form
from backchannel.protocol.subject import InContext, InInbox, Located, events_stream, inbox_of, life_of, locate
from backchannel.service.house import House

AT_ONCE = 1000
NEAR = 300
"""As many events of one message lie beside each other at most."""
FAR = 50_000
"""So far back the whole log is looked through when nobody says where the message lies."""
FAR_IN_INBOX = 1_000_000
STRIDE = 5_000
INBOX_STRIDE = 250_000


@dataclass(frozen=True, slots=True)
class Copy:
    """One event of a message: a message has several when it went to several inboxes."""

    record: Record
    place: Located
    content: dict[str, Any]

    @property
    def sequence(self) -> int:
        return self.record.sequence

    @property
    def sender(self) -> str | None:
        said = self.content.get("sender_agent_id")
        return said if isinstance(said, str) else None

    @property
    def offered(self) -> bool:
        """Whether it is a copy for somebody who was asked in place of an agent that is away."""
        return "delegated_from" in self.content


def message_key(text: str, field: str) -> str:
    """The id as the log has it. Raises BadMessage if it is none."""
    try:
        return str(UUID(text))
    except ValueError:
        raise BadMessage(f"{text[:80]!r} is no message id.", field=field) from None


async def copies(
    house: House,
    group: str,
    message_id: str,
    *,
    cursor: str | None = None,
    reader: str | None = None,
    until: int | None = None,
) -> list[Copy]:
    """Every event of a message, oldest first; none if it is not found.

    Args:
        cursor: where it lies, or near behind that; then it is found however old it is.
        reader: whose inbox may be looked through first, which reaches farther back.
        until: from where to look back; the end of the log otherwise.
    """
    if cursor is not None:
        at = Cursor.parse(cursor, "cursor").sequence
        return await _between(house, group, message_id, at - NEAR, at + NEAR)
    facts = await house.log(group)
    if reader is not None:
        inbox = inbox_of(group, reader)
        for end in range(facts.last, max(facts.first - 1, facts.last - FAR_IN_INBOX), -INBOX_STRIDE):
            near = await _between(house, group, message_id, end - INBOX_STRIDE, end, inbox)
            if near:
                return await _around(house, group, message_id, near)
    last = facts.last if until is None else min(until, facts.last)
    for end in range(last, max(facts.first - 1, last - FAR), -STRIDE):
        near = await _between(house, group, message_id, end - STRIDE, end)
        if any(not copy.offered for copy in near):
            return await _around(house, group, message_id, near)
    return []


async def _around(house: House, group: str, message_id: str, near: list[Copy]) -> list[Copy]:
    first, last = near[0].sequence, near[-1].sequence
    beside = await _between(house, group, message_id, first - NEAR, first + NEAR)
    known = {copy.sequence for copy in beside}
    rest = [copy for copy in near if copy.sequence not in known and copy.sequence <= last]
    return sorted([*beside, *rest], key=lambda copy: copy.sequence)


async def _between(
    house: House, group: str, message_id: str, after: int, until: int, filter: str | None = None
) -> list[Copy]:
    found: list[Copy] = []
    position, done = max(after, 0), False
    while not done:
        part = await page(
            house.connection,
            events_stream(group),
            position,
            limit=AT_ONCE,
            filter=filter or f"bc.{group}.evt.>",
            until=until,
        )
        found += [copy for record in part.records if (copy := copy_in(record, message_id)) is not None]
        position, done = part.last_sequence_scanned, part.done
    return found


def copy_in(record: Record, message_id: str) -> Copy | None:
    """The record as an event of that message, if it is one."""
    if not may_name(record, message_id):
        return None
    place = locate(record.subject)
    if place is None:
        return None
    try:
        content = read_object(record.payload)
    except BackchannelError:
        return None
    if one_form(str(content.get("message_id"))) != message_id:
        return None
    return Copy(record, place, content)


def may_name(record: Record, message_id: str) -> bool:
    """Whether the record has the id somewhere: a UUID may be written with hyphens or without."""
    payload = record.payload.lower()
    return message_id.encode() in payload or message_id.replace("-", "").encode() in payload


async def membership_at(house: House, group: str, context_id: str, until: int) -> Membership:
    """Who was in a sidebar when, up to a position."""
    found = Membership()
    position, done = 0, context_id == MAIN
    while not done:
        part = await page(
            house.connection,
            events_stream(group),
            position,
            limit=AT_ONCE,
            filter=life_of(group, context_id),
            until=until,
        )
        for record in part.records:
            found.fold(record.sequence, context_id, life(read_object(record.payload)))
        position, done = part.last_sequence_scanned, part.done
    return found


def inbox_owner(copy: Copy) -> str | None:
    return copy.place.to.agent_id if isinstance(copy.place.to, InInbox) else None


async def may_hear(house: House, group: str, agent: str, copy: Copy) -> bool:
    """Whether this event was for that agent."""
    to = copy.place.to
    known = (
        await membership_at(house, group, to.context_id, copy.sequence)
        if isinstance(to, InContext)
        else Membership()
    )
    return known.sees(agent, to, copy.sequence)


async def offered_to(house: House, group: str, agent: str, message_id: str, after: int) -> Copy | None:
    """The copy of a message for somebody who was asked in place of another."""
    facts = await house.log(group)
    mentions = f"bc.{group}.evt.inbox.{agent}.critical.mention"
    found = await _between(house, group, message_id, after, facts.last, mentions)
    return found[0] if found else None
