"""Doors: every way in, and which check stands at which of them: the table the edges are composed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

Step = TypeVar("Step")


class Door(StrEnum):
    """A way in for what others send. The value is what people are told."""

    WEBSOCKET = "WebSocket"
    STORE = "POST /store"
    APPROVALS = "POST /approvals"
    LEAVE = "callback leave"
    PAGE = "GET of a page"
    NUMBERS = "GET /metrics and the details of /health"
    NATIVE_LOGIN = "native login"
    NATIVE_PUBLISH = "native publish"
    NATIVE_QUERY = "native query"
    NATIVE_PULL = "native pull"
    NATIVE_INFO = "native consumer info"
    NATIVE_ACK = "native acknowledgement"


class Check(StrEnum):
    """What has to hold before a request goes on. The value completes "refused unless …"."""

    HOST = "the Host is one of the platform's names"
    ORIGIN = "the Origin is an allowed page, where there is one"
    ROOM = "there is room: connections and requests under way, for this address or agent and in total"
    IDENTITY = "a credential of the platform says who it is"
    KEY = "the key that signed it still counts"
    REVOCATION = "neither the credential was revoked nor its bearer sent away"
    NONCE = "a credential for one use was not used before"
    PACE = "its sender keeps to the messages a second"
    WORK = "what it asks of the loop and of the log is bounded"
    SIZE = "it is no larger than allowed"
    BYTES = "its sender keeps to the bytes a second"
    RIGHTS = "the rights in force allow it"
    AUDIT = "a refusal is on record"


class At(StrEnum):
    """When a check is made."""

    ARRIVAL = "once, as a connection comes in"
    HELLO = "once, as a connection says who it is"
    OPEN = "again and again while a connection is open"
    MESSAGE = "for every message or request"
    ACT = "before anything is done for a message that has been read"
    REFUSAL = "when something was refused"


@dataclass(frozen=True, slots=True)
class Without:
    """Why a door does without a check: what keeps it instead, or why there is nothing to keep."""

    why: str


ARRIVING, OPEN, EACH, ACTING = (At.ARRIVAL,), (At.ARRIVAL, At.OPEN), (At.MESSAGE,), (At.ACT,)
IS_NO_HTTP = Without("NATS has neither Host nor Origin")
SHORT = Without("it is a few bytes, and how many of them are under way is limited")
OWN = Without("it reaches its agent's own consumer, and what that hands out follows the rights in force")
ONE_LINE = Without("a login is one line, no longer than the server's max_control_line, and is looked at once")
LET_IN = Without("the login spent it: what comes later belongs to that connection")
ON_RECORD = (At.REFUSAL,)
NO_BODY = Without("only the head is read, which is limited before anything is made of it")
FOR_ALL = Without("what it shows is for everybody, and waits in memory")

_HTTP: Mapping[Check, tuple[At, ...] | Without] = {
    Check.HOST: EACH,
    Check.ORIGIN: EACH,
    Check.IDENTITY: EACH,
    Check.ROOM: (At.ARRIVAL, At.MESSAGE),
    Check.SIZE: EACH,
    Check.PACE: EACH,
    Check.BYTES: EACH,
    Check.WORK: EACH,
    Check.NONCE: EACH,
    Check.KEY: EACH,
    Check.REVOCATION: EACH,
    Check.RIGHTS: EACH,
    Check.AUDIT: ON_RECORD,
}
"""The order is the one in which they are made: nothing is read from a stranger, nothing is spent on garbage.
Whether the credential still counts is looked at last, for a body may take half a minute to come."""

_READING: Mapping[Check, tuple[At, ...] | Without] = {
    **_HTTP,
    Check.SIZE: NO_BODY,
    Check.BYTES: NO_BODY,
    Check.WORK: Without("numbers are written by one thread at a time, for all who ask meanwhile"),
    Check.RIGHTS: Without("everybody whom the platform believes may read them: they name no agent"),
}

_NATIVE: Mapping[Check, tuple[At, ...] | Without] = {
    Check.HOST: IS_NO_HTTP,
    Check.ORIGIN: IS_NO_HTTP,
    Check.IDENTITY: EACH,
    Check.PACE: EACH,
    Check.BYTES: EACH,
    Check.ROOM: EACH,
    Check.SIZE: EACH,
    Check.WORK: ACTING,
    Check.KEY: ACTING,
    Check.REVOCATION: ACTING,
    Check.NONCE: LET_IN,
    Check.RIGHTS: ACTING,
    Check.AUDIT: ON_RECORD,
}
"""Who it is stands in the subject, which the NATS server enforces. Pace and room come before any reading."""

DOORS: Mapping[Door, Mapping[Check, tuple[At, ...] | Without]] = {
    Door.WEBSOCKET: {
        Check.HOST: ARRIVING,
        Check.ORIGIN: ARRIVING,
        Check.ROOM: ARRIVING,
        Check.IDENTITY: ARRIVING,
        Check.KEY: (At.ARRIVAL, At.HELLO, At.OPEN),
        Check.REVOCATION: (At.ARRIVAL, At.HELLO, At.OPEN),
        Check.NONCE: (At.HELLO,),
        Check.WORK: EACH,
        Check.SIZE: EACH,
        Check.PACE: EACH,
        Check.BYTES: EACH,
        Check.RIGHTS: EACH,
        Check.AUDIT: ON_RECORD,
    },
    Door.STORE: _HTTP,
    Door.APPROVALS: _HTTP,
    Door.LEAVE: {
        **_HTTP,
        Check.KEY: Without("there is one, that of supervision now: whatever another key signed is forged"),
        Check.NONCE: Without("a leave answers one request, once: the request is decided then"),
    },
    Door.PAGE: {
        **dict.fromkeys(_HTTP, FOR_ALL),
        Check.HOST: EACH,
        Check.ROOM: ARRIVING,
        Check.SIZE: NO_BODY,
        Check.AUDIT: ON_RECORD,
    },
    Door.NUMBERS: _READING,
    Door.NATIVE_LOGIN: {
        **_NATIVE,
        Check.IDENTITY: ARRIVING,
        Check.KEY: OPEN,
        Check.REVOCATION: OPEN,
        Check.RIGHTS: ARRIVING,
        Check.PACE: ARRIVING,
        Check.ROOM: ARRIVING,
        Check.NONCE: ARRIVING,
        Check.BYTES: ONE_LINE,
        Check.SIZE: ONE_LINE,
        Check.WORK: ONE_LINE,
    },
    Door.NATIVE_PUBLISH: _NATIVE,
    Door.NATIVE_QUERY: _NATIVE,
    Door.NATIVE_PULL: {**_NATIVE, Check.WORK: SHORT, Check.RIGHTS: OWN},
    Door.NATIVE_INFO: {**_NATIVE, Check.WORK: SHORT, Check.RIGHTS: OWN},
    Door.NATIVE_ACK: {
        **_NATIVE,
        Check.ROOM: Without("it is handed on in the turn in which it comes"),
        Check.WORK: SHORT,
        Check.RIGHTS: OWN,
    },
}
"""Every door and every check, in the order in which they are made; no cell is empty."""


def checks(door: Door, at: At) -> tuple[Check, ...]:
    """What is checked at a door at such a moment, in order."""
    return tuple(check for check, cell in DOORS[door].items() if not isinstance(cell, Without) and at in cell)


def composed(door: Door, at: At, steps: Mapping[Check, Step]) -> tuple[Step, ...]:
    """The steps of an edge in the order of the table.

    A step that makes several checks at once is given for each, and stands where the first of them does.

    Raises:
        LookupError: a check of the table has no step here, or a step has no place in the table. An edge is
            composed when its process starts, so that none opens with a check missing.
    """
    wanted = checks(door, at)
    missing = [check.name for check in wanted if check not in steps]
    unknown = [check.name for check in steps if check not in wanted]
    if missing or unknown:
        raise LookupError(f"{door.value}, {at.name}: no step for {missing}, no place for {unknown}.")
    return tuple(dict.fromkeys(steps[check] for check in wanted))
