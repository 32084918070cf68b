"""Agents: one name on the platform, what it hears and what it says."""

from __future__ import annotations

import asyncio
import os
import ssl as tls
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from backchannel.client.asking import Asking
from backchannel.client.compose import compose
from backchannel.client.connecting import Connecting
from backchannel.client.connection import Connection
from backchannel.client.credentials import TokenSource, find
from backchannel.client.gaps import GapWatch
from backchannel.client.inbox import Inbox
from backchannel.client.mailbox import Bounds
from backchannel.client.mailroom import Mailroom
from backchannel.client.notice import Gap, Incoming
from backchannel.client.seal import Seal
from backchannel.client.sealing import SealingKey
from backchannel.client.sidebar import OpenedSidebar, Sidebar
from backchannel.client.voice import Receipt
from backchannel.client.websocket import dial
from backchannel.errors import Unavailable
from backchannel.protocol.claims import MOST_VOUCHED
from backchannel.protocol.frame import Hello, Intake
from backchannel.protocol.identifier import MAIN, require_identifier
from backchannel.protocol.message import Message
from backchannel.protocol.sidebar import SidebarJoin, SidebarSpawn
from backchannel.protocol.sidebar_status import SidebarPriority

Purpose = Literal["primary", "observer", "backup"]
PAGE = 100
CLOSE_WITHIN = 5.0


