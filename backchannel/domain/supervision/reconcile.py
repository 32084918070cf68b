"""Reconciling: what the log says became of an intent whose result never reached the audit trail."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from backchannel.domain.execution import Execution
from backchannel.domain.execution import place_of as place_of_grant
from backchannel.domain.supervision.allowance import place_of as place_of_allowance
from backchannel.domain.supervision.request import Request
from backchannel.domain.supervision.request import place_of as place_of_request
from backchannel.domain.trust.standing import Trust
from backchannel.domain.trust.standing import place_of as place_of_trust

TOLD = {"reconciled": True}
IN_FORCE, NOT_IN_FORCE = {"state": "in force"}, {"state": "not in force"}


def place_for(intent: Mapping[str, Any]) -> str | None:
    """The name of the mark that knows how an intent of the trail ended; None for one of another kind."""
    kind, _, key = str(intent["of"]).partition(":")
    facts = intent["facts"]
    match kind:
        case "request":
            return place_of_request(key)
        case "answer" if isinstance(facts.get("request_id"), str):
            return place_of_request(facts["request_id"])
        case "grant":
            return place_of_grant(key)
        case "allowance_made" | "allowance":
            return place_of_allowance(key)
        case "trust" | "outcome" if isinstance(facts.get("tool_class"), str):
            return place_of_trust(intent["entity"], facts["tool_class"])
    return None


def ending(intent: Mapping[str, Any], mark: Mapping[str, Any] | None, now: datetime) -> dict[str, Any] | None:
    """The facts of the result, from what the log has; None while it may still end by itself.

    Args:
        mark: what stands at the place; None if nothing does, because it lapsed, was taken back, or never was.
    """
    kind = str(intent["of"]).partition(":")[0]
    match kind:
        case "allowance_made":
            return _of_allowance(intent, mark, now)
        case "allowance":
            return None if mark else TOLD | NOT_IN_FORCE
    if not mark:
        return None
    match kind:
        case "grant":
            return _of_execution(Execution.read(mark))
        case "answer":
            return _of_answer(intent, Request.read(mark))
        case "trust":
            return _of_level(intent, mark)
        case "outcome":
            return _of_outcome(intent, mark)
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


def _of_allowance(
    intent: Mapping[str, Any], mark: Mapping[str, Any] | None, now: datetime
) -> dict[str, Any] | None:
    if mark:
        return TOLD | IN_FORCE
    return TOLD | NOT_IN_FORCE if datetime.fromisoformat(str(intent["facts"]["until"])) <= now else None


def _of_level(intent: Mapping[str, Any], mark: Mapping[str, Any]) -> dict[str, Any] | None:
    facts, said = intent["facts"], (mark.get("level"), mark.get("by"), mark.get("reason"))
    if said == (facts.get("to"), facts.get("decided_by"), facts.get("reason")):
        return TOLD | IN_FORCE
    later = datetime.fromisoformat(str(mark["at"])) if mark.get("at") else None
    over = later is not None and later > datetime.fromisoformat(str(intent["at"]))
    return TOLD | NOT_IN_FORCE if over else None


def _of_outcome(intent: Mapping[str, Any], mark: Mapping[str, Any]) -> dict[str, Any] | None:
    facts, trust = intent["facts"], Trust.read(mark, "", "")
    for one in trust.outcomes:
        if one.request_id == facts.get("request_id") and one.by == "human":
            kept = (one.success, one.severe) == (facts.get("success"), facts.get("severe"))
            return TOLD | {"state": "kept" if kept else "replaced"}
    return None
