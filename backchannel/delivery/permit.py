"""Permits: whether this connection may send this message at all."""

from __future__ import annotations

from typing import Literal

from backchannel.errors import Forbidden, WrongSender
from backchannel.protocol.attention import Query
from backchannel.protocol.catalog import FROM_CLIENTS, KINDS
from backchannel.protocol.claims import Claims
from backchannel.protocol.lane import RESERVED
from backchannel.protocol.memory import MemoryUpdate
from backchannel.protocol.message import Message, Way
from backchannel.protocol.sidebar import SidebarChildSpawn, SidebarFork, SidebarSpawn

Permission = Literal["active", "observer"]
MEMORY_QUERIES = frozenset({"context", "search", "heat_map"})


def check(message: Message, claims: Claims, permission: Permission) -> None:
    """Let the message pass, or say why not.

    Raises:
        WrongSender: it speaks in another's name.
        Forbidden: the token or the connection does not allow it.
    """
    _check_sender(message, claims)
    _check_connection(message, permission)
    _check_claims(message, claims)


def check_type(kind: object) -> None:
    """Whatever else a message says: what only the platform says is not taken from a client.

    Raises:
        Forbidden: it is of such a type.
    """
    if isinstance(kind, str) and kind in KINDS and kind not in FROM_CLIENTS:
        raise Forbidden(f"Only the platform says {kind!r}.", field="type")


def _check_sender(message: Message, claims: Claims) -> None:
    if message.sender_agent_id not in (None, claims.sub):
        raise WrongSender(
            f"This connection speaks for {claims.sub} and for nobody else; leave sender_agent_id out.",
            field="sender_agent_id",
        )


def _check_connection(message: Message, permission: Permission) -> None:
    if message.way is Way.PLATFORM:
        raise Forbidden(f"Only the platform says {message.type!r}.", field="type")
    if permission == "observer" and message.way in (Way.STATELESS, Way.STATEFUL):
        raise Forbidden(
            f"An observer's connection may not send {message.type!r}; connect with permission 'active'.",
            field="type",
        )


def _check_claims(message: Message, claims: Claims) -> None:
    if message.lane in RESERVED and message.lane not in claims.lanes:
        raise Forbidden(
            f"The lane {message.lane.value} needs a token whose claim 'lanes' names it.", field="type"
        )
    match message:
        case SidebarSpawn() | SidebarChildSpawn() | SidebarFork() if not claims.can_spawn_sidebars:
            raise Forbidden("This token does not allow spawning sidebars (can_spawn_sidebars).", field="type")
        case MemoryUpdate() if not claims.can_access_memory:
            raise Forbidden("This token does not give access to memory (can_access_memory).", field="type")
        case Query(query=name) if name in MEMORY_QUERIES and not claims.can_access_memory:
            raise Forbidden("This token does not give access to memory (can_access_memory).", field="query")
