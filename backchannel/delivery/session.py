"""The session of one connection: what a client may say when, and what follows from it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from backchannel.delivery.calls import text_of, wants_everything
from backchannel.delivery.effect import (
    Acknowledge,
    Ask,
    Authenticate,
    Begin,
    Dump,
    Effect,
    Keep,
    Part,
    Renewal,
    Say,
    Tune,
)
from backchannel.delivery.infodump import called_for, wanted
from backchannel.delivery.pace import TokenBucket
from backchannel.delivery.permit import Permission, check, check_type
from backchannel.delivery.quality import Preference, declared, preference
from backchannel.delivery.traits import require_few
from backchannel.errors import (
    BackchannelError,
    BadFrame,
    BadMessage,
    Expired,
    Forbidden,
    RateLimited,
    TooLarge,
)
from backchannel.protocol.attention import Infodump, QualityUpdate, Query, Renew, SubscriptionUpdate
from backchannel.protocol.catalog import AnyMessage, read, read_message
from backchannel.protocol.claims import Claims
from backchannel.protocol.frame import Ack, CloseCode, Hello, Subscription
from backchannel.protocol.json_object import read_object
from backchannel.protocol.message import rfc3339

WARNED_BEFORE = 60.0
"""Seconds between the warning that a token expires and its end."""

MESSAGE_ID = re.compile(rb'"message_id"\s*:\s*"([0-9A-Za-z-]{1,128})"')

LAST_MOMENT = 253_402_300_799
"""The end of the year 9999, in seconds since 1970; a token may say it expires later."""


class State(Enum):
    """How far a connection has come."""

    NEW = "its first frame must be hello"
    ARRIVING = "the bridge finds out where it left off"
    HERE = "it is welcome"
    GONE = "nothing it says counts any more"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a connection may do. Sizes are bytes, times are seconds."""

    max_message_bytes: int = 1_048_576
    messages_per_second: float = 200
    burst_seconds: float = 5
    hello_seconds: float = 10
    hello_token_seconds: float = 5
    patience: float = 2_000
    """Errors a client may cause in a burst before it is sent away; they are forgiven at the message rate."""


def reply_id(content: dict[str, Any]) -> str | None:
    """The id an answer names, as the client wrote it."""
    found = content.get("message_id")
    return found[:128] if isinstance(found, str) else None


def error_frame(error: BackchannelError, in_reply_to: str | None = None) -> dict[str, Any]:
    """The error as the client is told it."""
    return {
        "type": "error",
        "in_reply_to": in_reply_to,
        "code": error.code,
        "message": error.message,
        "field": error.field,
        "retryable": error.retryable,
        "retry_after": error.retry_after,
    }


def too_large(most: int) -> TooLarge:
    return TooLarge(f"A message may have {most} bytes, and this one has more.")


def _named_in(body: bytes) -> str | None:
    """The id in a message that is too long to be read."""
    found = MESSAGE_ID.search(body)
    return found[1].decode() if found else None


def success(in_reply_to: str, **fields: Any) -> dict[str, Any]:
    return {"type": "result", "in_reply_to": in_reply_to, "status": "success", **fields}


def duplicate_ack(message_id: str) -> dict[str, Any]:
    """The message was stored before, as its sender is told it."""
    return {
        "type": "duplicate_ack",
        "in_reply_to": message_id,
        "original_message_id": message_id,
        "message": "This message was stored before; nothing was done again.",
    }


def _unchanged(claims: Claims) -> Claims:
    return claims


