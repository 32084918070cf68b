"""Commands of the operator: stored like any agent's, decided by the same handlers, answered in the inbox."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from backchannel.client import outcome
from backchannel.client.compose import compose
from backchannel.delivery.cursor import Cursor
from backchannel.domain.sidebar import TERMINAL
from backchannel.errors import Conflict, IllegalTransition
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.publish import Entry, Fence, Publisher
from backchannel.jetstream.read import Record, describe
from backchannel.jetstream.tail import Tail
from backchannel.protocol.catalog import write
from backchannel.protocol.identifier import OPERATOR
from backchannel.protocol.json_object import read_object
from backchannel.protocol.message import Message
from backchannel.protocol.sidebar import SidebarMessage
from backchannel.protocol.subject import InContext, InInbox, command_subject, events_stream, life_of
from cli.door import Where, operator, over_nats
from cli.failure import Failure

CLAIMS = json.dumps({"role": OPERATOR})
"""What tells a handler that this is the operator. Only the platform's own logins can write it."""
RACES = 8
"""How often a message is tried again because the sidebar changed just then."""


async def command(where: Where, kind: type[Message], **fields: Any) -> dict[str, Any]:
    """Ask for something that a handler decides; the own fields of its result.

    Raises:
        BackchannelError: it was refused; the class and `code` say why.
        Failure: there was no answer in time; what was asked for may still be done.
    """
    asked = compose(kind, sender_agent_id=OPERATOR, **fields)
    async with operator(where) as connection:
        group = where.served()[0]
        async with _results(connection, group) as results:
            await _publish(connection, _command_entry(group, asked))
            try:
                async with asyncio.timeout(where.timeout):
                    while (result := await results.get()).get("in_reply_to") != str(asked.message_id):
                        pass
            except TimeoutError:
                raise Failure(
                    f"The platform has stored the command and not answered within {where.timeout:g} seconds;"
                    " it may still be done.",
                    code="timed_out",
                    hint="look at the sidebar before trying again",
                ) from None
    fields = outcome.answer(result)
    return {name: value for name, value in fields.items() if name != "trace_id" or value is not None}


async def post(where: Where, sidebar_id: str, text: str) -> dict[str, Any]:
    """Say something in a sidebar as operator; the message id and where it was stored.

    Nobody can end the sidebar between the look at it and the message: the log refuses that.

    Raises:
        NotFound, IllegalTransition: it is not there, or takes no messages any more.
    """
    message = compose(SidebarMessage, sender_agent_id=OPERATOR, sidebar_id=sidebar_id, content=text)
    async with operator(where) as connection:
        group = where.served()[0]
        ask = over_nats(connection, group, where.timeout)
        for _ in range(RACES):
            found = (await ask("sidebar", {"sidebar_id": sidebar_id}))["sidebar"]
            if found["status"] in TERMINAL:
                raise IllegalTransition(
                    f"The sidebar {sidebar_id} is {found['status']} and takes no messages; fork it."
                )
            seen = Cursor.parse(found["cursor"])
            fence = Fence(life_of(group, sidebar_id), seen.sequence)
            try:
                place = await _publish(connection, _talk_entry(group, message), fence)
            except Conflict:
                continue
            stored = {"message_id": str(message.message_id), "cursor": str(Cursor(seen.epoch, place))}
            return {"sidebar_id": sidebar_id, **stored}
    raise Conflict(f"The sidebar {sidebar_id} changes too fast just now; try again.")


@asynccontextmanager
async def _results(connection: Connection, group: str) -> AsyncIterator[asyncio.Queue[dict[str, Any]]]:
    """The results for the operator from now on. Read from the log, where only what was committed is."""
    facts = await describe(connection, events_stream(group))
    found: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1000)

    def take(record: Record) -> None:
        found.put_nowait(read_object(record.payload))

    subject = InInbox(OPERATOR, "result").subject(group, "*")
    tail = Tail(connection, facts.name, after=facts.last, on_record=take, filters=[subject])
    await tail.start()
    try:
        yield found
    finally:
        await tail.stop()


async def _publish(connection: Connection, entry: Entry, *fences: Fence) -> int:
    publisher = Publisher(connection)
    try:
        return (await publisher.commit([entry], fences)).sequence
    finally:
        await publisher.close()


def _command_entry(group: str, asked: Message) -> Entry:
    subject = command_subject(group, asked.lane.value, OPERATOR, asked.type)
    return Entry(subject, write(asked), _headers(asked) | {"Bc-Claims": CLAIMS})


def _talk_entry(group: str, said: SidebarMessage) -> Entry:
    subject = InContext(said.sidebar_id, "talk").subject(group, said.lane.value)
    return Entry(subject, write(said), _headers(said))


def _headers(message: Message) -> dict[str, str]:
    return {
        "Nats-Msg-Id": f"{OPERATOR}:{message.message_id}",
        "Bc-Type": message.type,
        "Bc-Lane": message.lane.value,
    }
