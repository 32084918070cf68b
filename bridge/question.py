"""Questions: queries of clients, forwarded to the handlers that answer them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pydantic_core

from backchannel.errors import BackchannelError, Unavailable
from backchannel.jetstream.connection import Connection
from backchannel.protocol.attention import Query
from backchannel.protocol.claims import Claims
from backchannel.protocol.subject import service_subject

ANSWER_SECONDS = 5.0
QUERY = "query"


class Question:
    """Asks the handlers, and knows whether they answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.answering = False

    async def ask(self, claims: Claims, query: Query) -> dict[str, Any]:
        """What the handlers say, as fields of a result.

        Raises:
            Unavailable: nobody answers, or not in time.
        """
        headers = {
            "Bc-Caller": claims.sub,
            "Bc-Role": claims.entity_type,
            "Bc-Access": ",".join(claims.sidebar_access),
        }
        return await self._ask(claims.collaboration_group, query.query, query.params, headers)

    async def check(self, groups: Iterable[str]) -> None:
        """Ask every group's handlers for a sign of life."""
        try:
            for group in groups:
                await self._ask(group, "ping", {}, {"Bc-Caller": "bridge", "Bc-Role": "operator"})
        except BackchannelError:
            self.answering = False
        else:
            self.answering = True

    async def answer_for(self, claims: Claims | None, group: str, content: dict[str, Any]) -> dict[str, Any]:
        """Have supervision decide an answer to a request for approval, and say what came of it.

        Args:
            claims: who answers; None if the content carries leave to do so.

        Raises:
            Unavailable: nobody answers, or not in time.
        """
        headers = {"Bc-Caller": claims.sub if claims else "callback"}
        headers["Bc-Role"] = claims.entity_type if claims else "service"
        return await self._request(service_subject(group, "supervision", "answer"), content, headers)

    async def _ask(
        self, group: str, name: str, params: dict[str, Any], headers: dict[str, str]
    ) -> dict[str, Any]:
        return await self._request(service_subject(group, QUERY, name), params, headers)

    async def _request(
        self, subject: str, content: dict[str, Any], headers: dict[str, str]
    ) -> dict[str, Any]:
        reply = await self._connection.request(
            subject,
            pydantic_core.to_json(content, inf_nan_mode="null"),
            headers=headers,
            timeout=ANSWER_SECONDS,
        )
        try:
            answer = pydantic_core.from_json(reply.payload)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Unavailable(f"The answer to {subject!r} cannot be read.")
        return answer
