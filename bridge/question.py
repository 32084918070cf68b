"""Questions: queries of clients, forwarded to the handlers that answer them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pydantic_core
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from backchannel.domain.supervision.request import Request, place_of
from backchannel.errors import BackchannelError, Unavailable
from backchannel.jetstream.connection import Connection
from backchannel.jetstream.read import last
from backchannel.protocol.attention import Query
from backchannel.protocol.claims import Claims
from backchannel.protocol.identifier import is_identifier
from backchannel.protocol.sealed import from_text
from backchannel.protocol.subject import events_stream, order_subject, service_subject

ANSWER_SECONDS = 5.0
QUERY = "query"
CALLBACK = "callback"
"""Who answers by leave, as far as handlers are told; the human is in the leave."""


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

    async def grant_key(self, group: str) -> Ed25519PublicKey:
        """What supervision signs with: grants, and leave to answer. Raises Unavailable."""
        said = await self._ask(group, "grant_key", {}, {"Bc-Caller": "bridge", "Bc-Role": "operator"})
        try:
            return Ed25519PublicKey.from_public_bytes(from_text(str(said.get("public_key"))))
        except ValueError:
            raise Unavailable("The key of supervision cannot be read.", retry_after=1.0) from None

    async def answer_for(self, claims: Claims | None, group: str, content: dict[str, Any]) -> dict[str, Any]:
        """Have supervision decide an answer to a request for approval, and say what came of it.

        Args:
            claims: who answers; None if the content carries leave to do so.

        Raises:
            Unavailable: nobody answers, or not in time.
        """
        headers = {"Bc-Caller": claims.sub if claims else CALLBACK}
        headers["Bc-Role"] = claims.entity_type if claims else "service"
        decided = await self._request(service_subject(group, "supervision", "answer"), content, headers)
        if decided.get("code") != "conflict":
            return decided
        return await self._decided_before(headers["Bc-Caller"], group, content) or decided

    async def _decided_before(
        self, caller: str, group: str, content: dict[str, Any]
    ) -> dict[str, Any] | None:
        """The decision, where it came of this very answer: its answer was lost on the way, or repeated.

        Whose mark the request bears last is in the id under which the log has it.
        """
        request_id = str(content["request_id"])
        if not is_identifier(request_id):
            return None
        subject = order_subject(group, place_of(request_id))
        mark = await last(self._connection, events_stream(group), subject)
        named = (mark.headers or {}).get("Nats-Msg-Id", "") if mark is not None and mark.payload else ""
        if mark is None or not named.startswith(f"{caller}:{content['message_id']}:"):
            return None
        found = Request.read(pydantic_core.from_json(mark.payload))
        told = {"request_id": found.request_id, "decision": found.state, "conditions": found.conditions}
        return {"status": "success", "duplicate": True, **told}

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
