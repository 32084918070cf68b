"""Closing: what the end of a connection means for the client: come back, and how, or stop."""

from __future__ import annotations

from dataclasses import dataclass

from backchannel.errors import BY_CODE, BackchannelError, Expired, Forbidden, Internal, TooLarge, Unavailable
from backchannel.protocol.frame import RECONNECT, CloseCode, ErrorFrame, Goodbye

NO_STATUS = 1005
ABNORMAL = 1006


@dataclass(frozen=True, slots=True)
class Closed:
    """How a connection ended: the close code, its reason, and what the bridge said about it before."""

    code: int
    reason: str = ""
    goodbye: Goodbye | None = None
    error: ErrorFrame | None = None

    @property
    def retry_after(self) -> float | None:
        said = self.goodbye and self.goodbye.retry_after
        return said or (self.error.retry_after if self.error else None)

    @property
    def words(self) -> str:
        for said in (self.error and self.error.message, self.goodbye and self.goodbye.reason, self.reason):
            if said:
                return said.rstrip(".")
        return "no reason was given"


@dataclass(frozen=True, slots=True)
class Again:
    """Come back, after `at_least` seconds if it is set.

    `fresh_token`: with a new token. `without_session`: without the session token, which is spent.
    """

    at_least: float | None = None
    fresh_token: bool = False
    without_session: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """Do not come back unchanged."""

    error: BackchannelError


def after(closed: Closed, *, refreshable: bool) -> Again | Stop:
    """What to do once a connection has ended.

    Args:
        refreshable: a fresh token can be had.
    """
    match closed.code:
        case CloseCode.TOKEN_EXPIRED if refreshable:
            return Again(closed.retry_after, fresh_token=True)
        case CloseCode.TOKEN_EXPIRED:
            return Stop(
                Expired(
                    "The token has expired and was given as a fixed text;"
                    " connect with a new one, or with a function or file that yields a fresh one."
                )
            )
        case CloseCode.SESSION_REUSED:
            return Again(closed.retry_after, without_session=True)
        case code if code == NO_STATUS or code in RECONNECT:
            return Again(closed.retry_after)
    return Stop(_terminal(closed))


def _terminal(closed: Closed) -> BackchannelError:
    match closed.code:
        case CloseCode.DONE:
            return Unavailable(f"The platform has ended the connection: {closed.words}.")
        case CloseCode.REPLACED:
            return Forbidden(
                f"Another connection of this agent is the current one: {closed.words}."
                " Close that one first, or connect as an observer."
            )
        case CloseCode.TOO_LARGE:
            return TooLarge(f"A message was larger than the platform takes: {closed.words}.")
    kind = BY_CODE.get(closed.error.code, Forbidden) if closed.error else _KINDS.get(closed.code, Internal)
    return kind(f"The platform has closed the connection with {closed.code}: {closed.words}.")


_KINDS: dict[int, type[BackchannelError]] = {
    CloseCode.FORBIDDEN: Forbidden,
    CloseCode.BAD_HELLO: BY_CODE["bad_frame"],
}