@dataclass(slots=True)
class Session:
    """One connection's side of the protocol. Times are seconds since 1970.

    `shared` is what all connections of its agent may send together.
    `token` is what its token says, `claims` what of that is in force: `narrow` makes one of the other.
    Every method takes what happened and returns what is to be done, in order.
    """

    token: Claims | None
    opened: float
    limits: Limits = field(default_factory=Limits)
    narrow: Callable[[Claims], Claims] = _unchanged
    claims: Claims | None = field(init=False, default=None)
    state: State = State.NEW
    permission: Permission = "active"
    subscription: Subscription = field(default_factory=Subscription)
    preference: Preference | None = None
    shared: TokenBucket | None = None
    _rate: TokenBucket = field(init=False)
    _patience: TokenBucket = field(init=False)
    _warned: bool = False

    def __post_init__(self) -> None:
        rate = self.limits.messages_per_second
        self.rights_changed()
        self._rate = TokenBucket(rate, rate * self.limits.burst_seconds)
        self._patience = TokenBucket(rate, self.limits.patience)

    def received(self, body: bytes, now: float) -> list[Effect]:
        """A whole text message came in."""
        content: dict[str, Any] = {}
        try:
            if len(body) > self.limits.max_message_bytes:
                return self.refused(too_large(self.limits.max_message_bytes), _named_in(body), now)
            content = read_object(body)
            match self.state:
                case State.NEW:
                    return self._first(content)
                case State.HERE:
                    return self._next(content, now)
            return []
        except BackchannelError as error:
            return self.refused(error, reply_id(content), now)

    def received_binary(self, now: float) -> list[Effect]:
        """A message came in that is not text."""
        error = BadFrame("A binary message means nothing here: send text frames with JSON.")
        return self.refused(error, None, now)

    def refused(self, error: BackchannelError, in_reply_to: str | None, now: float) -> list[Effect]:
        """Something the client asked for cannot be."""
        told = Say(error_frame(error, in_reply_to))
        if self.state is State.NEW:
            return [told, *self.part(CloseCode.BAD_HELLO, "bad or missing hello")]
        wait = self._patience.take(now)
        if wait:
            return [told, *self.part(CloseCode.RATE, "too many errors", retry_after=max(1.0, wait))]
        return [told]

    def turned_away(self, error: BackchannelError, code: int, reason: str) -> list[Effect]:
        """The client may not come in after all."""
        return [Say(error_frame(error)), *self.part(code, reason, error.retry_after)]

    def part(self, code: int, reason: str, retry_after: float | None = None) -> list[Effect]:
        """End the connection, and say why in a frame of its own."""
        if self.state is State.GONE:
            return []
        self.state = State.GONE
        goodbye = {"type": "goodbye", "code": code, "reason": reason, "retry_after": retry_after}
        return [Say(goodbye), Part(code, reason)]

    def authenticated(self, claims: Claims, hello: Hello) -> list[Effect]:
        """The token in the browser's hello is good."""
        self._bear(claims)
        return self._begin(hello)

    def arrived(self) -> None:
        """The client is welcome: from now on it may speak."""
        if self.state is State.ARRIVING:
            self.state = State.HERE

    def renewed(self, claims: Claims, in_reply_to: str, now: float) -> list[Effect]:
        """A fresh token was verified; it must be the same entity's."""
        held = self.claims
        if held is None or (claims.sub, claims.collaboration_group) != (held.sub, held.collaboration_group):
            error = Forbidden(
                "The new token is somebody else's; renew with one of the same entity.", field="token"
            )
            return self.refused(error, in_reply_to, now)
        self._bear(claims)
        self._warned = False
        return [Say(success(in_reply_to, expires_at=_moment(claims.exp)))]

    def tune(self, messages_per_second: float) -> None:
        """Let it send at another rate from the next message on."""
        self.limits = replace(self.limits, messages_per_second=messages_per_second)
        self._rate.tune(messages_per_second, messages_per_second * self.limits.burst_seconds)

    def rights_changed(self) -> None:
        """From the next message on, what is in force now counts."""
        self.claims = None if self.token is None else self.narrow(self.token)

    def _bear(self, token: Claims) -> None:
        self.token = token
        self.rights_changed()

    def tick(self, now: float) -> list[Effect]:
        """Time went by; call about once a second."""
        match self.state:
            case State.NEW:
                return self._await_hello(now)
            case State.ARRIVING | State.HERE:
                return self._watch_expiry(now)
        return []

    def _first(self, content: dict[str, Any]) -> list[Effect]:
        if content.get("type") != "hello":
            raise BadMessage("The first frame must be 'hello'.", field="type")
        hello = read(Hello, content)
        if self.claims is not None:
            return self._begin(hello)
        if hello.token is None:
            raise BadMessage("This connection has no token yet; send one in hello.", field="token")
        return [Authenticate(hello.token, hello)]

    def _begin(self, hello: Hello) -> list[Effect]:
        require_few(hello.subscription.focus, "subscription.focus")
        self.preference = declared(hello.quality)
        self.state = State.ARRIVING
        self.permission = hello.permission
        self.subscription = hello.subscription
        return [Begin(hello)]

    def _next(self, content: dict[str, Any], now: float) -> list[Effect]:
        match content.get("type"):
            case "ack":
                said = read(Ack, content)
                nothing = said.cursor is None and not said.message_ids
                return [] if nothing else [Acknowledge(said.cursor, tuple(said.message_ids))]
            case "hello":
                raise BadMessage("This connection has said hello already.", field="type")
        wait = self._rate.take(now) or (self.shared.take(now) if self.shared is not None else 0.0)
        if wait:
            raise RateLimited(
                f"At most {self.limits.messages_per_second:g} messages a second; try again in {wait:.2f} s.",
                retry_after=round(wait, 3),
            )
        if content.get("type") == "ping":
            asked = reply_id(content)
            return [Say({"type": "pong"} if asked is None else {"type": "pong", "in_reply_to": asked})]
        return self._message(content)

    def _message(self, content: dict[str, Any]) -> list[Effect]:
        check_type(content.get("type"))
        message = read_message(content)
        assert self.claims is not None
        check(message, self.claims, self.permission)
        in_reply_to = reply_id(content) or str(message.message_id)
        match message:
            case Query():
                return [Ask(message, in_reply_to)]
            case Renew(token=token):
                return [Renewal(token, in_reply_to)]
            case SubscriptionUpdate():
                return self._subscribe(message, in_reply_to)
            case QualityUpdate():
                self.preference = preference(message)
                told = success(in_reply_to, slow_connection=message.slow_connection)
                return [Tune(self.subscription, self.preference), Say(told)]
            case Infodump():
                return self._dump(message, in_reply_to)
        if wants_everything(message):
            return [Keep(content, message), *self._everything(message, in_reply_to)]
        return [Keep(content, message)]

    def _everything(self, message: AnyMessage, in_reply_to: str) -> list[Effect]:
        """Whoever calls the truck is given what is named behind it, or hears everything from now on; the
        message has an answer of its own."""
        fields = called_for(text_of(message))
        if fields:
            asked = Infodump.model_validate(
                {"message_id": message.message_id, "timestamp": message.timestamp, **fields}
            )
            part = wanted(asked)
            return [] if part is None else [Dump(part, in_reply_to)]
        mode = SubscriptionUpdate(
            message_id=message.message_id, timestamp=message.timestamp, mode="everything"
        )
        return [done for done in self._subscribe(mode, "") if not isinstance(done, Say)]

    def _subscribe(self, wanted: SubscriptionUpdate, in_reply_to: str) -> list[Effect]:
        """What is left out stays as it was."""
        require_few(wanted.focus, "focus")
        said = wanted.model_dump(include={"mode", "focus", "peripheral_awareness"}, exclude_unset=True)
        self.subscription = self.subscription.model_copy(update=said)
        return [Tune(self.subscription, self.preference), Say(success(in_reply_to, mode=wanted.mode))]

    def _dump(self, asked: Infodump, in_reply_to: str) -> list[Effect]:
        """A part of the history, or, if no part is named, everything from now on."""
        part = wanted(asked)
        if part is not None:
            return [Dump(part, in_reply_to)]
        everything = SubscriptionUpdate(
            message_id=asked.message_id,
            timestamp=asked.timestamp,
            mode="everything",
            focus=self.subscription.focus,
        )
        return self._subscribe(everything, in_reply_to)

    def _await_hello(self, now: float) -> list[Effect]:
        patience = self.limits.hello_token_seconds if self.claims is None else self.limits.hello_seconds
        if now - self.opened < patience:
            return []
        error = Expired(f"No hello came within {patience:g} s.")
        return self.turned_away(error, CloseCode.BAD_HELLO, "no hello")

    def _watch_expiry(self, now: float) -> list[Effect]:
        if self.claims is None:
            return []
        left = self.claims.exp - now
        if left <= 0:
            return self.part(CloseCode.TOKEN_EXPIRED, "the token has expired; come back with a fresh one")
        if left <= WARNED_BEFORE and not self._warned and self.state is State.HERE:
            self._warned = True
            return [Say({"type": "session_expiring", "at": _moment(self.claims.exp)})]
        return []


def _moment(seconds: float) -> str:
    return rfc3339(datetime.fromtimestamp(min(seconds, LAST_MOMENT), UTC))
