"""Workers: programs that run the tools agents ask for, and nothing that supervision has not granted."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import pydantic_core
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from backchannel.client.outcome import answer
from backchannel.delivery.native import WORKERS
from backchannel.delivery.token import draft, sign
from backchannel.domain.grant import Grant, read, require
from backchannel.errors import BackchannelError, Forbidden, Unavailable
from backchannel.home import DEFAULT_FOLDER, Home
from backchannel.jetstream.address import Address
from backchannel.jetstream.connection import Arrived, Connection
from backchannel.protocol.identifier import require_identifier
from backchannel.protocol.json_object import read_object
from backchannel.protocol.sealed import from_text
from backchannel.protocol.subject import service_subject, tool_subject

AT_ONCE = 16
"""Calls under way in one worker; what comes beyond is left to others, or comes again."""

LOGIN_SECONDS = 86_400
"""How long a worker that signs its own tokens stays connected before it has to show a fresh one."""
ASK_SECONDS = 5.0
PAUSE = 0.5
_log = logging.getLogger("backchannel.worker")


@dataclass(frozen=True, slots=True)
class Call:
    """One granted call. The platform stands for who asks and that it is allowed, not for what it does."""

    tool: str
    params: Mapping[str, Any]
    conditions: Mapping[str, Any]
    agent: str
    request_id: str
    grant_id: str


Run = Callable[[Call], Any | Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as a worker offers it."""

    name: str
    run: Run
    keeps: frozenset[str]
    seconds: float


