"""What was set aside: which there is, and how a service gets it once more under the same identity."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pydantic_core

from backchannel.domain.paging import SHORTENED
from backchannel.errors import BackchannelError, Internal, TooLarge
from backchannel.jetstream.answer import api
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.publish import Entry, Publisher
from backchannel.jetstream.read import Record, page
from backchannel.protocol.json_object import read_object
from backchannel.protocol.subject import DEAD, again_subject
from backchannel.service.due import REDELIVERS
from backchannel.service.follow import DUE_KEPT

AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Dead:
    """One message that could not be handled; ``id`` is its sequence in BC_DEAD."""

    id: int
    group: str
    kept: dict[str, Any]

    @property
    def message_id(self) -> str | None:
        """That of the command or event itself."""
        try:
            found = read_object(str(self.kept.get("payload", ""))).get("message_id")
        except BackchannelError:
            return None
        return found if isinstance(found, str) else None

    def shown(self) -> dict[str, Any]:
        facts = {name: self.kept.get(name) for name in ("service", "subject", "attempts", "reason", "at")}
        return {"id": self.id, "group": self.group, "message_id": self.message_id, **facts}

    def once_more(self) -> Entry:
        """What makes the service take it up again. Giving it twice is once.

        A command comes again with its own id, from which all that follows is named; a timer says where it
        came due first; an event stays where it is, and its follower is told to look at it.

        Raises:
            Internal: it does not say where it came from.
            TooLarge: it was not kept whole.
        """
        subject, sequence = str(self.kept.get("subject")), int(self.kept.get("sequence") or 0)
        headers = dict(self.kept.get("headers") or {})
        headers["Nats-Msg-Id"] = f"redelivered:{self.id}:{headers.get('Nats-Msg-Id', sequence)}"
        payload = str(self.kept.get("payload", "")).encode()
        match subject.split("."):
            case ["bc", _, ("cmd" | "timer"), *_] if SHORTENED in self.kept:
                raise TooLarge(f"{self.id} was too large to be kept whole; have its sender send it again.")
            case ["bc", _, "cmd", *_]:
                return Entry(subject, payload, headers)
            case ["bc", _, "timer", "due", *_]:
                first = headers.get(REDELIVERS) or f"{sequence}:{self.kept.get('time')}"
                return Entry(subject, payload, headers | {REDELIVERS: first, "Nats-TTL": DUE_KEPT})
            case ["bc", _, "timer", "again", _]:
                return Entry(subject, payload, headers | {"Nats-TTL": DUE_KEPT})
            case ["bc", group, "evt", *_]:
                told = pydantic_core.to_json({"sequence": sequence})
                again = again_subject(group, str(self.kept.get("service")))
                return Entry(again, told, {"Nats-Msg-Id": headers["Nats-Msg-Id"], "Nats-TTL": DUE_KEPT})
        raise Internal(f"What lies at {self.id} in {DEAD} does not say where it came from.")


async def dead_of(connection: Connection, group: str) -> AsyncIterator[Dead]:
    """Everything set aside in a group, oldest first."""
    position, done = 0, False
    while not done:
        part = await page(connection, DEAD, position, limit=AT_ONCE, filter=f"bc.{group}.dead.>")
        for record in part.records:
            if (found := dead_in(record)) is not None:
                yield found
        position, done = part.last_sequence_scanned, part.done


def dead_in(record: Record) -> Dead | None:
    """None for what nobody here has written."""
    try:
        kept = read_object(record.payload)
    except BackchannelError:
        return None
    return Dead(record.sequence, record.subject.split(".")[1], kept)


async def redeliver(connection: Connection, publisher: Publisher, dead: Dead) -> None:
    """Give it to its service once more, and take it off the list; in this order, so that it is never lost.

    Raises:
        Unavailable: it was not given, or is still on the list; doing it again is safe.
    """
    await publisher.store(dead.once_more())
    await api(connection, f"STREAM.MSG.DELETE.{DEAD}", {"seq": dead.id, "no_erase": True})
