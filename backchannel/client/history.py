"""History: what an agent asks for beside what happens now, its cost first, then page by page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from backchannel.client.compose import compose
from backchannel.client.notice import Incoming, read_event
from backchannel.client.outcome import answer
from backchannel.errors import BackchannelError, Unavailable
from backchannel.protocol.attention import Infodump

PAGE = 1000
TRIES = 5
WHOLE_WITHIN = 300.0
"""Seconds a page may take, on a slow line."""

Frame = dict[str, Any]


@dataclass(slots=True)
class Page:
    """What has come of one page."""

    events: list[Frame] = field(default_factory=list)
    whole: asyncio.Future[str | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Histories:
    """The pages that are on their way over the current link."""

    def __init__(self) -> None:
        self._pages: dict[str, Page] = {}

    def expect(self, message_id: str) -> Page:
        return self._pages.setdefault(message_id, Page())

    def forget(self, message_id: str) -> None:
        self._pages.pop(message_id, None)

    def took(self, message_id: str, frame: Frame) -> None:
        """A frame of history came; one that nobody waits for is passed over."""
        page = self._pages.get(message_id)
        if page is None or page.whole.done():
            return
        page.events.extend(event for event in frame["events"] if isinstance(event, dict))
        if "next" in frame:
            page.whole.set_result(frame["next"])

    def lost(self) -> None:
        """The link is gone, and the rest of every page with it."""
        for page in self._pages.values():
            if not page.whole.done():
                page.whole.set_exception(Unavailable("The connection broke while history was read."))
                page.whole.exception()  # seen, also if nobody has begun to wait


Call = Callable[[Infodump], Awaitable[Frame]]


class History:
    """A stretch of history: what it costs, and then, in a loop, the events themselves.

    What is read here is acknowledged nowhere and comes to no inbox.

    Attributes:
        count: how many events it is; at most so many if `estimated`.
        size: their bytes.
        missing: a sentence if the log does not reach back as far as was asked.
    """

    def __init__(self, fields: Mapping[str, Any], told: Frame, call: Call, histories: Histories) -> None:
        self.count = int(told.get("count", 0))
        self.size = int(told.get("bytes", 0))
        self.estimated = bool(told.get("estimated"))
        self.missing: str | None = told.get("missing")
        # Bounds as they were when the cost was told: what happens meanwhile is not history yet.
        self._fields = {**fields, "until": told.get("to")}
        self._call = call
        self._histories = histories

    async def __aiter__(self) -> AsyncIterator[Incoming]:
        after: str | None = None
        while self.count:
            page, after = await self._page(after)
            for content in page:
                event = read_event(content)
                if event is not None:
                    yield event
            if after is None:
                return

    async def _page(self, after: str | None) -> tuple[list[Frame], str | None]:
        """One page, whole; asked for again when the connection breaks. Raises Unavailable."""
        for remaining in reversed(range(TRIES)):
            asked = compose(Infodump, **{**self._fields, "after": after, "limit": PAGE})
            page = self._histories.expect(str(asked.message_id))
            try:
                answer(await self._call(asked))
                async with asyncio.timeout(WHOLE_WITHIN):
                    return page.events, await page.whole
            except TimeoutError:
                raise Unavailable(f"A page of history took longer than {WHOLE_WITHIN:g} seconds.") from None
            except BackchannelError as trouble:
                if not trouble.retryable or not remaining:
                    raise
            finally:
                self._histories.forget(str(asked.message_id))
        raise AssertionError("the loop returns or raises")