@dataclass(slots=True)
class Worker:
    """Offers tools: ``@worker.tool("file_write", keeps=["path_prefix"])``, then ``await worker.run()``.

    Before a tool runs, the worker checks the signature of the grant, that it is in force and for exactly
    these parameters, and that it can keep every condition; then it has the grant used up, which writes the
    intent to the audit trail. A grant that was used, in whatever process, is refused there.

    Args:
        name: the worker's name on the platform.
        address: of the NATS server, with the worker's login: its name, and a token of the type service
            whose claim ``offers`` names its tools.
        key: with which such a token is signed for every connection; then the address needs no login.
    """

    name: str
    address: Address
    group: str = "main"
    _tools: dict[str, Tool] = field(default_factory=dict)
    _under_way: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _connection: Connection | None = None
    _key: Ed25519PublicKey | None = None
    serving: asyncio.Event = field(default_factory=asyncio.Event)
    key: bytes | None = field(default=None, repr=False)

    @classmethod
    def on_this_machine(cls, name: str, data: str | None = None, group: str = "main") -> Worker:
        """A worker beside a platform whose data folder it may read.

        Raises:
            NotRunning: no platform runs there.
        """
        home = Home(data or os.environ.get("BACKCHANNEL_DATA") or DEFAULT_FOLDER)
        platform = home.platform()
        user, password = home.nats_login("platform")
        if user != "platform":  # a server of somebody else, which need not ask us whom to let in
            return cls(name, Address(platform.nats, user, password, platform.nats_cert), group)
        return cls(name, Address(platform.nats, certificate=platform.nats_cert), group, key=home.token_key())

    def tool(self, name: str, *, keeps: Sequence[str] = (), seconds: float = 60.0) -> Callable[[Run], Run]:
        """Let the function run calls of a tool. What it returns is the result; what it raises, the error.

        Args:
            keeps: the kinds of conditions it keeps. A call with any other is refused.
            seconds: within which it must be done.
        """
        require_identifier(name, "tool")

        def declared(run: Run) -> Run:
            self._tools[name] = Tool(name, run, frozenset(keeps), seconds)
            return run

        return declared

    async def run(self) -> None:
        """Serve until cancelled. What is under way then is finished first.

        Raises:
            Forbidden: the NATS server refuses the login.
        """
        async with await Connection.open(
            self._login(), name=f"worker-{self.name}", inbox=f"_INBOX_{self.name}", wait=None
        ) as connection:
            self._connection = connection
            self._key = await self._grant_key()
            for name in self._tools:
                await connection.subscribe(tool_subject(self.group, name), self._called, queue=WORKERS)
            self.serving.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.serving.clear()
                await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _login(self) -> Address:
        if self.key is None:
            return self.address
        return replace(self.address, user=self.name, password=self.token)

    def token(self) -> str:
        """A fresh one, good for one connection."""
        assert self.key is not None
        fields = {"entity_type": "service", "collaboration_group": self.group, "offers": sorted(self._tools)}
        once = {**fields, "nonce": secrets.token_urlsafe(16)}
        now, jti = int(time.time()), secrets.token_hex(16)
        return sign(draft(self.name, now=now, lifetime=LOGIN_SECONDS, jti=jti, fields=once), self.key)

    def _called(self, arrived: Arrived) -> None:
        """Take a call, unless it is under way already or enough is."""
        try:
            said = read_object(arrived.payload)
            call, text = _call(said), str(said["grant"])
        except (BackchannelError, KeyError, TypeError) as problem:
            _log.warning("A call cannot be read: %s", problem)
            return
        if len(self._under_way) >= AT_ONCE or call.tool not in self._tools:
            return
        if arrived.reply:
            self._say(arrived.reply, b"{}")
        if call.grant_id not in self._under_way:
            task = asyncio.get_running_loop().create_task(self._serve(call, text))
            self._under_way[call.grant_id] = task
            task.add_done_callback(lambda _: self._under_way.pop(call.grant_id, None))

    async def _serve(self, call: Call, text: str) -> None:
        tool = self._tools[call.tool]
        try:
            grant = self._checked(call, text)
            await self._ask("redeem", {"grant": text, "params": call.params, "seconds": tool.seconds})
        except BackchannelError as refusal:
            _log.warning("The call %s of %s was not run: %s", call.request_id, call.agent, refusal.message)
            return
        unknown = sorted({str(one.get("kind")) for one in grant.conditions} - tool.keeps)
        outcome = _refused(unknown) if unknown else await _outcome(tool, call)
        await self._report(call.grant_id, outcome)

    def _checked(self, call: Call, text: str) -> Grant:
        """Raises Forbidden or Expired; then nothing is done."""
        assert self._key is not None
        grant = read(text, self._key, time.time())
        require(grant, self.group, call.tool, call.params)
        if (grant.agent, grant.grant_id) != (call.agent, call.grant_id):
            raise Forbidden("The call is not the one that its grant is for.")
        return grant

    async def _report(self, grant_id: str, outcome: dict[str, Any]) -> None:
        """Tell how it went, however long the platform cannot be reached: at some time it counts as lost."""
        message_id = str(uuid4())
        while True:
            try:
                await self._ask("report", {"grant_id": grant_id, **outcome}, message_id)
                return
            except BackchannelError as problem:
                if not problem.retryable or problem.code == "conflict":
                    _log.error("What came of %s was not taken: %s", grant_id, problem.message)
                    return
            await asyncio.sleep(PAUSE)

    async def _ask(self, name: str, fields: dict[str, Any], message_id: str | None = None) -> dict[str, Any]:
        """Raises BackchannelError."""
        assert self._connection is not None
        content = {"message_id": message_id or str(uuid4()), **fields}
        reply = await self._connection.request(
            service_subject(self.group, "grant", name),
            pydantic_core.to_json(content),
            headers={"Bc-Caller": self.name, "Bc-Role": "service"},
            timeout=ASK_SECONDS,
        )
        return answer(read_object(reply.payload))

    async def _grant_key(self) -> Ed25519PublicKey:
        """The key that grants are checked with; waits until the platform says it."""
        assert self._connection is not None
        while True:
            try:
                reply = await self._connection.request(
                    service_subject(self.group, "query", "grant_key"),
                    b"{}",
                    headers={"Bc-Caller": self.name, "Bc-Role": "service"},
                )
                said = answer(read_object(reply.payload))
                return Ed25519PublicKey.from_public_bytes(from_text(str(said["public_key"])))
            except Unavailable as problem:
                _log.info("The platform is not there yet: %s", problem.message)
            await asyncio.sleep(PAUSE)

    def _say(self, subject: str, payload: bytes) -> None:
        assert self._connection is not None
        try:
            self._connection.emit(subject, payload)
        except BackchannelError as problem:
            _log.info("A call was not confirmed and will come again: %s", problem.message)


def _refused(unknown: Sequence[str]) -> dict[str, Any]:
    told = f"Nothing was done: this worker cannot keep the condition {', '.join(unknown)}."
    return {"success": False, "error": told}


async def _outcome(tool: Tool, call: Call) -> dict[str, Any]:
    """What running it came to. Whatever a tool raises is told, not thrown."""
    try:
        async with asyncio.timeout(tool.seconds * 0.9):
            found = tool.run(call)
            result = await found if inspect.isawaitable(found) else found
        pydantic_core.to_json(result)
    except TimeoutError:
        return {"success": False, "error": f"{tool.name} was not done within its time and was stopped."}
    except Exception as problem:
        return {"success": False, "error": f"{type(problem).__name__}: {problem}"[:4000]}
    return {"success": True, "result": result}


def _call(said: Mapping[str, Any]) -> Call:
    conditions = {str(one["kind"]): one.get("value", True) for one in said.get("conditions", ())}
    return Call(
        str(said["tool"]),
        dict(said["params"]),
        conditions,
        str(said["agent_id"]),
        str(said["request_id"]),
        str(said["grant_id"]),
    )
