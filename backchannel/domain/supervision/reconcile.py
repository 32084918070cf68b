"""Reconciling: what the log says became of an intent whose result never reached the audit trail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backchannel.domain.execution import Execution
from backchannel.domain.execution import place_of as place_of_grant
from backchannel.domain.supervision.request import Request
from backchannel.domain.supervision.request import place_of as place_of_request

TOLD = {"reconciled": True}


def place_for(intent: Mapping[str, Any]) -> str | None:
    """The name of the mark that knows how an intent of the trail ended; None for one of another kind."""
    kind, _, key = str(intent["of"]).partition(":")
    match kind:
        case "request":
            return place_of_request(key)
        case "answer" if isinstance(intent["facts"].get("request_id"), str):
            return place_of_request(intent["facts"]["request_id"])
        case "grant":
            return place_of_grant(key)
    return None


def ending(intent: Mapping[str, Any], mark: Mapping[str, Any]) -> dict[str, Any] | None:
    """The facts of the result, from what the log has; None while it may still end by itself."""
    match str(intent["of"]).partition(":")[0]:
        case "grant":
            return _of_execution(Execution.read(mark))
        case "answer":
            return _of_answer(intent, Request.read(mark))
    request = Request.read(mark)
    return None if request.open else TOLD | {"state": request.state, "decided_by": request.decided_by}


def _of_execution(run: Execution) -> dict[str, Any] | None:
    if run.state == "running":
        return None
    return TOLD | {"outcome": run.state, "success": run.success, "worker": run.worker, "tool": run.tool}


def _of_answer(intent: Mapping[str, Any], request: Request) -> dict[str, Any] | None:
    if (request.decided_by, request.state) == (intent["entity"], intent["action"]):
        return TOLD | {"state": request.state}
    if request.open:
        return None
    return TOLD | {"state": "not taken", "decided_by": request.decided_by, "decision": request.state}
