"""Stages: what an agent says of a message it got, and how it learns where one of its own stands."""

from __future__ import annotations

from typing import Any, Literal

from backchannel.client.compose import compose
from backchannel.client.notice import cursor_of
from backchannel.client.voice import Receipt, Voice
from backchannel.protocol.attention import Handled
from backchannel.protocol.frame import Accepted, DuplicateAck
from backchannel.protocol.message import Message
from backchannel.protocol.result import Result


class Stages(Voice):
    """The part of an agent that keeps received and handled apart."""

    async def handled(
        self,
        message: Message | str,
        status: Literal["done", "failed", "deferred"] = "done",
        detail: str | None = None,
    ) -> Result:
        """Say what was done about a message, or about the one with this id. A failure is told to its sender.

        Raises:
            Conflict: it was meant for an agent that is away, and somebody else has taken it: leave it.
            NotFound: this agent got no such message. BackchannelError: see `request`.
        """
        place = cursor_of(message) if isinstance(message, Message) else None
        names = str(message.message_id) if isinstance(message, Message) else message
        return await self.request(
            compose(Handled, handles=names, status=status, detail=detail, handles_cursor=place)
        )

    async def take(self, message: Message | str) -> Result:
        """Take what is offered in place of another agent, before beginning with it.

        Raises:
            Conflict: somebody else has taken it: leave it.
        """
        return await self.handled(message, "deferred")

    async def delivery(self, message: Receipt | Message | str) -> dict[str, Any]:
        """Where a message of this agent stands: of each of its ``recipients`` what is received and handled.

        What `send` returned finds it at once; for an id alone the log is looked through backwards.

        Raises:
            NotFound: this agent sent no such message. BackchannelError: see `ask`.
        """
        match message:
            case Accepted(in_reply_to=names, cursor=place):
                return await self.ask("delivery", message_id=names, cursor=place)
            case DuplicateAck(original_message_id=names):
                return await self._sought(names)
            case Message():
                return await self._sought(str(message.message_id))
        return await self._sought(message)

    async def _sought(self, message_id: str) -> dict[str, Any]:
        """Stretch by stretch of the log, until it is found or there is no more."""
        found = await self.ask("delivery", message_id=message_id)
        while (until := found.get("next")) is not None:
            found = await self.ask("delivery", message_id=message_id, until=until)
        return found
