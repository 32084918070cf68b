"""Voices: what an agent says, and how it learns what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from backchannel.client.compose import as_message, compose
from backchannel.client.connection import Connection
from backchannel.client.outcome import answer, successful
from backchannel.client.requests import Awaits
from backchannel.errors import TooLarge
from backchannel.protocol.attention import Query
from backchannel.protocol.catalog import write
from backchannel.protocol.frame import Accepted, DuplicateAck, Welcome
from backchannel.protocol.identifier import MAIN
from backchannel.protocol.memory import MemoryUpdate
from backchannel.protocol.mention import MentionRoute
from backchannel.protocol.message import Message
from backchannel.protocol.presence import AgentPresence, PresenceStatus
from backchannel.protocol.result import Result

Receipt = Accepted | DuplicateAck
"""The message is stored: now, or it was before and nothing was done again."""


class Voice:
    """The speaking half of an agent.

    What is said while there is no connection waits; what was on its way is sent again with the same id.
    """

    def __init__(self, connection: Connection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout

    async def send(self, message: Message | Mapping[str, Any], *, timeout: float | None = None) -> Receipt:
        """Send a message, or one made of these fields, and wait until it is stored.

        Raises:
            Unavailable: no answer in time; sending it again with the same ``message_id`` is safe.
            BackchannelError: the platform refused it; the class and `code` say why.
        """
        whole = as_message(message)
        frame = await self._call(whole, "receipt", timeout)
        return Accepted.model_validate(frame) if "cursor" in frame else DuplicateAck.model_validate(frame)

    async def request(
        self,
        message: Message | Mapping[str, Any],
        *,
        timeout: float | None = None,
        on_result: Callable[[dict[str, Any]], None] | None = None,
    ) -> Result:
        """Send what a handler decides, all of ``sidebar_*`` but ``sidebar_message``; wait for the result.

        The result is found again after a reconnect. One that comes after the timeout is in the inbox.

        Args:
            on_result: sees the result's fields before anything that came after it; must return at once.

        Raises:
            Unavailable: no result in time.
            BackchannelError: it was denied or failed; the class and `code` say why.
        """
        whole = as_message(message)
        return successful(Result.model_validate(await self._call(whole, "result", timeout, on_result)))

    async def ask(self, query: str, *, timeout: float | None = None, **params: Any) -> dict[str, Any]:
        """Ask for something that is known, ``me.ask("agents")`` for instance; the answer's own fields.

        Raises:
            NotFound: there is no such query or no such thing. BackchannelError: see `request`.
        """
        frame = await self._call(compose(Query, query=query, params=params), "answer", timeout)
        return answer(frame)

    async def remember(
        self,
        content: str | dict[str, Any] | list[Any],
        context: str = MAIN,
        *,
        topic: str | None = None,
        priority: Literal["critical", "normal", "background"] = "normal",
        data_refs: Sequence[str] = (),
        basis: str | None = None,
    ) -> Receipt:
        """Write something down in a context, for everyone entitled to it.

        Args:
            basis: the cursor of what this agent last saw of that topic.

        Raises:
            Forbidden: not in that context. BackchannelError: see `send`.
        """
        exchange = {"content": content, "data_refs": list(data_refs)} | ({"topic": topic} if topic else {})
        return await self.send(
            compose(MemoryUpdate, context_id=context, exchange=exchange, priority=priority, basis=basis)
        )

    async def mention(
        self,
        agents: str | Sequence[str],
        text: str,
        *,
        urgent: bool = False,
        sidebar: str | None = None,
        context_refs: Sequence[str] = (),
    ) -> Receipt:
        """Call on an agent, or several; each finds it in its inbox, at once or on its return.

        Raises:
            UnknownAgent: nobody is called that. BackchannelError: see `send`.
        """
        return await self.send(
            compose(
                MentionRoute,
                target_agents=[agents] if isinstance(agents, str) else list(agents),
                message=text,
                context_refs=list(context_refs),
                sidebar_id=sidebar,
                priority="urgent" if urgent else "normal",
            )
        )

    async def presence(self, status: PresenceStatus, *, context: str | None = None) -> Receipt:
        """Tell the group what one is at. Raises as `send`."""
        return await self.send(compose(AgentPresence, status=status, current_context=context))

    @property
    def _welcome(self) -> Welcome:
        welcome = self._connection.welcome
        assert welcome is not None, "connect() returns after the first welcome"
        return welcome

    async def _call(
        self,
        message: Message,
        awaits: Awaits,
        timeout: float | None,
        on_result: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        body = write(message)
        limit = self._welcome.limits.max_message_bytes
        if len(body) > limit:
            raise TooLarge(f"The message has {len(body)} bytes; the platform takes {limit} at most.")
        return await self._connection.requests.call(
            str(message.message_id),
            body.decode(),
            awaits=awaits,
            timeout=self._timeout if timeout is None else timeout,
            on_result=on_result,
        )
