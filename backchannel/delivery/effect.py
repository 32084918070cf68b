"""Effects: what a session wants done; whoever owns the socket does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backchannel.delivery.infodump import Wanted
from backchannel.delivery.quality import Preference
from backchannel.protocol.attention import Query
from backchannel.protocol.catalog import AnyMessage
from backchannel.protocol.frame import Hello, Subscription


@dataclass(frozen=True, slots=True)
class Say:
    """Send this frame."""

    frame: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """Close the connection, after what was said before."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Verify the token a browser sent in its hello, then tell the session."""

    token: str
    hello: Hello


@dataclass(frozen=True, slots=True)
class Begin:
    """Find out where this client left off, welcome it, and replay what it missed."""

    hello: Hello


@dataclass(frozen=True, slots=True)
class Keep:
    """Store a message: `content` is the client's JSON as it was read, `message` what it means."""

    content: dict[str, Any]
    message: AnyMessage


@dataclass(frozen=True, slots=True)
class Ask:
    """Have a query answered."""

    query: Query
    in_reply_to: str


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """The client says it has everything up to this cursor, and these messages."""

    cursor: str | None
    message_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Renewal:
    """Verify a fresh token for the same entity, then tell the session."""

    token: str
    in_reply_to: str


@dataclass(frozen=True, slots=True)
class Dump:
    """Tell what this part of the history costs, and give a page of it."""

    wanted: Wanted
    in_reply_to: str


@dataclass(frozen=True, slots=True)
class Tune:
    """From the next event on this is what the connection hears, and how on a slow line."""

    subscription: Subscription
    preference: Preference | None


Effect = Say | Dump | Tune | Part | Authenticate | Begin | Keep | Ask | Acknowledge | Renewal
