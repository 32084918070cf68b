"""What was decided about an agent after it asked: no approval and no grant outlives the right it rests on."""

from __future__ import annotations

from backchannel.domain.inforce import InForce
from backchannel.domain.trust.standing import Trust


def why_not_any_more(
    agent: str,
    tool: str,
    asked_at: float,
    inforce: InForce | None,
    trust: Trust | None = None,
    *,
    rules_changed: bool = False,
) -> str | None:
    """Why what an agent asked for must not be done now, whoever approves it; None if nothing forbids it.

    Args:
        asked_at: seconds since 1970, UTC.
        inforce: its rights in force now.
        trust: how it stands now with this class of tools.
        rules_changed: its risk was judged by other rules than those in force.
    """
    if rules_changed:
        return f"the rules by which risk is judged were changed since {agent} asked; it may ask again"
    if trust is not None and trust.level == "locked":
        return f"{agent} was locked for tools of the class {trust.tool_class} since it asked"
    if inforce is None:
        return None
    if inforce.level == "locked":
        return f"{agent} was locked by {inforce.by} since it asked"
    if tool in inforce.tools.blocked or tool in inforce.tools.removed:
        return f"{tool} was taken from {agent} by {inforce.by} since it asked"
    if inforce.revoked_before is not None and asked_at < inforce.revoked_before:
        return f"the token with which {agent} asked was revoked by {inforce.by}"
    return None


def why_not_to_decide(human: str, inforce: InForce | None, since: float) -> str | None:
    """Why what a human said or was asked to say does not count any more; None if it does.

    Args:
        inforce: the rights of the human in force now.
        since: when it was said, or when leave to say it was given; seconds since 1970.
    """
    if inforce is None:
        return None
    if inforce.level == "locked":
        return f"{human} was locked by {inforce.by}"
    if inforce.barred_until is not None and since < inforce.barred_until:
        return f"{human} was sent away by {inforce.by}"
    if inforce.revoked_before is not None and since < inforce.revoked_before:
        return f"the tokens of {human} were revoked by {inforce.by}"
    return None
