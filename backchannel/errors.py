"""Every error the platform tells anybody about, as one tree with stable codes.

    BackchannelError
    ├── Refused                not allowed or not possible; asking again unchanged is useless
    │   ├── BadFrame           bad_frame            not JSON, not UTF-8, too deep, not an object
    │   ├── BadMessage         bad_message          a field is missing or has the wrong shape
    │   ├── UnknownType        unknown_type
    │   ├── WrongSender        wrong_sender         speaks in another's name
    │   ├── Forbidden          forbidden
    │   ├── NotFound           not_found
    │   ├── IllegalTransition  illegal_transition   the sidebar's status does not permit it
    │   ├── TooLarge           too_large
    │   ├── UnknownAgent       unknown_agent
    │   ├── Expired            expired
    │   ├── Quarantined        quarantined
    │   └── WouldDeadlock      would_deadlock
    ├── Conflict               conflict             somebody else was first
    ├── RateLimited            rate_limited         honour ``retry_after``
    ├── QueueFull              queue_full
    ├── Unavailable            unavailable          the log or a service cannot be reached now
    ├── Degraded               degraded
    └── Internal               internal

The codes are those of the wire protocol, section 4.
"""

from __future__ import annotations

from typing import ClassVar


class BackchannelError(Exception):
    """Any error with a code, told in a full sentence.

    Args:
        message: a sentence for the person or agent who reads it; it says what to do.
        field: the message field it is about, as a dotted path, if it is about one.
        retry_after: seconds after which the same request may succeed.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, field: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after = retry_after


class Refused(BackchannelError):
    """A rule said no."""


class BadFrame(Refused):
    """It is not JSON, not UTF-8, nested too deeply, or not an object."""

    code = "bad_frame"


class BadMessage(Refused):
    """A field is missing or has the wrong shape; `field` names it."""

    code = "bad_message"


class UnknownType(Refused):
    """There is no such message type."""

    code = "unknown_type"


class WrongSender(Refused):
    """It speaks in another's name."""

    code = "wrong_sender"


class Forbidden(Refused):
    """The token, or the sidebar, does not allow it."""

    code = "forbidden"


class NotFound(Refused):
    """What it names does not exist."""

    code = "not_found"


class IllegalTransition(Refused):
    """The sidebar's status does not permit it; the message lists what it permits."""

    code = "illegal_transition"


class TooLarge(Refused):
    """It is longer, or names more, than is taken."""

    code = "too_large"


class UnknownAgent(Refused):
    """It names an agent the group does not know."""

    code = "unknown_agent"


class Expired(Refused):
    """It came too late."""

    code = "expired"


class Quarantined(Refused):
    """It was parked because agents seem to go round in circles."""

    code = "quarantined"


class WouldDeadlock(Refused):
    """Waiting for this would close a circle of waits."""

    code = "would_deadlock"


class Conflict(BackchannelError):
    """Another writer got there first; read again, then decide again."""

    code = "conflict"
    retryable = True


class RateLimited(BackchannelError):
    """Too much in too short a time; `retry_after` says when to come back."""

    code = "rate_limited"
    retryable = True


class QueueFull(BackchannelError):
    """As much is under way as may be."""

    code = "queue_full"
    retryable = True


class Unavailable(BackchannelError):
    """The log, the server or a service cannot be reached now; nothing was stored as far as is known."""

    code = "unavailable"
    retryable = True


class Degraded(BackchannelError):
    """A part of the platform that this needs is not well."""

    code = "degraded"
    retryable = True


class Internal(BackchannelError):
    """A fault of the platform; its log has more."""

    code = "internal"
    retryable = True


def no_sidebar_of(agent: str, sidebar_id: str, field: str) -> Forbidden:
    """The one answer for a sidebar that is not there and for one that ``agent`` may not look at.

    Whoever asks can tell neither from the other: the names of sidebars say what others are at.
    """
    return Forbidden(
        f"There is no sidebar {sidebar_id} that {agent} takes part in or may look at; if it is there,"
        " a participant can invite you.",
        field=field,
    )


def _every(kind: type[BackchannelError]) -> list[type[BackchannelError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in _every(child))]


BY_CODE: dict[str, type[BackchannelError]] = {
    kind.code: kind
    for kind in _every(BackchannelError)
    if "code" in kind.__dict__ and kind is not BackchannelError
}
"""The class of each wire code."""
