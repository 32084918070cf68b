"""Asking: an agent asks for a tool and hears what came of it; a human reads what waits, and answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from backchannel.client.compose import compose
from backchannel.client.inbox import Reader
from backchannel.client.outcome import successful
from backchannel.client.waiting import Patient
from backchannel.errors import Unavailable
from backchannel.protocol.message import Message
from backchannel.protocol.result import Result
from backchannel.protocol.supervision import (
    VERDICT,
    AllowanceRevoke,
    ApprovalResponse,
    ToolDecision,
    ToolRequest,
    ToolResult,
)


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What became of a tool request so far; what is missing comes to the inbox."""

    request_id: str
    decision: ToolDecision | None = None
    result: ToolResult | None = None

    @property
    def approved(self) -> bool:
        return self.decision is not None and self.decision.decision == "approved"

    @property
    def success(self) -> bool:
        """It was run, and that went well."""
        return self.result is not None and self.result.success


class Asking(Patient):
    """The half of an agent, or of a human, that has to do with supervision."""

    async def request_tool(
        self,
        tool: str,
        params: Mapping[str, Any],
        *,
        reasoning: str | None = None,
        chain: str | None = None,
        wait: float = 60.0,
        own: bool = False,
    ) -> ToolOutcome:
        """Ask for a tool, and wait for the decision and then for what a worker made of it.

        A denial is an outcome, no exception. Decision and result do not come to the inbox as well, but for
        what comes after `wait`.

        Args:
            reasoning: why, for the human who may be asked.
            chain: the chain of tools that this is a part of.
            wait: seconds for all of it.
            own: this agent runs the tool itself: return with the approval, then `report`.

        Raises:
            BackchannelError: it could not even be asked; see `request`.
        """
        asked = compose(ToolRequest, tool=tool, params=dict(params), agent_reasoning=reasoning, chain=chain)
        request_id = str(asked.message_id)
        mailroom = self._connection.mailroom
        told = Reader(mailroom, mailroom.claim(request_id))
        try:
            frame = await self._call(asked, "result", None)
            if frame.get("decision") != "denied":
                successful(Result.model_validate(frame))
            return await _outcome(told, request_id, wait, own)
        finally:
            told.finish()
            mailroom.release(request_id)

    async def report(
        self, request_id: str, *, success: bool, result: Any = None, error: str | None = None
    ) -> Result:
        """Say how a tool of one's own went that was granted.

        Raises:
            Conflict: it was not approved, or a worker has run it. NotFound: there is no such request.
        """
        said = compose(ToolResult, request_id=request_id, success=success, result=result, error=error)
        return await self.request(said)

    async def approvals(self, *, state: str | None = None, **params: Any) -> list[dict[str, Any]]:
        """Requests for tools, the newest first: one's own, and for a human those that are theirs to decide.

        Args:
            state: pending, rescheduled, approved or denied.
            params: further parameters of the query ``approvals``: agent, request_id, limit, page. Large
                requests come cut (`shortened`); by its request_id one comes whole.
        """
        wanted = params | ({} if state is None else {"state": state})
        found = await self.ask("approvals", **wanted)
        return list(found["approvals"])

    async def approve(
        self,
        request_id: str,
        reason: str,
        conditions: Sequence[Any] = (),
        *,
        allow: Mapping[str, Any] | None = None,
        together: Sequence[str] = (),
    ) -> Result:
        """Let a request go on, this once, with exactly its parameters.

        Args:
            conditions: as "backup_first" or {"path_prefix": "reports"}.
            allow: let calls like this one go on: {"seconds": 3600, "path_prefix": …, "equal": {…}}.
            together: further requests, by their ids, that are answered with it: all of them or none.

        Raises:
            Conflict: somebody was first. Forbidden, NotFound: it is not this human's to decide.
        """
        fields = {"conditions": list(conditions), "allow": allow, "together": list(together) or None}
        return await self._answer(request_id, True, reason, fields)

    async def deny(
        self,
        request_id: str,
        reason: str,
        alternatives: Sequence[Any] = (),
        *,
        again_after: float | None = None,
        together: Sequence[str] = (),
    ) -> Result:
        """Refuse a request, and say what to do instead. Raises as `approve`.

        Args:
            again_after: put it off instead, and have it asked again after so many seconds.
            together: as for `approve`.
        """
        fields = {
            "alternatives": list(alternatives),
            "reschedule": again_after,
            "together": list(together) or None,
        }
        return await self._answer(request_id, False, reason, fields)

    async def decide(self, decisions: Sequence[Mapping[str, Any]]) -> Result:
        """Decide several requests at once, each in its own way: all of them, or none. Raises as `approve`.

        Args:
            decisions: of each its request_id, approved and reason, and if wanted conditions and alternatives.
        """
        first = {name: decisions[0][name] for name in VERDICT}
        return await self.request(
            compose(ApprovalResponse, **first, decisions=[dict(one) for one in decisions])
        )

    async def revoke_allowance(self, allowance_id: str, reason: str) -> Result:
        """Take back what was allowed for a while with `approve`. Raises Forbidden, NotFound."""
        return await self.request(compose(AllowanceRevoke, allowance_id=allowance_id, reason=reason))

    async def _answer(
        self, request_id: str, approved: bool, reason: str, fields: Mapping[str, Any]
    ) -> Result:
        said: Message = compose(
            ApprovalResponse, request_id=request_id, approved=approved, reason=reason, **fields
        )
        return await self.request(said)


async def _outcome(told: Reader, request_id: str, wait: float, own: bool) -> ToolOutcome:
    """What comes within `wait` seconds, up to what nothing follows on."""
    decision: ToolDecision | None = None
    result: ToolResult | None = None
    with suppress(TimeoutError):
        async with asyncio.timeout(wait):
            while result is None and not _is_last(decision, own):
                match await told.next():
                    case ToolDecision() as decision:
                        pass
                    case ToolResult() as result:
                        pass
                    case None:
                        raise Unavailable("This agent has left; what was decided comes on its return.")
    return ToolOutcome(request_id, decision, result)


def _is_last(decision: ToolDecision | None, own: bool) -> bool:
    match decision:
        case ToolDecision(decision="denied" | "rescheduled"):
            return True
        case ToolDecision(decision="approved"):
            return own
    return False
