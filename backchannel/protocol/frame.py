"""Frames: what passes between a client and the bridge beside the messages themselves."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from backchannel.protocol.identifier import Identifier
from backchannel.protocol.message import Agents, ShortText

SUBPROTOCOL = "backchannel.v1"


class Frame(BaseModel):
    """One JSON object on the connection. Unknown fields are ignored."""

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True, populate_by_name=True)

    type: str


class Resume(BaseModel):
    """Where a client left off: the session it had and the last position it knows."""

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True)

    session: Annotated[str, Field(max_length=512)] | None = None
    cursor: Annotated[str, Field(max_length=512)] | None = None


class Intake(BaseModel):
    """What an agent says of itself on arrival; shown in the directory."""

    model_config = ConfigDict(defer_build=True, extra="allow", frozen=True)

    specialties: Agents = []
    availability: Literal["available", "busy", "offline"] = "available"
    preferred_collaborators: Agents = []
    invitations: Literal["anyone", "known", "nobody"] | None = None
    warmup: bool = False


class Subscription(BaseModel):
    """What a connection wants to hear."""

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True)

    mode: Literal["relevant", "focused", "everything"] = "relevant"
    focus: Annotated[list[ShortText], Field(max_length=256)] = []
    peripheral_awareness: bool = True


class Quality(BaseModel):
    """What to do when the line is slow."""

    model_config = ConfigDict(defer_build=True, extra="allow", frozen=True)

    slow_connection: Literal["summaries", "full_delayed", "critical_only"] = "summaries"
    mbps: Annotated[float, Field(ge=0)] | None = None
    required_data: Annotated[list[ShortText], Field(max_length=256)] = []
    batchable_data: Annotated[list[ShortText], Field(max_length=256)] = []


class Hello(Frame):
    """The first frame of every connection."""

    type: Literal["hello"] = "hello"
    token: Annotated[str, Field(max_length=16_384)] | None = None
    permission: Literal["active", "observer"] = "active"
    purpose: Literal["primary", "observer", "backup"] = "primary"
    resume: Resume | None = None
    intake: Intake | None = None
    subscription: Subscription = Subscription()
    quality: Quality = Quality()


class Ack(Frame):
    """The client has received everything up to ``cursor``, and the critical updates it names."""

    type: Literal["ack"] = "ack"
    cursor: Annotated[str, Field(max_length=512)] | None = None
    message_ids: Annotated[list[Annotated[str, Field(max_length=128)]], Field(max_length=1000)] = []


class Ping(Frame):
    """Answered by ``pong``; for clients that cannot see the WebSocket's own pings."""

    type: Literal["ping"] = "ping"


class Limits(BaseModel):
    """What the bridge takes from this connection and keeps for it."""

    max_message_bytes: int
    messages_per_second: int
    queue: int


class Welcome(Frame):
    """The bridge's answer to ``hello``."""

    type: Literal["welcome"] = "welcome"
    protocol: Literal["backchannel.v1"] = "backchannel.v1"
    connection_id: str
    agent_id: Identifier
    group: Identifier
    permission: Literal["active", "observer"]
    session: str
    cursor: str
    resumed: bool
    outcome: Literal["resumed", "gap", "live_only"]
    resume_failure: str | None = None
    replaying: int
    limits: Limits
    heartbeat_seconds: float
    server_time: str
    recovered_from: str | None = None


class Accepted(Frame):
    """The message is stored."""

    type: Literal["accepted"] = "accepted"
    in_reply_to: str
    cursor: str


class DuplicateAck(Frame):
    """The message was stored before; nothing was done again."""

    type: Literal["duplicate_ack"] = "duplicate_ack"
    in_reply_to: str | None = None
    original_message_id: str
    message: str


class ErrorFrame(Frame):
    """What was wrong with a frame, or with the connection."""

    type: Literal["error"] = "error"
    in_reply_to: str | None = None
    code: str
    message: str
    field: str | None = None
    retryable: bool = False
    retry_after: float | None = None


