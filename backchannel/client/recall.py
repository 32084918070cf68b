"""Recalling: history that an agent asks for, what was left out for it, and whether anything was lost."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from backchannel.client.compose import compose
from backchannel.client.continuity import Continuity
from backchannel.client.history import Frame, History
from backchannel.client.notice import Gap
from backchannel.client.outcome import answer
from backchannel.client.stages import Stages
from backchannel.protocol.attention import Infodump
from backchannel.protocol.message import rfc3339


class Recall(Stages):
    """The remembering half of an agent."""

    @property
    def continuity(self) -> Continuity:
        """What this agent and the bridge counted; with each heartbeat they are compared."""
        return self._connection.continuity

    @property
    def gaps(self) -> list[Gap]:
        """The latest gaps, oldest first: what the bridge left out because this agent read too slowly."""
        return list(self._connection.gaps)

    async def fetch(self, gap: Gap) -> History:
        """Exactly what a gap left out: ``async for message in await me.fetch(gap)``.

        Raises:
            NotFound: the log is another one since; what was left out is gone.
            BackchannelError: see `ask`.
        """
        spans = {lane: list(span) for lane, span in gap.spans.items()}
        return await self._history(since=gap.start, until=gap.to, spans=spans or None)

    async def infodump(
        self,
        *,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        pattern: str | None = None,
    ) -> History:
        """A stretch of history, its cost first: ``async for message in await me.infodump(since=…)``.

        Args:
            since: a time or a cursor; that position is included, as it is for `until`.
            pattern: a part of the text, in any case; ``*`` and ``?`` stand for what may be anything.

        Raises:
            NotFound: the cursor belongs to a log that is gone.
            BackchannelError: see `ask`.
        """
        if since is until is pattern is None:
            since = self._welcome.cursor.partition(".")[0] + ".0"
        return await self._history(since=_point(since), until=_point(until), pattern=pattern)

    async def everything(self) -> None:
        """From now on hear everything one may hear, whatever this agent subscribed to. Raises as `ask`."""
        answer(await self._asked(compose(Infodump)))

    async def _history(self, **fields: Any) -> History:
        told = answer(await self._asked(compose(Infodump, **fields, limit=0)))
        return History(fields, told, self._asked, self._connection.histories)

    async def _asked(self, asked: Infodump) -> Frame:
        return await self._call(asked, "answer", None)


def _point(point: str | datetime | None) -> str | None:
    return rfc3339(point) if isinstance(point, datetime) else point