class Agent(Asking):
    """An agent on the platform. Made by `connect`.

    It reconnects by itself and resumes where it was. Every method may be called at any time, also in the body
    of an inbox loop.
    """

    def __init__(
        self, name: str, connection: Connection, *, timeout: float, sealing: SealingKey | None = None
    ) -> None:
        super().__init__(connection, timeout)
        self.name = name
        self._seal = Seal(self, sealing)
        self._inbox: Inbox | None = None
        self._service = asyncio.create_task(connection.run(), name=f"backchannel-{name}")

    @classmethod
    def connect(
        cls,
        name: str,
        *,
        url: str | None = None,
        token: str | TokenSource | None = None,
        token_file: str | os.PathLike[str] | None = None,
        key: bytes | None = None,
        group: str | None = None,
        data: str | os.PathLike[str] | None = None,
        claims: Mapping[str, Any] | None = None,
        observer: bool = False,
        purpose: Purpose | None = None,
        specialties: Sequence[str] = (),
        availability: Literal["available", "busy", "offline"] = "available",
        preferred_collaborators: Sequence[str] = (),
        sealing: SealingKey | str | os.PathLike[str] | None = None,
        on_gap: Callable[[Gap], Awaitable[None] | None] | None = None,
        gaps: Literal["inbox", "notice"] = "inbox",
        patience: float = 10.0,
        timeout: float = 30.0,
        queue: int = 1000,
        compress: bool = False,
        ssl: tls.SSLContext | None = None,
    ) -> Connecting[Agent]:
        """Connect: ``async with Agent.connect("ada") as me:``, or ``me = await Agent.connect("ada")``.

        Without `url` and `token` it looks into the environment (BACKCHANNEL_URL, BACKCHANNEL_TOKEN,
        BACKCHANNEL_TOKEN_FILE), then into the data folder of a platform on this machine, where it signs a
        short token for itself.

        Args:
            token: a token, or a function that yields one (it may be async) and is asked again when the last
                one is not accepted any more.
            key: the platform's key, to sign a short token for every connection.
            group: the group to be in, where the agent signs its own token; otherwise the token says it.
            data: the data folder of a platform, instead of the environment.
            claims: more of what the agent's own token says, where it signs one: its tools for instance.
            observer: hear everything this agent hears, and say nothing.
            purpose: which of the agent's positions in the log to use; an observer has its own.
            sealing: the key for sealed content, or the file in which it is kept (made if there is none).
            on_gap: called for every gap, beside the notice in the inbox.
            gaps: what the bridge leaves out because this agent reads too slowly comes to the inbox by
                itself once it has caught up; or there is only a notice, and `fetch` gets it.
            patience: seconds to go on trying for the first connection.
            timeout: seconds to wait for the answer to a request.
            queue: events that may wait for the inbox loop before the SDK stops reading.
            ssl: whose certificates to believe; else what the data folder names, or what the system believes.
            compress: have large frames compressed, for a slow line.

        Raises:
            Unavailable: no platform answers in time.
            Forbidden: it does not accept the token, or another connection of this agent is the current one.
            BackchannelError: `name` is no identifier, or the data folder cannot be read.
        """
        require_identifier(name, "agent")
        own = sealing if isinstance(sealing, SealingKey | None) else SealingKey.kept_in(sealing)
        hello = Hello(
            permission="observer" if observer else "active",
            purpose=purpose or ("observer" if observer else "primary"),
            intake=Intake(
                specialties=list(specialties),
                availability=availability,
                preferred_collaborators=list(preferred_collaborators),
                **(own.intake if own else {}),
            ),
        )

        async def begin() -> Agent:
            access = find(
                name,
                url=url,
                token=token,
                token_file=token_file,
                key=key,
                group=group,
                data=data,
                # Whoever holds the key answers for what it signs; another token says it itself.
                claims={"specialties": list(specialties)[:MOST_VOUCHED], **(claims or {})},
            )
            bounds = Bounds(letters=queue)
            connection = Connection(
                name,
                access,
                partial(dial, ssl=ssl or access.trust, compress=compress),
                hello,
                bounds,
                GapWatch(on_gap),
                notices=gaps == "notice",
            )
            agent = cls(name, connection, timeout=timeout, sealing=own)
            await agent._begun(patience)
            return agent

        return Connecting(begin)

    @property
    def group(self) -> str:
        """The group the token is for."""
        return self._welcome.group

    @property
    def connected(self) -> bool:
        """There is a connection now; if not, one is being made."""
        return self._connection.up

    @property
    def mailroom(self) -> Mailroom:
        """Where events wait; for this package."""
        return self._connection.mailroom

    async def close(self) -> None:
        """Acknowledge what is done, and leave. What was not finished comes again next time."""
        if await self._connection.leave():
            await asyncio.wait([self._service], timeout=CLOSE_WITHIN)
        self._service.cancel()
        await asyncio.wait([self._service])

    def inbox(self, *, own: bool = False) -> Inbox:
        """What comes, in a loop: ``async for message in me.inbox()``. `own`: also what this agent says.

        One loop at a time: a new one ends the one before and begins with the message that one had not
        finished. The loop ends when the agent is closed.

        Raises (from the loop):
            BackchannelError: the connection has ended for good.
        """
        if self._inbox is not None:
            self._inbox.give_up()
        self.mailroom.inbox.wants_own = own
        self._inbox = Inbox(self.mailroom, lambda inbox: inbox is self._inbox)
        return self._inbox

    async def next(self, *, timeout: float | None = None) -> Incoming:
        """One message, acknowledged at once. Raises TimeoutError, and what an inbox loop raises."""
        inbox = self.inbox()
        async with asyncio.timeout(timeout):
            try:
                message = await anext(inbox)
            except StopAsyncIteration:
                raise Unavailable("This agent has left; connect again to hear.") from None
        inbox.acknowledge()
        return message

    def sidebar(
        self,
        task: str,
        *,
        with_: Sequence[str] = (),
        parent: str = MAIN,
        sidebar_id: str | None = None,
        specialties: Sequence[str] = (),
        success_criteria: str | None = None,
        priority: SidebarPriority | str | None = None,
        coordinator: str | None = None,
        depth: int | None = None,
        auto_merge: bool = False,
    ) -> OpenedSidebar:
        """Open a sidebar for a task: ``async with me.sidebar("…", with_=["bob"]) as room:``.

        Args:
            specialties: for each, the platform finds somebody unless one of `with_` has it; `Sidebar.matched`
                says whom and why.
            depth: how many ancestors' contexts it inherits; None is the platform's setting.

        Raises (when entered or awaited):
            NotFound: nobody who is vouched for has one of the specialties.
            Forbidden: there is no such parent that this agent may open a child of, or somebody takes no
                invitations.
            UnknownAgent, Forbidden, BackchannelError: see `request`.
        """
        spawn = compose(
            SidebarSpawn,
            task_description=task,
            participants=list(with_),
            parent_id=parent,
            sidebar_id=sidebar_id,
            specialties=list(specialties),
            success_criteria=success_criteria,
            priority=priority,
            coordinator=coordinator,
            inherit=None if depth is None else {"depth": depth},
            auto_merge=auto_merge,
        )
        return OpenedSidebar(self, spawn)

    def open_sidebar(self, sidebar_id: str) -> Sidebar:
        """A sidebar this agent is in already. Asks nobody: what is wrong shows at the first use."""
        return Sidebar(self, require_identifier(sidebar_id, "sidebar_id"))

    async def join(self, sidebar_id: str) -> Sidebar:
        """Become a participant of a sidebar. Raises Forbidden, and what `request` raises."""
        await self.request(compose(SidebarJoin, sidebar_id=sidebar_id))
        return Sidebar(self, sidebar_id)

    def unsealed(self, message: Message) -> str:
        """The text of a message that was sealed for this agent.

        Raises:
            CannotOpen: it is not sealed for this agent's key, or was changed, moved or forged.
            Forbidden: this agent has no sealing key, or the sender's is another than before.
        """
        return self._seal.opened(message)

    async def send_sealed(self, text: str, fields: Mapping[str, Any]) -> Receipt:
        """Say something in a sidebar, sealed for whoever is in it; `Sidebar.say` is the short form."""
        return await self._seal.send(text, fields)

    async def context(
        self, context_id: str = MAIN, *, after: str | None = None, page: int = PAGE, **params: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """The exchanges of a context, oldest first; pages are asked for as they are needed.

        Args:
            after: a cursor to begin behind.
            params: further parameters of the query ``context``.

        Raises:
            Forbidden, NotFound, BackchannelError: see `ask`.
        """
        while True:
            if after is not None:
                params["after"] = after
            found = await self.ask("context", context_id=context_id, limit=page, **params)
            for exchange in found.get("exchanges", ()):
                yield exchange
            after = found.get("next")
            if after is None:
                return

    async def _begun(self, patience: float) -> None:
        try:
            async with asyncio.timeout(patience):
                await asyncio.shield(self._connection.opened)
        except TimeoutError:
            await self.close()
            raise self._connection.trouble or Unavailable(
                f"The platform did not let {self.name} in within {patience:g} seconds."
            ) from None
        except BaseException:
            await self.close()
            raise