class CatchUp(Frame):
    """Events that happened before now, in order; ``remaining`` are still to come.

    With ``infodump`` they are history that was asked for by that message: they count for no position and are
    in no ``delivered``. The last frame of a page has ``next``: the cursor to ask for more with, or null.
    """

    type: Literal["catch_up"] = "catch_up"
    events: list[dict[str, Any]]
    remaining: int
    infodump: str | None = None
    next: str | None = None


class Live(Frame):
    """Catch-up is over; what follows happens now."""

    type: Literal["live"] = "live"


class Batch(Frame):
    """Several events in one frame, in order."""

    type: Literal["batch"] = "batch"
    events: list[dict[str, Any]]


class CoalescedUpdate(Frame):
    """Rapid updates of one sender to one topic, each as it would have come by itself, in order."""

    type: Literal["coalesced_update"] = "coalesced_update"
    topic: str
    count: int
    updates: list[dict[str, Any]]


class Summary(Frame):
    """What a connection with a slow line was not sent because it prefers summaries: how much of what.

    An ``infodump`` with ``since`` = ``from`` and ``until`` = ``to`` brings all of it. ``topics`` are at most
    a hundred, each with its number and the cursor of its latest event.
    """

    type: Literal["summary"] = "summary"
    start: str = Field(alias="from")
    to: str
    count: int
    types: dict[str, int] = {}
    contexts: dict[str, int] = {}
    topics: dict[str, tuple[int, str]] = {}


class Gap(Frame):
    """Events were left out of the live queue; they can be fetched from the log.

    ``spans`` says of each lane from where to where everything for this connection was left out: an
    ``infodump`` with ``since`` = ``from``, ``until`` = ``to`` and the same ``spans`` brings exactly that.
    """

    type: Literal["gap"] = "gap"
    start: str = Field(alias="from")
    to: str
    dropped: int
    by_lane: dict[str, int] = {}
    spans: dict[str, tuple[str, str]] = {}


class Position(Frame):
    """How far this connection has got, so that a client can check that it missed nothing.

    ``delivered`` counts the events sent on this connection before this frame: one for each event by itself,
    each in a ``catch_up`` without ``infodump`` or in a ``batch``, and ``count`` of a ``coalesced_update``.
    Up to ``cursor`` everything for this connection was sent, or named in a ``gap``.
    """

    type: Literal["position"] = "position"
    cursor: str
    delivered: int


class Goodbye(Frame):
    """The connection is about to close, and why."""

    type: Literal["goodbye"] = "goodbye"
    code: int
    reason: str
    retry_after: float | None = None


class SessionExpiring(Frame):
    """The token of this connection expires at ``at``; renew it."""

    type: Literal["session_expiring"] = "session_expiring"
    at: str


class SessionRotated(Frame):
    """The session token for the next resume."""

    type: Literal["session"] = "session"
    session: str


class Pong(Frame):
    """The bridge is there; ``in_reply_to`` is the ping's ``message_id``, if it had one."""

    type: Literal["pong"] = "pong"
    in_reply_to: str | None = None


ClientFrame = Hello | Ack | Ping
ServerFrame = (
    Welcome
    | Accepted
    | DuplicateAck
    | ErrorFrame
    | CatchUp
    | Live
    | Batch
    | CoalescedUpdate
    | Summary
    | Gap
    | Position
    | Goodbye
    | SessionExpiring
    | SessionRotated
    | Pong
)


class CloseCode:
    """Why the bridge closes a connection. Below the line, do not come back unchanged."""

    GOING_AWAY = 1001
    RESTART = 1012
    OVERLOADED = 1013
    TOO_SLOW = 4008
    TOKEN_EXPIRED = 4401
    HEARTBEAT_LOST = 4408
    RATE = 4429
    # ---
    DONE = 1000
    TOO_LARGE = 1009
    BAD_HELLO = 4400
    FORBIDDEN = 4403
    REPLACED = 4409
    SESSION_REUSED = 4410


RECONNECT: frozenset[int] = frozenset({1001, 1006, 1011, 1012, 1013, 4008, 4401, 4408, 4429})
"""Close codes after which a client comes back by itself."""
