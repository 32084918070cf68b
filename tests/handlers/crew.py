"""A nats-server with two handlers on it, commands put straight onto BC_COMMANDS, and the log as it grows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pydantic_core

from backchannel.errors import BackchannelError, NotFound
from backchannel.jetstream.address import Address
from backchannel.jetstream.answer import api
from backchannel.jetstream.bucket import Bucket
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.embedded import Server
from backchannel.jetstream.leash import leashed
from backchannel.jetstream.publish import Entry, Publisher
from backchannel.jetstream.read import Record, describe
from backchannel.jetstream.tail import Tail
from backchannel.jetstream.topology import provision
from backchannel.protocol.catalog import AnyMessage, write
from backchannel.protocol.subject import COMMANDS, command_subject, events_stream
from backchannel.service.running import serve
from tests.handlers.witness import services
from tests.ports import free_port

GROUP = "main"
WAIT = 60.0
POLL = 0.004
ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True)
class Command:
    """What one agent asks. The same one may be delivered several times, in any lane."""

    agent: str
    message: AnyMessage
    lane: str = "normal"
    claims: str = ""


class Handlers(Protocol):
    """One set of handlers that runs somewhere."""

    name: str

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def kill(self) -> None: ...


class InLoop:
    """Handlers in this very event loop, over a connection of their own. A kill is a cancelled task."""

    def __init__(self, name: str, address: Address) -> None:
        self.name = name
        self._address = address
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        ready = asyncio.Event()
        self._stop.clear()
        self._task = asyncio.create_task(
            serve(services(self.name), self._address, [GROUP], self._stop, ready.set)
        )
        async with asyncio.timeout(WAIT):
            await ready.wait()

    async def stop(self) -> None:
        self._stop.set()
        if self._task is not None:
            await self._task

    async def kill(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


class InProcess:
    """Handlers in a process of their own, which can be killed with SIGKILL."""

    def __init__(self, server: Server, folder: Path, *, step: str | None = None) -> None:
        self.name = ""
        self._server = server
        self._folder = folder
        self._step = step
        self._child: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        address = self._server.address()
        password = self._folder / "password"
        password.write_text(address.password or "", "utf-8")
        password.chmod(0o600)
        with (self._folder / "handlers.log").open("ab") as told:
            self._child = await asyncio.create_subprocess_exec(
                *leashed(
                    [sys.executable, "-m", "tests.handlers.witness", *([self._step] if self._step else [])]
                ),
                cwd=ROOT,
                env={
                    **os.environ,
                    "BACKCHANNEL_NATS_URL": address.url,
                    "BACKCHANNEL_NATS_USER": address.user or "",
                    "BACKCHANNEL_NATS_PASSWORD_FILE": str(password),
                    "BACKCHANNEL_GROUPS": GROUP,
                },
                stdout=asyncio.subprocess.PIPE,
                stderr=told,
            )
        self.name = str(self._child.pid)
        assert self._child.stdout is not None
        async with asyncio.timeout(WAIT):
            assert await self._child.stdout.readline() == b"ready\n", self.said()

    def said(self) -> str:
        """What it wrote to its log."""
        return (self._folder / "handlers.log").read_text("utf-8")

    async def stop(self) -> None:
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def ended(self) -> int:
        """Wait for its end by itself; minus the number of the signal that ended it."""
        assert self._child is not None
        async with asyncio.timeout(WAIT):
            return await self._child.wait()

    async def _end(self, number: signal.Signals) -> None:
        if self._child is not None and self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(number)
            await self.ended()


@dataclass(slots=True)
class Crew:
    """The log of one group and those who write it. Make it with `assemble`."""

    server: Server
    connection: Connection
    publisher: Publisher
    handlers: list[Handlers]
    records: list[Record] = field(default_factory=list)
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    deliveries: int = 0
    newest: dict[str, int] = field(default_factory=dict)
    tail: Tail | None = None
    service: str = "sidebar"

    @classmethod
    async def assemble(cls, folder: Path, agents: Iterable[str], service: str = "sidebar") -> Crew:
        """A server with these agents in its directory; handlers are for the caller to add and start.

        Args:
            service: which one the commands are for.
        """
        server = Server(folder / "nats", port=free_port())
        await server.start()
        connection = await Connection.open(server.address(), name="crew")
        await provision(connection, [GROUP])
        directory = Bucket(connection, "BC_agents")
        for agent in agents:
            entry = {"agent_id": agent, "entity_type": "agent", "availability": "available"}
            await directory.put(f"{GROUP}.{agent}", pydantic_core.to_json(entry))
        crew = cls(server, connection, Publisher(connection), [], service=service)
        crew.tail = Tail(connection, events_stream(GROUP), after=0, on_record=crew._take)
        await crew.tail.start()
        return crew

    async def dismiss(self) -> None:
        await asyncio.gather(*(handlers.kill() for handlers in self.handlers))
        if self.tail is not None:
            await self.tail.stop()
        await self.publisher.close()
        await self.connection.close()
        self.server.kill()
        await self.server.wait()

    def _take(self, record: Record) -> None:
        self.records.append(record)
        self.moved.set()

    @property
    def position(self) -> int:
        return self.records[-1].sequence if self.records else 0

    def since(self, position: int) -> list[Record]:
        """Everything that was added to the log behind a position."""
        found: list[Record] = []
        for record in reversed(self.records):
            if record.sequence <= position:
                break
            found.append(record)
        return found[::-1]

    async def deliver(self, command: Command) -> None:
        """Put it onto BC_COMMANDS; under a new id there each time, so that it is delivered each time."""
        self.deliveries += 1
        kind = command.message.type
        subject = command_subject(GROUP, command.lane, command.agent, kind)
        said = command.message.model_copy(update={"sender_agent_id": command.agent})
        headers = {
            "Nats-Msg-Id": f"{command.agent}:{command.message.message_id}:{self.deliveries}",
            "Bc-Type": kind,
            "Bc-Lane": command.lane,
        }
        if command.claims:
            headers["Bc-Claims"] = command.claims
        stored = await self.publisher.store(Entry(subject, write(said), headers))
        self.newest[command.lane] = max(self.newest.get(command.lane, 0), stored.sequence)

    async def deliver_all(self, commands: Iterable[Command]) -> None:
        """Many at once, stored in this order."""
        await asyncio.gather(*(self.deliver(command) for command in commands))

    async def grown(self, position: int, count: int) -> None:
        """Wait until so many records lie behind a position, or until nothing more is to come."""
        while len(self.since(position)) < count and not await self._is_drained():
            self.moved.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL):
                    await self.moved.wait()

    async def drained(self) -> None:
        """Wait until every command has been decided and settled, and read all that came of it."""
        async with asyncio.timeout(WAIT):
            while not await self._is_drained():  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(POLL)
        await self.settled()

    async def settled(self) -> None:
        """Read all that is in the log now."""
        newest = (await describe(self.connection, events_stream(GROUP))).last
        assert self.tail is not None
        await self.tail.reached(newest, WAIT)

    async def _is_drained(self) -> bool:
        """Whether each lane is settled up to its newest command. What is pending is counted too late."""
        floors = await asyncio.gather(*(self._floor(lane) for lane in self.newest))
        return all(floor >= newest for floor, newest in zip(floors, self.newest.values(), strict=True))

    async def _floor(self, lane: str) -> int:
        """The position on BC_COMMANDS up to which this lane is settled; 0 before the first handlers."""
        try:
            told = await api(self.connection, f"CONSUMER.INFO.{COMMANDS}.{self.service}-{GROUP}-{lane}")
        except NotFound:
            return 0
        return int(told["ack_floor"]["stream_seq"])

    async def views(self, prefix: str) -> dict[str, dict[str, Any]]:
        """What each of the handlers knows of sidebars whose name begins so."""
        wanted = {handlers.name for handlers in self.handlers}
        found: dict[str, dict[str, Any]] = {}
        async with asyncio.timeout(WAIT):
            while set(found) < wanted:
                answer = await self._asked("views", {"prefix": prefix})
                if answer is not None:
                    found[answer["witness"]] = answer["sidebars"]
        return found

    async def _asked(self, query: str, params: dict[str, Any]) -> dict[str, Any] | None:
        """The answer of whichever handlers the question came to; None if they went away with it."""
        try:
            reply = await self.connection.request(
                f"bc.{GROUP}.svc.query.{query}",
                pydantic_core.to_json(params),
                headers={"Bc-Caller": "operator", "Bc-Role": "operator"},
                timeout=2.0,
            )
        except BackchannelError:
            return None
        answer: dict[str, Any] = pydantic_core.from_json(reply.payload)
        assert answer["status"] == "success", answer
        return answer
