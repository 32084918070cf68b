"""Waiting: an agent waits for an answer, for a while; the platform refuses to let agents wait in circles."""

from __future__ import annotations

from typing import Any

from backchannel.client.compose import compose
from backchannel.client.outcome import answer
from backchannel.client.recall import Recall
from backchannel.protocol.attention import Query
from backchannel.protocol.catalog import AnyMessage, read_message
from backchannel.protocol.mention import MentionRoute

LATE = 10.0
"""Seconds that the answer to a wait may take beyond its end."""


class Patient(Recall):
    """The waiting half of an agent."""

    async def wait_for(
        self,
        *,
        message_id: str | None = None,
        reply_to: str | None = None,
        sender: str | None = None,
        timeout: float = 30.0,
    ) -> AnyMessage | None:
        """Wait for one message, an answer to one, or anything of somebody; None if none came in time.

        What waits in the inbox is not touched: the message comes there as well.

        Args:
            timeout: seconds, 55 at most.

        Raises:
            WouldDeadlock: whoever should answer waits for this agent; the sentence names the circle.
            QueueFull: this agent waits for too much at a time. BackchannelError: see `ask`.
        """
        wanted = {"message_id": message_id, "reply_to": reply_to, "from": sender, "timeout": timeout}
        params: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
        query = compose(Query, query="wait_for", params=params)
        found = answer(await self._call(query, "answer", timeout + LATE))
        return read_message(found["event"]) if found["event"] else None

    async def consult(self, agent: str, text: str, *, timeout: float = 30.0) -> AnyMessage | None:
        """Mention an agent and wait for its answer, a message whose ``reply_to`` names the mention.

        Raises:
            UnknownAgent: nobody is called that. BackchannelError: see `wait_for`.
        """
        asked = compose(MentionRoute, target_agents=[agent], message=text)
        await self.send(asked)
        return await self.wait_for(reply_to=str(asked.message_id), sender=agent, timeout=timeout)
