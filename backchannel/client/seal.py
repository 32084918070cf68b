"""Seals what an agent says to whoever is in a sidebar, and opens what was sealed for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from backchannel.client.compose import compose
from backchannel.client.sealing import CannotOpen, Place, SealingKey, readers_among
from backchannel.client.voice import Receipt
from backchannel.errors import Conflict, Forbidden
from backchannel.protocol.memory import MemoryUpdate
from backchannel.protocol.message import Message
from backchannel.protocol.sealed import FORMAT, KEY_BYTES, KEY_FIELD, envelope_in, from_text
from backchannel.protocol.sidebar import SidebarMessage

if TYPE_CHECKING:
    from backchannel.client.agent import Agent

TRIES = 4
"""How often it is sealed anew because somebody came or went meanwhile."""


class Seal:
    """One agent's sealing key at work."""

    def __init__(self, agent: Agent, key: SealingKey | None) -> None:
        self._agent = agent
        self._key = key

    async def send(self, text: str, fields: Mapping[str, Any]) -> Receipt:
        """Say `text` in a sidebar, with these further fields of a ``sidebar_message``.

        Raises:
            Conflict: a participant has no sealing key, or people came and went all the time.
            Forbidden: this agent has no key, or somebody's is another than before.
        """
        key = self._mine()
        for left in reversed(range(TRIES)):
            message_id = str(uuid4())
            place = Place(self._agent.group, str(fields["sidebar_id"]), self._agent.name, message_id)
            envelope = key.seal(text, place, await self._readers(place.context_id, key))
            sealed = {"message_id": message_id, "content": envelope.written(), "format": FORMAT}
            try:
                return await self._agent.send(compose(SidebarMessage, **fields, **sealed))
            except Conflict:
                if not left:
                    raise
        raise AssertionError("the last try returns or raises")

    def opened(self, message: Message) -> str:
        """Raises as `Agent.unsealed`."""
        match message:
            case SidebarMessage(sidebar_id=context_id, content=content, format=form):
                sealed: object = content
            case MemoryUpdate(context_id=context_id, exchange=exchange):
                sealed, form = exchange.content, exchange.format
            case _:
                raise CannotOpen(f"A {message.type!r} is never sealed.")
        if form != FORMAT or message.sender_agent_id is None:
            raise CannotOpen("This message is not sealed; read its content.")
        place = Place(self._agent.group, context_id, message.sender_agent_id, str(message.message_id))
        return self._mine().open(envelope_in(sealed), place, self._agent.name)

    def _mine(self) -> SealingKey:
        if self._key is None:
            raise Forbidden(f"{self._agent.name} has no sealing key; connect with sealing= to have one.")
        return self._key

    async def _readers(self, sidebar_id: str, own: SealingKey) -> dict[str, bytes]:
        """Who is in the sidebar now, with the keys they published, as they were first seen."""
        found = await self._agent.ask("sidebar", sidebar_id=sidebar_id)
        published = {entry["agent_id"]: _key(entry.get(KEY_FIELD)) for entry in await self._listed()}
        published[self._agent.name] = own.public
        keys = {name: key for name, key in published.items() if key is not None}
        readers = readers_among(tuple(found["sidebar"]["participants"]), keys)
        for name, theirs in readers.items():
            own.believe(name, theirs)
        return readers

    async def _listed(self) -> list[dict[str, Any]]:
        """Everybody the group's directory knows, however many answers that takes."""
        answer = await self._agent.ask("agents")
        found: list[dict[str, Any]] = list(answer["agents"])
        while (page := answer.get("next")) is not None:
            answer = await self._agent.ask("agents", page=page)
            found += answer["agents"]
        return found


def _key(said: object) -> bytes | None:
    """A public key as the directory has it; None for what is none, which anybody may have written there."""
    try:
        key = from_text(said) if isinstance(said, str) else b""
    except ValueError:
        return None
    return key if len(key) == KEY_BYTES else None
