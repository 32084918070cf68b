"""One question, one answer: a connection for a single query."""

from __future__ import annotations

import asyncio
import ssl as tls
from collections.abc import Mapping
from typing import Any

from backchannel.client import outcome
from backchannel.client.closing import Closed, Stop, after
from backchannel.client.compose import compose
from backchannel.client.link import Link, LinkLost
from backchannel.client.websocket import dial
from backchannel.errors import BackchannelError, Unavailable
from backchannel.protocol.attention import Query
from backchannel.protocol.catalog import write
from backchannel.protocol.frame import ErrorFrame, Hello
from backchannel.protocol.json_object import read_object


async def ask_once(
    url: str,
    token: str,
    query: str,
    params: Mapping[str, Any] | None = None,
    *,
    timeout: float = 10.0,
    ssl: tls.SSLContext | None = None,
) -> dict[str, Any]:
    """The own fields of the answer to `query`, over a connection that only observes.

    Raises:
        Unavailable: no platform answers there in time.
        Forbidden: the token is not accepted, or may not ask this.
        BackchannelError: the query was refused; the class and `code` say why.
    """
    asked = compose(Query, query=query, params=dict(params or {}))
    try:
        async with asyncio.timeout(timeout):
            link = await dial(url, token, ssl=ssl)
            try:
                return await _asked(link, asked)
            finally:
                await link.close()
    except TimeoutError:
        raise Unavailable(f"The platform at {url} did not answer within {timeout:g} seconds.") from None


async def _asked(link: Link, query: Query) -> dict[str, Any]:
    said: ErrorFrame | None = None
    try:
        await link.send(Hello(permission="observer", purpose="observer").model_dump_json(exclude_none=True))
        while True:
            frame = read_object(await link.receive())
            match frame:
                case {"type": "welcome"}:
                    await link.send(write(query).decode())
                case {"type": "result", "in_reply_to": str() as asked} if asked == str(query.message_id):
                    return outcome.answer(frame)
                case {"type": "error"}:
                    said = ErrorFrame.model_validate(frame)
                    if said.in_reply_to == str(query.message_id):
                        raise outcome.refused(said)
    except LinkLost as lost:
        raise _gone(lost.closed, said) from None


def _gone(closed: Closed, said: ErrorFrame | None) -> BackchannelError:
    whole = Closed(closed.code, closed.reason, None, said)
    match after(whole, refreshable=False):
        case Stop(error):
            return error
    return Unavailable(f"The connection ended before the answer came: {whole.words}.")
