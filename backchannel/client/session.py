"""The session: what each frame of the bridge means, and what outlives one link."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import ValidationError

from backchannel.client.closing import Closed
from backchannel.client.continuity import Continuity, unpacked
from backchannel.client.history import Histories
from backchannel.client.link import Link, LinkLost
from backchannel.client.mailroom import Mailroom
from backchannel.client.notice import Gap
from backchannel.client.requests import Requests
from backchannel.errors import BackchannelError, BadFrame, Forbidden
from backchannel.protocol import frame as frames
from backchannel.protocol.frame import ErrorFrame, Frame, Goodbye, Hello, Welcome
from backchannel.protocol.json_object import read_object

WELCOME_WITHIN = 15.0
GAPS_KEPT = 64
_ABNORMAL = 1006
_log = logging.getLogger("backchannel.client")
F = TypeVar("F", bound=Frame)


class Session:
    """Takes the frames of one link after another.

    Attributes:
        token: what the next resume shows; None when there is none or it is spent.
        acknowledged: how often the position had moved when it was last acknowledged on this link.
        expiring: set when the token is about to expire.
        gaps: the latest of what was left out because this agent read too slowly.

    Args:
        notices: whether the user is told of what was left out, instead of being given it later.
    """

    def __init__(
        self,
        mailroom: Mailroom,
        requests: Requests,
        on_gap: Callable[[Gap], None],
        *,
        notices: bool = False,
    ) -> None:
        self.token: str | None = None
        self.welcome: Welcome | None = None
        self.acknowledged = 0
        self.expiring = asyncio.Event()
        self.continuity = Continuity()
        self.histories = Histories()
        self.gaps: deque[Gap] = deque(maxlen=GAPS_KEPT)
        self._notices = notices
        self._mailroom = mailroom
        self._requests = requests
        self._on_gap = on_gap
        self._goodbye: Goodbye | None = None
        self._error: ErrorFrame | None = None

    async def begin(self, link: Link, hello: Hello, name: str) -> Welcome:
        """Say hello and be welcomed.

        Raises:
            LinkLost: the bridge closed instead, or said nothing in time.
            Forbidden: it welcomes somebody else than `name`.
        """
        self._goodbye = self._error = None
        self.acknowledged = 0
        self.histories.lost()
        await link.send(hello.model_dump_json(exclude_none=True))
        try:
            async with asyncio.timeout(WELCOME_WITHIN):
                while (frame := await self._frame(link))["type"] != "welcome":
                    self._note(frame)
        except TimeoutError:
            raise LinkLost(Closed(_ABNORMAL, "no welcome in time")) from None
        welcome = _typed(Welcome, frame)
        if welcome.agent_id != name:
            raise Forbidden(f"The token is that of {welcome.agent_id!r}; connect with one for {name!r}.")
        self._welcomed(welcome)
        return welcome

    async def next(self, link: Link) -> None:
        """Take one frame. Raises LinkLost."""
        raw = await link.receive()
        frame = _read(raw)
        self.continuity.count(frame)
        match frame:
            case {"type": "catch_up", "infodump": str() as message_id, "events": list()}:
                self.histories.took(message_id, frame)
            case {"type": "catch_up" | "batch" | "coalesced_update"}:
                events = unpacked(frame)
                for event in events:
                    self._event(event, len(raw) // len(events))
            case {"type": "result"} if self._requests.answered(frame):
                pass
            case {"cursor": str(), "message_id": str()}:
                self._event(frame, len(raw))
            case _:
                self._note(frame)

    def complete(self, closed: Closed) -> Closed:
        """The end of the link, with what the bridge said about it before."""
        return Closed(closed.code, closed.reason, self._goodbye, self._error)

    def _welcomed(self, welcome: Welcome) -> None:
        returning = self.welcome is not None
        self.welcome, self.token = welcome, welcome.session
        self.continuity.begin(welcome.cursor)
        if welcome.outcome == "gap" or (returning and welcome.outcome == "live_only"):
            reason = welcome.resume_failure or "The platform does not know any more where this agent stood."
            gap = Gap(reason, start=self._mailroom.arrivals.position, to=welcome.cursor)
            self._mailroom.lost(gap)
            self._on_gap(gap)
        self._mailroom.resumed()

    async def _frame(self, link: Link) -> dict[str, Any]:
        return _read(await link.receive())

    def _event(self, event: object, size: int) -> None:
        if isinstance(event, dict):
            self._mailroom.arrive(event, size)

    def _note(self, frame: dict[str, Any]) -> None:
        """A frame of the connection itself; those that ask nothing of a client are passed over."""
        match frame:
            case {"type": "accepted", "in_reply_to": str() as message_id}:
                self._requests.received(message_id, frame)
            case {"type": "duplicate_ack", "original_message_id": str() as message_id}:
                self._requests.received(message_id, frame)
            case {"type": "error"}:
                self._refused(_typed(ErrorFrame, frame))
            case {"type": "goodbye"}:
                self._goodbye = _typed(Goodbye, frame)
            case {"type": "session", "session": str() as token}:
                self.token = token
            case {"type": "session_expiring"}:
                self.expiring.set()
            case {"type": "gap"}:
                self._left_out(_typed(frames.Gap, frame))
            case {"type": "position"}:
                self._compare(_typed(frames.Position, frame))

    def _left_out(self, told: frames.Gap) -> None:
        reason = "This agent read too slowly; the log has what was left out."
        gap = Gap(reason, told.start, told.to, told.dropped, told.by_lane, told.spans)
        self.gaps.append(gap)
        if not self._notices:
            self._mailroom.skipped(told.start)
            return
        self._mailroom.inbox.gap(gap)
        self._on_gap(gap)

    def _compare(self, told: frames.Position) -> None:
        """Raises LinkLost if something that was sent has not come, or has come twice."""
        if not self.continuity.agrees(told.cursor, told.delivered):
            raise LinkLost(Closed(_ABNORMAL, "the counts of what was delivered differ"))

    def _refused(self, error: ErrorFrame) -> None:
        if error.in_reply_to is not None:
            self._requests.refused(error.in_reply_to, error)
            return
        _log.warning("The platform says: %s (%s)", error.message, error.code)
        self._error = error


def _read(raw: str | bytes) -> dict[str, Any]:
    try:
        frame = read_object(raw)
    except BackchannelError as problem:
        raise LinkLost(Closed(_ABNORMAL, f"the bridge sent what is not a frame: {problem.message}")) from None
    frame.setdefault("type", "")
    return frame


def _typed(kind: type[F], frame: dict[str, Any]) -> F:
    try:
        return kind.model_validate(frame)
    except ValidationError as error:
        raise BadFrame(
            f"The other side does not speak this version of the protocol: its {frame['type']!r} has"
            f" {error.error_count()} wrong fields."
        ) from None
