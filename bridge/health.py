"""Health: what a bridge says of itself, and whether that is well, degraded, or not serving."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

Status = Literal["healthy", "degraded", "not_serving"]
CODES: dict[Status, int] = {"healthy": 200, "degraded": 206, "not_serving": 503}
LAG_LIMIT = 1000
"""Events a tail may be behind before that counts as a fault."""


def report(facts: Mapping[str, Any], *, serving: bool, connections: int, uptime: float) -> dict[str, Any]:
    """The document of /health.

    Args:
        facts: the parts, as the host tells them.
        serving: the doors are open.
        uptime: seconds since the process began to listen.
    """
    faults = [] if serving else ["the bridge is starting or shutting down"]
    faults += _faults(facts)
    return {
        "status": _status(facts, serving=serving, faults=faults),
        "faults": faults,
        **facts,
        "connections": connections,
        "uptime": round(uptime, 1),
        "version": installed_version(),
    }


def ready(facts: Mapping[str, Any], *, serving: bool) -> bool:
    """Whether new connections are worth sending here."""
    return serving and _up(facts)


def installed_version() -> str:
    try:
        return version("backchannel")
    except PackageNotFoundError:
        return "unknown"


def _status(facts: Mapping[str, Any], *, serving: bool, faults: list[str]) -> Status:
    if not ready(facts, serving=serving):
        return "not_serving"
    return "degraded" if faults else "healthy"


def _up(facts: Mapping[str, Any]) -> bool:
    # Without the log nothing is stored and nothing is delivered: that is not serving.
    return bool(facts.get("nats", {}).get("up", False))


def _faults(facts: Mapping[str, Any]) -> list[str]:
    found = [] if _up(facts) else ["NATS cannot be reached"]
    if not facts.get("handlers", {"answering": True}).get("answering", True):
        found.append("the handlers do not answer")
    audit = facts.get("audit", {})
    if audit.get("failing"):
        found.append(f"the audit trail takes nothing: {audit['failing']}")
    found += audit.get("copies", [])
    found += facts.get("streams", {}).get("warnings", [])
    for group, log in facts.get("log", {}).items():
        if not log.get("live", False):
            found.append(f"the log of {group} is not followed")
        elif log.get("lag", 0) > LAG_LIMIT:
            found.append(f"the log of {group} is {log['lag']} events ahead")
    return found
